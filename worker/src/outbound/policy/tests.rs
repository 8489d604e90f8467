//! Policies against a DNS, certificates and web servers of the tests' own.

mod dane;
mod sts;
mod tlsa;

//! Policies against a DNS, certificates and web servers of the tests' own.

mod dane;
mod offers;
mod sts;
mod tlsa;

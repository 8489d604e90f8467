//! As much of LDAP (RFC 4511) as a login takes: bind, search, StartTLS.
//!
//! `ber` has the encoding, `message` requests and responses, `filter` and `dn` the texts that an
//! operator writes with a user's name put in. All of it is pure; who connects is `auth_ldap`.

pub(super) mod ber;
pub(super) mod filter;
pub(super) mod message;
pub(super) mod name;

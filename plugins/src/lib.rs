//! The native plugins, one file each under Haraka's own name with dots as underscores.
//!
//! A plugin reaches the server through the traits in `haraka_shared` and nothing else: no sockets, no
//! threads, no event loop. To add one, copy `skeleton.rs`, add a row to the table below and a page to
//! `docs/plugins/`.

pub mod auth;
mod queue;
mod rcpt_to_host_list_base;
mod rcpt_to_in_host_list;
mod relay;
mod renamed;
mod skeleton;
mod tls;
mod xclient;

use haraka_shared::plugin::{PluginEnv, PluginError, Registration, register};

pub use auth::{AuthBridge, AuthLdap, AuthProxy, AuthVpopmaild, Dovecot, FlatFile};
pub use queue::discard::Discard;
pub use queue::lmtp::Lmtp;
pub use queue::maildir::Maildir;
pub use queue::quarantine::Quarantine;
pub use queue::smtp_forward::SmtpForward;
pub use queue::test::Test;
pub use rcpt_to_in_host_list::InHostList;
pub use relay::Relay;
pub use renamed::renamed;
pub use skeleton::Skeleton;
pub use tls::Tls;
pub use xclient::Xclient;

macro_rules! plugins {
    ($($name:literal => $plugin:ty),* $(,)?) => {
        const NAMES: &[&str] = &[$($name),*];

        /// Constructs the native plugin of this name; `None` if there is none. An error says which
        /// file and line of its configuration is wrong.
        pub fn load(name: &str, env: &PluginEnv<'_>) -> Option<Result<Registration, PluginError>> {
            match name {
                $($name => Some(register::<$plugin>(env)),)*
                _ => None,
            }
        }
    };
}

plugins! {
    "auth-ldap" => AuthLdap,
    "auth/auth_bridge" => AuthBridge,
    "auth/auth_proxy" => AuthProxy,
    "auth/auth_vpopmaild" => AuthVpopmaild,
    "auth/dovecot" => Dovecot,
    "auth/flat_file" => FlatFile,
    "queue/discard" => Discard,
    "queue/lmtp" => Lmtp,
    "queue/maildir" => Maildir,
    "queue/quarantine" => Quarantine,
    "queue/smtp_forward" => SmtpForward,
    "queue/test" => Test,
    "rcpt_to.in_host_list" => InHostList,
    "relay" => Relay,
    "skeleton" => Skeleton,
    "tls" => Tls,
    "xclient" => Xclient,
}

/// The names that [`load`] knows, sorted.
pub fn names() -> &'static [&'static str] {
    NAMES
}

#[cfg(test)]
mod tests {
    use haraka_shared::plugin::Plugin;

    use super::*;

    #[test]
    fn the_table_gives_each_plugin_its_own_name() {
        assert!(NAMES.is_sorted());
        let own = [
            AuthLdap::NAME,
            AuthBridge::NAME,
            AuthProxy::NAME,
            AuthVpopmaild::NAME,
            Dovecot::NAME,
            FlatFile::NAME,
            Discard::NAME,
            Lmtp::NAME,
            Maildir::NAME,
            Quarantine::NAME,
            SmtpForward::NAME,
            Test::NAME,
            InHostList::NAME,
            Relay::NAME,
            Skeleton::NAME,
            Tls::NAME,
            Xclient::NAME,
        ];
        assert_eq!(names(), own);
    }
}

//! TLS sessions towards back ends: what the system trusts, and no certificate of ours.
//!
//! Back ends have no section in tls.ini; whoever dials says whether certificates count.

use std::cell::OnceCell;
use std::sync::Arc;

use haraka_shared::dial::{DialError, Trust};

use crate::rt;
use crate::tls::{Host, Judge, Kit};

thread_local! {
    static KIT: OnceCell<Arc<Kit>> = const { OnceCell::new() };
}

/// A session with a server of this name, or at this address. The system's authorities are read on
/// another thread, once.
pub(super) async fn session(name: &str, trust: Trust) -> Result<rustls::Connection, DialError> {
    let kit = KIT.with(|kit| Arc::clone(kit.get_or_init(Arc::default)));
    let judge = match trust {
        Trust::Anyone => Judge::Nobody,
        Trust::System => Judge::Authorities,
    };
    if trust == Trust::System && !kit.is_ready() {
        let reader = Arc::clone(&kit);
        rt::offload(move || reader.make_ready())
            .await
            .map_err(|e| DialError::Tls(e.to_string()))?;
    }
    let host = Host {
        name,
        ip: name.parse().ok(),
    };
    let begun = kit.begin(&host, &judge, None);
    begun
        .map(|beginning| beginning.session)
        .map_err(|e| DialError::Tls(e.to_string()))
}

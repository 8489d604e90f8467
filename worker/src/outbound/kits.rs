//! The TLS of deliveries in one worker: which kit counts for a route, and whom it is shown to.
//!
//! `[outbound]` of tls.ini is part of the contexts and as fresh as they are; what plugins bring with
//! their routes is made when it is first needed, on another thread.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use haraka_shared::config::{ConfigDir, TlsClient, TlsIni};

use crate::rt;
use crate::tls::{Beginning, Contexts, Host, Judge, Kit, Tls};

/// Kits of plugins that are kept; each has a set of options of its own.
const KITS: usize = 16;

/// Makes TLS sessions with other hosts.
pub(crate) struct Kits {
    tls: Rc<Tls>,
    dir: ConfigDir,
    settings: RefCell<Rc<Settings>>,
    made: RefCell<Vec<Made>>,
    /// Options of routes, and what counts where they do.
    merged: RefCell<Vec<(Arc<TlsClient>, Arc<TlsClient>)>>,
}

/// What tls.ini says.
struct Settings {
    ini: TlsIni,
    outbound: Arc<TlsClient>,
}

struct Made {
    options: Arc<TlsClient>,
    /// Made anew when a file of tls.ini changes.
    contexts: Arc<Contexts>,
    kit: Arc<Kit>,
}

impl Kits {
    pub(crate) fn new(tls: Rc<Tls>, dir: ConfigDir, ini: &TlsIni) -> Kits {
        Kits {
            tls,
            dir,
            settings: RefCell::new(Rc::new(Settings::new(ini))),
            made: RefCell::default(),
            merged: RefCell::default(),
        }
    }

    /// Goes by these settings from now on.
    pub(super) fn configure(&self, ini: &TlsIni) {
        self.settings.replace(Rc::new(Settings::new(ini)));
        self.made.borrow_mut().clear();
        self.merged.borrow_mut().clear();
    }

    /// The options that count where a route has these, or none.
    pub(super) fn options(&self, of_route: Option<&Arc<TlsClient>>) -> Arc<TlsClient> {
        let settings = self.settings.borrow();
        let Some(options) = of_route else {
            return Arc::clone(&settings.outbound);
        };
        let mut merged = self.merged.borrow_mut();
        if let Some((_, found)) = merged.iter().find(|(of, _)| same(of, options)) {
            return Arc::clone(found);
        }
        let counts = Arc::new(TlsClient::clone(options).over(&settings.ini));
        if merged.len() >= KITS {
            merged.remove(0);
        }
        merged.push((Arc::clone(options), Arc::clone(&counts)));
        counts
    }

    /// A session with this host that can begin.
    pub(super) async fn begin(
        &self,
        of_route: Option<&Arc<TlsClient>>,
        host: &Host<'_>,
        judge: &Judge,
    ) -> Result<Beginning, rustls::Error> {
        let contexts = self.tls.contexts();
        let kit = self.kit(of_route, &contexts).await?;
        if !kit.is_ready() {
            let kit = Arc::clone(&kit);
            // What is not there then is made on this thread.
            let _ = rt::offload(move || kit.make_ready()).await;
        }
        let settings = Rc::clone(&self.settings.borrow());
        let shown = kit.shown_to(host, &settings.ini, &contexts);
        kit.begin(host, judge, shown)
    }

    async fn kit(
        &self,
        of_route: Option<&Arc<TlsClient>>,
        contexts: &Arc<Contexts>,
    ) -> Result<Arc<Kit>, rustls::Error> {
        let Some(options) = of_route else {
            return Ok(Arc::clone(contexts.outbound()));
        };
        let is_current =
            |made: &&Made| Arc::ptr_eq(&made.contexts, contexts) && same(&made.options, options);
        if let Some(made) = self.made.borrow().iter().find(is_current) {
            return Ok(Arc::clone(&made.kit));
        }
        let (dir, merged) = (self.dir.clone(), self.options(Some(options)));
        let loading = rt::offload(move || {
            let mut remarks = Vec::new();
            (Kit::load(&dir, &merged, &mut remarks), remarks)
        });
        let loaded = loading.await;
        let (kit, remarks) = loaded.map_err(|e| rustls::Error::General(e.to_string()))?;
        remarks.iter().for_each(crate::tls::Remark::log);
        let kit = Arc::new(kit);
        let mut made = self.made.borrow_mut();
        made.retain(|made| Arc::ptr_eq(&made.contexts, contexts));
        if made.len() >= KITS {
            made.remove(0);
        }
        made.push(Made {
            options: Arc::clone(options),
            contexts: Arc::clone(contexts),
            kit: Arc::clone(&kit),
        });
        Ok(kit)
    }

    /// How long a host with which TLS failed is spoken to in the clear; `None` if it is not.
    pub(super) fn no_go(&self) -> Option<std::time::Duration> {
        let settings = self.settings.borrow();
        let ini = &settings.ini;
        ini.disable_for_failed_hosts.then_some(ini.disable_expiry)
    }
}

fn same(a: &Arc<TlsClient>, b: &Arc<TlsClient>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

impl Settings {
    fn new(ini: &TlsIni) -> Settings {
        Settings {
            outbound: Arc::new(ini.outbound()),
            ini: ini.clone(),
        }
    }
}

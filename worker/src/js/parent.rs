//! Native plugins that scripts inherit from (PLG-12): each is made once, and its methods are run in the
//! place of the script's own, with the arguments of the hook call that the script is answering.
//!
//! Knows no script value: requests and verdicts cross by number and as plain data.

use std::cell::RefCell;
use std::rc::Rc;

use haraka_shared::hook::{Call, HookName, Message, Verdict};
use haraka_shared::log::Level;
use haraka_shared::log_at;
use haraka_shared::plugin::{PluginEnv, PluginError, Registration};
use haraka_shared::reply::Enhanced;
use haraka_shared::route::{Host as At, Route};
use serde_json::{Value, json};

use super::host::Host;

/// The native plugins that have been inherited from, in the order of their loading.
#[derive(Default)]
pub(super) struct Parents(RefCell<Vec<Rc<Registration>>>);

/// A script wants a method of a native plugin to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The script's number for it.
    pub(super) request: u32,
    /// Which plugin.
    pub(super) parent: usize,
    /// The hook whose method it is.
    pub(super) hook: HookName,
}

impl Parents {
    /// The native plugin of this name and its number; `None` if there is none.
    ///
    /// # Errors
    /// What is wrong with its configuration.
    pub(super) fn load(
        &self,
        host: &Host,
        name: &str,
    ) -> Result<Option<(usize, Rc<Registration>)>, PluginError> {
        let known = self.0.borrow().iter().position(|p| *p.name == *name);
        if let Some(number) = known {
            return Ok(self.get(number).map(|parent| (number, parent)));
        }
        let env = PluginEnv::new(&host.config, &host.install_dir, &host.watch);
        let Some(loaded) = haraka_plugins::load(name, &env) else {
            return Ok(None);
        };
        let parent = Rc::new(loaded?);
        for warning in env.into_warnings() {
            log_at!(Level::Warn, &"-", name, [], "{warning}");
        }
        let mut all = self.0.borrow_mut();
        all.push(Rc::clone(&parent));
        Ok(Some((all.len() - 1, parent)))
    }

    /// The plugin of this number.
    pub(super) fn get(&self, number: usize) -> Option<Rc<Registration>> {
        self.0.borrow().get(number).cloned()
    }
}

/// The call that the parent's method gets: the one that is running, or one of a hook that takes no
/// arguments. `None` where there are arguments that nobody has.
pub(super) fn call_for(hook: HookName, running: Call<'_>) -> Option<Call<'_>> {
    match running.hook() == hook {
        true => Some(running),
        false => bare(hook),
    }
}

/// Whether the method of one hook can be run while another is.
pub(super) fn fits(hook: HookName, running: HookName) -> bool {
    hook == running || bare(hook).is_some()
}

/// The call of a hook that takes no arguments.
fn bare(hook: HookName) -> Option<Call<'static>> {
    Some(match hook {
        HookName::LookupRdns => Call::LookupRdns(()),
        HookName::Connect => Call::Connect(()),
        HookName::Capabilities => Call::Capabilities(()),
        HookName::Data => Call::Data(()),
        HookName::DataPost => Call::DataPost(()),
        HookName::Queue => Call::Queue(()),
        HookName::QueueOutbound => Call::QueueOutbound(()),
        HookName::ResetTransaction => Call::ResetTransaction(()),
        HookName::Disconnect => Call::Disconnect(()),
        HookName::Quit => Call::Quit(()),
        _ => return None,
    })
}

/// What a parent has said, as `answer::verdict` reads it when the script passes it on.
pub(super) fn said(verdict: &Verdict) -> (u32, Value) {
    let message = match &verdict.message {
        Message::None => Value::Null,
        Message::Text(text) => text.as_ref().into(),
        Message::Reply(reply) => {
            let (class, subject, detail) = reply.enhanced().map_or((0, 0, 0), Enhanced::parts);
            json!({ "dsn": {
                "code": reply.code(), "cls": class, "sub": subject, "det": detail, "msg": reply.text(),
            } })
        }
        Message::Seconds(seconds) => (*seconds).into(),
        Message::Routes(routes) => routes.iter().map(route).collect(),
    };
    (verdict.code as u32, message)
}

fn route(route: &Route) -> Value {
    let (exchange, path) = match &route.host {
        At::Path(path) => (None, Some(path.display().to_string())),
        host => (Some(host.to_string()), None),
    };
    json!({
        "exchange": exchange, "path": path, "port": route.port, "priority": route.preference,
        "using_lmtp": route.lmtp, "bind": route.bind, "bind_helo": route.bind_helo,
        "auth_user": route.auth_user, "auth_pass": route.auth_pass, "auth_type": route.auth_type,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use haraka_shared::hook::Code;

    // covers PLG-12
    #[test]
    fn parent_gets_the_call_that_runs_or_one_without_arguments() {
        let running = Call::Helo("client.test");
        let same = call_for(HookName::Helo, running).unwrap();
        assert!(matches!(same, Call::Helo("client.test")));
        let queue = call_for(HookName::Queue, running).unwrap();
        assert_eq!(queue.hook(), HookName::Queue);
        assert!(call_for(HookName::Mail, running).is_none());
        assert!(fits(HookName::Queue, HookName::Noop));
        assert!(!fits(HookName::Mail, HookName::Noop));
    }

    // covers PLG-12
    #[test]
    fn what_a_parent_says_is_plain_data() {
        assert_eq!(said(&Verdict::deny("no")), (902, json!("no")));
        assert_eq!(said(&Verdict::CONT), (Code::Cont as u32, Value::Null));
        let routes = vec![Route::parse("lmtp://b.test:2424").unwrap()];
        let verdict = Verdict {
            code: Code::Ok,
            message: Message::Routes(routes),
        };
        let (_, message) = said(&verdict);
        assert_eq!(message[0]["exchange"], "b.test");
        assert_eq!(message[0]["using_lmtp"], true);
        assert_eq!(message[0]["port"], 2424);
    }
}

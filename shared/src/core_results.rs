//! The results that the core itself leaves at a connection: local, remote, helo, reset, disconnect
//! (RES-06). Those at transactions are ordinary entries, made where they are found.
//!
//! Made up when somebody asks, from what the connection knows anyway: an idle session must not pay
//! for results that no plugin reads.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::connection::{Connection, HelloVerb};
use crate::results;

/// Under which names.
pub const NAMES: [&str; 5] = ["local", "remote", "helo", "reset", "disconnect"];

impl Connection {
    /// The results under this name: what the plugin of that name left, or what the core knows, with
    /// what plugins added to it.
    pub fn result(&self, name: &str) -> Option<Value> {
        let own = self.results.get(name);
        let Some(known) = self.core_result(name) else {
            return own;
        };
        let mut all = results::empty();
        all.extend(known);
        if let Some(Value::Object(added)) = own {
            all.extend(added);
        }
        Some(Value::Object(all))
    }

    /// All results by name, the core's included.
    pub fn all_results(&self) -> Map<String, Value> {
        let core = NAMES.iter().map(|name| (*name).to_owned());
        let names: Vec<String> = core.chain(self.results.names()).collect();
        let with_value = |name: String| {
            let value = self.result(&name)?;
            Some((name, value))
        };
        names.into_iter().filter_map(with_value).collect()
    }

    /// Of each of [`NAMES`] a number that tells what the core knows from what it knew before, without making
    /// a result of it; 0 where it knows nothing. Scripts have 53 bits of it.
    pub fn core_marks(&self) -> [u64; NAMES.len()] {
        let local = self.local.get();
        let remote = self.remote.borrow();
        let where_from = (remote.ip, remote.port, &remote.host, &remote.info);
        let hello = self.hello.borrow();
        let hello = hello.as_ref().map(|(verb, host)| {
            let helo = matches!(verb, HelloVerb::Helo);
            mark(&(helo, host))
        });
        let lasted = |time: &Lasted| time.0.get().map(|ms| mark(&ms));
        [
            mark(&(local.ip, local.port)),
            mark(&(
                where_from,
                remote.closed,
                remote.is_private,
                remote.is_local,
            )),
            hello.unwrap_or_default(),
            lasted(&self.reset).unwrap_or_default(),
            lasted(&self.ended).unwrap_or_default(),
        ]
    }

    /// What the core knows under this name, without what plugins added.
    pub fn core_result(&self, name: &str) -> Option<Map<String, Value>> {
        let known = match name {
            "local" => {
                let local = self.local.get();
                json!({ "ip": local.ip.to_string(), "port": local.port })
            }
            "remote" => {
                let remote = self.remote.borrow();
                json!({
                    "ip": remote.ip.to_string(),
                    "port": remote.port,
                    "host": remote.host.as_deref(),
                    "info": remote.info.as_deref(),
                    "closed": remote.closed,
                    "is_private": remote.is_private,
                    "is_local": remote.is_local,
                })
            }
            "helo" => {
                let hello = self.hello.borrow();
                let (verb, host) = hello.as_ref()?;
                let verb = match verb {
                    HelloVerb::Helo => "HELO",
                    HelloVerb::Ehlo => "EHLO",
                };
                json!({ "host": &**host, "verb": verb })
            }
            "reset" => json!({ "duration": self.reset.seconds()? }),
            "disconnect" => json!({ "duration": self.ended.seconds()? }),
            _ => return None,
        };
        match known {
            Value::Object(map) => Some(map),
            _ => None,
        }
    }
}

fn mark(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    (hasher.finish() >> 11).max(1)
}

/// A time since the session began, in few bytes; empty until it is set.
#[derive(Debug, Default)]
pub struct Lasted(Cell<Option<NonZeroU32>>);

impl Lasted {
    /// Keeps the time, to the millisecond as in log lines, at least one and at most 49 days.
    pub fn set(&self, time: Duration) {
        let ms = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        self.0.set(NonZeroU32::new(ms.max(1)));
    }

    /// In seconds.
    pub fn seconds(&self) -> Option<f64> {
        self.0.get().map(|ms| f64::from(ms.get()) / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Local;
    use std::rc::Rc;

    fn connection() -> Connection {
        let local = Local {
            ip: [198, 51, 100, 1].into(),
            port: 25,
        };
        let from = [10, 0, 0, 9].into();
        Connection::new(from, 4321, local, std::time::Instant::now())
    }

    // covers RES-06
    #[test]
    fn core_leaves_results_under_its_names_as_the_session_goes_on() {
        let c = connection();
        assert_eq!(c.result("local").unwrap()["port"], 25);
        let remote = c.result("remote").unwrap();
        assert_eq!(remote["ip"], "10.0.0.9");
        assert_eq!(remote["is_private"], true);
        assert_eq!(remote["host"], Value::Null);
        assert_eq!(
            remote["pass"],
            json!([]),
            "lists are there, as in any result"
        );
        for later in ["helo", "reset", "disconnect", "nobody"] {
            assert_eq!(c.result(later), None, "{later}");
        }
        *c.hello.borrow_mut() = Some((HelloVerb::Ehlo, Rc::from("c.test")));
        c.reset.set(Duration::from_millis(1234));
        c.set_remote_host("client.test");
        assert_eq!(c.result("helo").unwrap()["host"], "c.test");
        assert_eq!(c.result("helo").unwrap()["verb"], "EHLO");
        assert_eq!(c.result("reset").unwrap()["duration"], 1.234);
        assert_eq!(c.result("remote").unwrap()["host"], "client.test");
    }

    // covers RES-06
    #[test]
    fn marks_change_with_their_results_of_the_core_and_with_nothing_else() {
        let c = connection();
        let all = || NAMES.map(|name| c.core_result(name));
        let mut seen = vec![(c.core_marks(), all())];
        let mut look = || {
            let now = (c.core_marks(), all());
            for before in &seen {
                for (at, name) in NAMES.iter().enumerate() {
                    let same = before.0[at] == now.0[at];
                    assert_eq!(same, before.1[at] == now.1[at], "{name}: {now:?}");
                }
            }
            for (mark, result) in now.0.iter().zip(&now.1) {
                assert_eq!(*mark == 0, result.is_none());
            }
            seen.push(now);
        };
        c.errors.set(7);
        look();
        *c.hello.borrow_mut() = Some((HelloVerb::Ehlo, Rc::from("c.test")));
        look();
        *c.hello.borrow_mut() = Some((HelloVerb::Helo, Rc::from("c.test")));
        look();
        c.set_remote_host("client.test");
        look();
        c.remote.borrow_mut().info = Some(Rc::from("client.test"));
        look();
        c.remote.borrow_mut().closed = true;
        look();
        c.reset.set(Duration::from_millis(1234));
        look();
        c.ended.set(Duration::from_millis(1234));
        look();
    }

    // covers RES-06, RES-01
    #[test]
    fn results_of_plugins_stand_beside_and_within_the_core_s() {
        let c = connection();
        c.results.add("spf", "pass", "host");
        c.results.add("helo", "fail", "literal");
        assert_eq!(c.result("spf").unwrap()["pass"], json!(["host"]));
        assert_eq!(c.result("helo").unwrap()["fail"], json!(["literal"]));
        *c.hello.borrow_mut() = Some((HelloVerb::Helo, Rc::from("[10.0.0.9]")));
        let helo = c.result("helo").unwrap();
        assert_eq!(helo["fail"], json!(["literal"]));
        assert_eq!(helo["verb"], "HELO");
        let all = c.all_results();
        let names: Vec<_> = all.keys().map(String::as_str).collect();
        assert_eq!(names, ["local", "remote", "helo", "spf"]);
    }
}

//! AUTH towards other servers (RFC 4954): PLAIN (RFC 4616), LOGIN, CRAM-MD5 (RFC 2195). Pure: offers
//! and challenges in, a choice and answers out.
//!
//! Must never see a socket or a log: what is made here are passwords.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::Md5;

/// Who logs in.
#[derive(Clone, Copy)]
pub(super) struct Credentials<'a> {
    pub(super) user: &'a str,
    pub(super) password: &'a str,
}

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    CramMd5,
    Plain,
    Login,
}

/// In the order of preference (OUT-44): the password itself is shown by the later ones only.
const ALL: [Mechanism; 3] = [Mechanism::CramMd5, Mechanism::Plain, Mechanism::Login];

impl Mechanism {
    pub(super) fn name(self) -> &'static str {
        match self {
            Mechanism::CramMd5 => "CRAM-MD5",
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
        }
    }

    /// Whether who listens gets to know the password.
    pub(super) fn shows_password(self) -> bool {
        self != Mechanism::CramMd5
    }
}

/// The mechanism to use of those that are offered, in upper case: the one that is asked for, else the
/// best. None if there is none.
pub(super) fn choose(wanted: Option<&str>, offered: &[String]) -> Option<Mechanism> {
    let is_wanted = |m: &Mechanism| wanted.is_none_or(|w| w.eq_ignore_ascii_case(m.name()));
    let is_offered = |m: &Mechanism| offered.iter().any(|o| o == m.name());
    ALL.into_iter().find(|m| is_wanted(m) && is_offered(m))
}

/// One login.
pub(super) struct Exchange<'a> {
    mechanism: Mechanism,
    credentials: Credentials<'a>,
    answered: u8,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(mechanism: Mechanism, credentials: Credentials<'a>) -> Exchange<'a> {
        Exchange {
            mechanism,
            credentials,
            answered: 0,
        }
    }

    /// What goes with the command, in base64; none if the host speaks first.
    pub(super) fn initial(&mut self) -> Option<String> {
        (self.mechanism == Mechanism::Plain).then(|| {
            self.answered = 1;
            self.plain()
        })
    }

    /// The initial response was too long for the command and waits for the host's word.
    pub(super) fn put_off(&mut self) {
        self.answered = 0;
    }

    /// The answer to the text of a 334, in base64; none if there is nothing to say to that.
    pub(super) fn answer(&mut self, challenge: &str) -> Option<String> {
        let Credentials { user, password } = self.credentials;
        self.answered = self.answered.saturating_add(1);
        match (self.mechanism, self.answered) {
            (Mechanism::Plain, 1) => Some(self.plain()),
            (Mechanism::CramMd5, 1) => {
                let challenge = STANDARD.decode(challenge.trim()).ok()?;
                let digest = hmac_md5(password.as_bytes(), &challenge)?;
                Some(STANDARD.encode(format!("{user} {digest}")))
            }
            // Some ask for the password first, and some ask in words of their own.
            (Mechanism::Login, turn @ 1..=2) => {
                let asked = STANDARD.decode(challenge.trim()).unwrap_or_default();
                let asked = String::from_utf8_lossy(&asked).to_ascii_lowercase();
                let wants_user = match (asked.starts_with("user"), asked.starts_with("pass")) {
                    (true, _) => true,
                    (_, true) => false,
                    _ => turn == 1,
                };
                Some(STANDARD.encode(if wants_user { user } else { password }))
            }
            _ => None,
        }
    }

    fn plain(&self) -> String {
        let Credentials { user, password } = self.credentials;
        STANDARD.encode(format!("\0{user}\0{password}"))
    }
}

/// In hexadecimal. A key may have any length.
fn hmac_md5(key: &[u8], text: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Md5>::new_from_slice(key).ok()?;
    mac.update(text);
    let digest = mac.finalize().into_bytes();
    Some(digest.iter().map(|octet| format!("{octet:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIM: Credentials<'static> = Credentials {
        user: "tim",
        password: "tanstaaftanstaaf",
    };

    fn offered(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| (*w).to_owned()).collect()
    }

    // covers OUT-44
    #[test]
    fn best_offered_mechanism_is_chosen_unless_one_is_asked_for() {
        let all = offered(&["LOGIN", "PLAIN", "CRAM-MD5", "XOAUTH2"]);
        assert_eq!(choose(None, &all), Some(Mechanism::CramMd5));
        assert_eq!(
            choose(None, &offered(&["LOGIN", "PLAIN"])),
            Some(Mechanism::Plain)
        );
        assert_eq!(choose(None, &offered(&["LOGIN"])), Some(Mechanism::Login));
        assert_eq!(choose(Some("login"), &all), Some(Mechanism::Login));
        assert_eq!(choose(Some("plain"), &offered(&["LOGIN"])), None);
        assert_eq!(choose(Some("xoauth2"), &all), None);
        assert_eq!(choose(None, &[]), None);
    }

    #[test]
    fn plain_says_all_at_once_or_when_it_is_asked() {
        let mut exchange = Exchange::new(Mechanism::Plain, TIM);
        let said = exchange.initial().unwrap();
        assert_eq!(STANDARD.decode(&said).unwrap(), b"\0tim\0tanstaaftanstaaf");
        assert_eq!(exchange.answer(""), None, "nothing is said twice");

        let mut exchange = Exchange::new(Mechanism::Plain, TIM);
        let said = exchange.initial();
        exchange.put_off();
        assert_eq!(exchange.answer(""), said);
        assert_eq!(exchange.answer(""), None);
    }

    #[test]
    fn cram_md5_answers_the_example_of_rfc_2195() {
        let mut exchange = Exchange::new(Mechanism::CramMd5, TIM);
        assert_eq!(exchange.initial(), None);
        let challenge = "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+";
        let answer = exchange.answer(challenge).unwrap();
        assert_eq!(answer, "dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw");
        assert_eq!(exchange.answer(challenge), None);
        let mut confused = Exchange::new(Mechanism::CramMd5, TIM);
        assert_eq!(confused.answer("not base64!"), None);
    }

    #[test]
    fn login_gives_what_is_asked_for_in_any_words_and_order() {
        for (asked, said) in [
            (
                ["VXNlcm5hbWU6", "UGFzc3dvcmQ6"],
                ["tim", "tanstaaftanstaaf"],
            ),
            (
                ["dXNlcm5hbWU6", "cGFzc3dvcmQ6"],
                ["tim", "tanstaaftanstaaf"],
            ),
            (
                ["UGFzc3dvcmQ6", "VXNlcm5hbWU6"],
                ["tanstaaftanstaaf", "tim"],
            ),
            (["", "what"], ["tim", "tanstaaftanstaaf"]),
        ] {
            let mut exchange = Exchange::new(Mechanism::Login, TIM);
            assert_eq!(exchange.initial(), None);
            for (asked, said) in asked.into_iter().zip(said) {
                assert_eq!(exchange.answer(asked).unwrap(), STANDARD.encode(said));
            }
            assert_eq!(exchange.answer("UGFzc3dvcmQ6"), None);
        }
    }
}

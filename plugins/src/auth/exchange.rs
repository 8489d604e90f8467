//! One AUTH exchange, from the command to a login that can be checked (RFC 4954 §4).
//!
//! Pure: a line of the client in, what to do out. Must know no connection and check no password.

use haraka_shared::reply::Reply;

use super::mechanism::{self, CramMd5, Login, Mechanism, ResponseError};

/// An exchange that waits for the client's next line.
#[derive(Debug)]
pub enum Exchange {
    /// PLAIN without an initial response.
    Plain,
    /// LOGIN, for the user's name.
    LoginUser,
    /// LOGIN, for the password.
    LoginPassword {
        /// The name as the client gave it; may be empty.
        user: String,
    },
    /// CRAM-MD5, for the answer to this challenge.
    CramMd5 {
        /// In the clear.
        challenge: String,
    },
}

/// What follows from a line of the client.
#[derive(Debug)]
pub enum Step {
    /// Say 334 with this text and wait.
    Ask(Exchange, String),
    /// The exchange is over: check this password.
    Password(Mechanism, Login),
    /// The exchange is over: check this digest.
    Digest(CramMd5),
    /// The exchange is over: say this.
    Refuse(Reply),
    /// The client has no idea of the protocol: say `bad protocol` and close (AUT-08).
    Close,
}

/// `Username:` in base64; clients compare it.
const USER_PROMPT: &str = "VXNlcm5hbWU6";
/// `Password:` in base64.
const PASSWORD_PROMPT: &str = "UGFzc3dvcmQ6";
/// After `*` (RFC 4954 §4, PB-05).
const CANCELLED: Reply = Reply::fixed(501, "5.7.0 Authentication cancelled");

/// The command `AUTH` with this mechanism and initial response. `challenge` makes the text that
/// CRAM-MD5 asks the client to sign.
pub fn begin(
    mechanism: Mechanism,
    initial: Option<&str>,
    challenge: impl FnOnce() -> String,
) -> Step {
    match (mechanism, initial) {
        (Mechanism::Plain, None) => Step::Ask(Exchange::Plain, String::new()),
        (Mechanism::Plain, Some(response)) => plain(response),
        (Mechanism::Login, None) => Step::Ask(Exchange::LoginUser, USER_PROMPT.to_owned()),
        (Mechanism::Login, Some(response)) => login_user(response),
        // The server speaks first: an initial response has no meaning, and Haraka overlooks it.
        (Mechanism::CramMd5, _) => {
            let challenge = challenge();
            let shown = mechanism::challenge(&challenge);
            Step::Ask(Exchange::CramMd5 { challenge }, shown)
        }
    }
}

impl Exchange {
    /// The client's response to the last challenge.
    pub fn answer(self, response: &str) -> Step {
        if response == "*" {
            return Step::Refuse(CANCELLED);
        }
        match self {
            Exchange::Plain | Exchange::LoginUser if response.is_empty() => Step::Close,
            Exchange::Plain => plain(response),
            Exchange::LoginUser => login_user(response),
            Exchange::LoginPassword { user } => password(
                mechanism::decode(response).and_then(|octets| mechanism::login(user, &octets)),
                Mechanism::Login,
            ),
            Exchange::CramMd5 { challenge } => {
                match mechanism::decode(response)
                    .and_then(|octets| mechanism::cram_md5(challenge, &octets))
                {
                    Ok(login) => Step::Digest(login),
                    Err(e) => Step::Refuse(refusal(e)),
                }
            }
        }
    }
}

fn plain(response: &str) -> Step {
    let login = mechanism::decode(response).and_then(|octets| mechanism::plain(&octets));
    password(login, Mechanism::Plain)
}

fn login_user(response: &str) -> Step {
    match mechanism::decode(response) {
        Ok(octets) => {
            let user = mechanism::login_user(&octets);
            Step::Ask(Exchange::LoginPassword { user }, PASSWORD_PROMPT.to_owned())
        }
        Err(e) => Step::Refuse(refusal(e)),
    }
}

fn password(login: Result<Login, ResponseError>, mechanism: Mechanism) -> Step {
    match login {
        Ok(login) => Step::Password(mechanism, login),
        Err(e) => Step::Refuse(refusal(e)),
    }
}

fn refusal(why: ResponseError) -> Reply {
    match why {
        ResponseError::NotBase64 => Reply::fixed(501, "5.5.2 Cannot decode base64"),
        ResponseError::Incomplete => Reply::fixed(504, "Invalid AUTH string"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(step: Step) -> String {
        match step {
            Step::Ask(_, text) => format!("334 {text}"),
            Step::Password(mechanism, login) => {
                let password = login.password.to_text();
                format!("{mechanism} {:?} {:?}", login.user, password.as_str())
            }
            Step::Digest(login) => format!("CRAM-MD5 {:?} {:?}", login.user, login.digest),
            Step::Refuse(reply) => reply.to_string(),
            Step::Close => "close".to_owned(),
        }
    }

    /// Plays the lines after `AUTH`, the first of them being its arguments; gives what came of each.
    fn play(lines: &[&str]) -> Vec<String> {
        let (name, initial) = match lines[0].split_once(' ') {
            Some((name, initial)) => (name, Some(initial)),
            None => (lines[0], None),
        };
        let mechanism = Mechanism::parse(name).unwrap();
        let mut step = begin(mechanism, initial, || "<1.2@mx>".to_owned());
        let mut seen = Vec::new();
        for line in &lines[1..] {
            step = match step {
                Step::Ask(exchange, text) => {
                    seen.push(format!("334 {text}"));
                    exchange.answer(line)
                }
                other => panic!("{other:?} where {line:?} was to come"),
            };
        }
        seen.push(shown(step));
        seen
    }

    // covers AUT-02, AUT-03, AUT-04, AUT-07, AUT-08, PB-05
    #[test]
    fn each_mechanism_with_and_without_an_initial_response() {
        let right = "PLAIN \"u\" \"p\"";
        let incomplete = "504 Invalid AUTH string";
        let undecodable = "501 5.5.2 Cannot decode base64";
        let cancelled = "501 5.7.0 Authentication cancelled";
        let (ask_user, ask_password) = ("334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6");
        let ask_digest = "334 PDEuMkBteD4=";
        for (lines, seen) in [
            (&["PLAIN AHUAcA=="][..], &[right][..]),
            (&["plain AHUAcA"], &[right]),
            (&["PLAIN", "eAB1AHA="], &["334 ", right]),
            (&["PLAIN AHUAcAB4"], &[right]),
            (&["PLAIN ="], &[incomplete]),
            (&["PLAIN dQ=="], &[incomplete]),
            (&["PLAIN AHUA"], &[incomplete]),
            (&["PLAIN AABw"], &[incomplete]),
            (&["PLAIN !"], &[undecodable]),
            (&["PLAIN", "AHUA*"], &["334 ", undecodable]),
            (&["PLAIN", "*"], &["334 ", cancelled]),
            (&["PLAIN", ""], &["334 ", "close"]),
            (
                &["LOGIN", "dQ==", "cA=="],
                &[ask_user, ask_password, "LOGIN \"u\" \"p\""],
            ),
            (
                &["LOGIN dQ==", "cA=="],
                &[ask_password, "LOGIN \"u\" \"p\""],
            ),
            (&["LOGIN dQ==", ""], &[ask_password, incomplete]),
            (&["LOGIN =", "cA=="], &[ask_password, incomplete]),
            (&["LOGIN", ""], &[ask_user, "close"]),
            (&["LOGIN", "*"], &[ask_user, cancelled]),
            (&["LOGIN dQ==", "*"], &[ask_password, cancelled]),
            (&["LOGIN", "?"], &[ask_user, undecodable]),
            (
                &["CRAM-MD5", "dSAxMjM="],
                &[ask_digest, "CRAM-MD5 \"u\" \"123\""],
            ),
            (
                &["CRAM-MD5 x", "YSBiIDEyMw=="],
                &[ask_digest, "CRAM-MD5 \"a b\" \"123\""],
            ),
            (&["CRAM-MD5", ""], &[ask_digest, incomplete]),
            (&["CRAM-MD5", "dQ=="], &[ask_digest, incomplete]),
            (&["CRAM-MD5", "dSA="], &[ask_digest, incomplete]),
            (&["CRAM-MD5", "*"], &[ask_digest, cancelled]),
        ] {
            assert_eq!(play(lines), seen, "{lines:?}");
        }
    }

    #[test]
    fn a_name_of_more_than_255_octets_is_nobody() {
        for (length, expected) in [(255, true), (256, false)] {
            let response = mechanism::challenge(&format!("\0{}\0p", "u".repeat(length)));
            let step = begin(Mechanism::Plain, Some(&response), String::new);
            assert_eq!(matches!(step, Step::Password(..)), expected, "{length}");
        }
    }
}

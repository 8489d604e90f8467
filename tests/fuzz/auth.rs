//! Target for the lines of an AUTH exchange.

use haraka_plugins::auth::exchange::{Step, begin};
use haraka_plugins::auth::mechanism::{
    MAX_USER, Mechanism, authentication_result_value, printable,
};

/// The first line is a mechanism with its initial response, the others are responses. An exchange
/// ends after three lines at most, with a login that has a name and a password, or with a refusal.
pub fn auth(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.split('\n');
    let first = lines.next().unwrap_or_default();
    let (name, initial) = match first.split_once(' ') {
        Some((name, initial)) => (name, Some(initial)),
        None => (first, None),
    };
    let mechanism = Mechanism::parse(name).unwrap_or(Mechanism::Login);
    let mut step = begin(mechanism, initial, || "<1.2@mx.test>".to_owned());
    for _ in 0..2 {
        match step {
            Step::Ask(exchange, challenge) => {
                assert!(challenge.bytes().all(|b| b.is_ascii_graphic()));
                step = exchange.answer(lines.next().unwrap_or("*"));
            }
            over => return check(over),
        }
    }
    check(step);
}

fn check(step: Step) {
    match step {
        Step::Ask(..) => panic!("asks a third time"),
        Step::Password(_, login) => {
            check_user(&login.user);
            assert!(!login.password.is_empty());
            assert_eq!(format!("{:?}", login.password), "[redacted]");
        }
        Step::Digest(login) => {
            check_user(&login.user);
            assert!(!login.digest.is_empty());
            assert!(!login.proves(&"nobody guesses this".into()));
        }
        Step::Refuse(reply) => assert!(matches!(reply.code(), 501 | 504)),
        Step::Close => {}
    }
}

/// What is not UTF-8 grew when it was replaced.
fn check_user(user: &str) {
    assert!(!user.is_empty() && user.len() <= 3 * MAX_USER);
    let shown = authentication_result_value(&printable(user));
    assert!(!shown.is_empty() && !shown.chars().any(char::is_control));
    let word = !shown.starts_with('"');
    assert!(!word || !shown.contains([';', ' ', '(', '=']));
}

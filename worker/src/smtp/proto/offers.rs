//! Which ESMTP parameters of MAIL and RCPT are welcome, and whether their values are sound (PB-14).
//!
//! Follows from what EHLO offered: RFC 5321 §4.1.1.11 answers an unknown parameter with 555 and a bad
//! value with 501. Must never look at the address.

use haraka_shared::dsn::{BadValue, MessageRequest, RecipientRequest};
use haraka_shared::hook::Params;
use haraka_shared::reply::Reply;
use thiserror::Error;

use super::params::Path;

/// What the EHLO reply offered beyond the base.
#[derive(Debug, Clone, Copy, Default)]
pub struct Offers<'a> {
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// Keywords that plugins added; parameters of the same name are theirs to judge.
    pub others: &'a [String],
}

/// Why a parameter is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unwelcome {
    /// Of no extension that was offered.
    #[error("Unsupported parameter {0}")]
    Unknown(String),
    /// Known, with a value that its extension does not allow.
    #[error("Bad value of parameter {0}")]
    Value(&'static str),
}

impl Unwelcome {
    /// The answer to the client.
    #[must_use]
    pub fn reply(&self) -> Reply {
        let code = match self {
            Self::Unknown(_) => 555,
            Self::Value(_) => 501,
        };
        Reply::new(code, format!("5.5.4 {self}"))
    }
}

impl From<BadValue> for Unwelcome {
    fn from(BadValue(name): BadValue) -> Self {
        Self::Value(name)
    }
}

/// Looks at all parameters of a command.
///
/// # Errors
/// The first one that is unwelcome.
pub fn check(path: Path, params: &Params, offers: Offers<'_>) -> Result<(), Unwelcome> {
    for (key, value) in params {
        let value = value.as_deref();
        let sound = match (path, key.as_str()) {
            (Path::Mail, "SIZE") => value.is_some_and(is_size).then_some(()).ok_or("SIZE"),
            (Path::Mail, "BODY") => value.is_some_and(is_body).then_some(()).ok_or("BODY"),
            (Path::Mail, "SMTPUTF8") if offers.smtputf8 => {
                value.is_none().then_some(()).ok_or("SMTPUTF8")
            }
            // Authentication is a plugin's; RFC 4954 §5 lets a server ignore what it says.
            (Path::Mail, "AUTH") => value.map(|_| ()).ok_or("AUTH"),
            (Path::Mail, "RET" | "ENVID") | (Path::Rcpt, "NOTIFY" | "ORCPT") if offers.dsn => {
                Ok(())
            }
            _ if offers.others.iter().any(|o| o.eq_ignore_ascii_case(key)) => Ok(()),
            _ => return Err(Unwelcome::Unknown(key.clone())),
        };
        sound.map_err(Unwelcome::Value)?;
    }
    if offers.dsn {
        match path {
            Path::Mail => drop(MessageRequest::from_params(params)?),
            Path::Rcpt => drop(RecipientRequest::from_params(params)?),
        }
    }
    Ok(())
}

/// RFC 1870 §4. A number that is longer than it may be is answered as what it is: too big.
fn is_size(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit())
}

/// RFC 6152 §2. BINARYMIME is not offered.
fn is_body(value: &str) -> bool {
    value.eq_ignore_ascii_case("7BIT") || value.eq_ignore_ascii_case("8BITMIME")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::proto::params::Arguments;

    fn answer(path: Path, text: &str, offers: Offers<'_>) -> String {
        let arguments = Arguments::parse(path, text, false).unwrap();
        let params = arguments
            .params
            .into_iter()
            .map(|p| (p.key.into_owned(), p.value.map(str::to_owned)))
            .collect();
        match check(path, &params, offers) {
            Ok(()) => "ok".to_owned(),
            Err(e) => e.reply().to_string(),
        }
    }

    // covers PB-14
    #[test]
    fn parameters_are_held_against_what_was_offered() {
        let others = ["HOLD".to_owned()];
        let all = Offers {
            smtputf8: true,
            dsn: true,
            others: &others,
        };
        for (text, with_all, with_none) in [
            ("", "ok", "ok"),
            (" SIZE=5 body=8bitmime", "ok", "ok"),
            (" BODY=7BIT AUTH=<>", "ok", "ok"),
            (
                " SMTPUTF8",
                "ok",
                "555 5.5.4 Unsupported parameter SMTPUTF8",
            ),
            (
                " RET=FULL ENVID=x",
                "ok",
                "555 5.5.4 Unsupported parameter RET",
            ),
            (" HOLD=1", "ok", "555 5.5.4 Unsupported parameter HOLD"),
            (
                " REQUIRETLS",
                "555 5.5.4 Unsupported parameter REQUIRETLS",
                "555 5.5.4 Unsupported parameter REQUIRETLS",
            ),
            (
                " NOTIFY=NEVER",
                "555 5.5.4 Unsupported parameter NOTIFY",
                "555 5.5.4 Unsupported parameter NOTIFY",
            ),
        ] {
            let text = format!("FROM:<a@b.c>{text}");
            assert_eq!(answer(Path::Mail, &text, all), with_all, "{text}");
            assert_eq!(
                answer(Path::Mail, &text, Offers::default()),
                with_none,
                "{text}"
            );
        }
        for (text, expected) in [
            ("", "ok"),
            (" NOTIFY=NEVER ORCPT=rfc822;a@b.c", "ok"),
            (" SIZE=1", "555 5.5.4 Unsupported parameter SIZE"),
            (" SMTPUTF8", "555 5.5.4 Unsupported parameter SMTPUTF8"),
            (" NOTIFY=X", "501 5.5.4 Bad value of parameter NOTIFY"),
            (" ORCPT=x", "501 5.5.4 Bad value of parameter ORCPT"),
        ] {
            let text = format!("TO:<a@b.c>{text}");
            assert_eq!(answer(Path::Rcpt, &text, all), expected, "{text}");
        }
    }

    // covers PB-14
    #[test]
    fn bad_values_are_refused_with_501() {
        let all = Offers {
            smtputf8: true,
            dsn: true,
            others: &[],
        };
        for (param, name) in [
            ("SIZE", "SIZE"),
            ("SIZE=x", "SIZE"),
            ("SIZE=1e3", "SIZE"),
            ("BODY", "BODY"),
            ("BODY=9BIT", "BODY"),
            ("BODY=BINARYMIME", "BODY"),
            ("SMTPUTF8=YES", "SMTPUTF8"),
            ("AUTH", "AUTH"),
            ("RET=ALL", "RET"),
            ("ENVID=a+b", "ENVID"),
        ] {
            let text = format!("FROM:<a@b.c> {param}");
            let expected = format!("501 5.5.4 Bad value of parameter {name}");
            assert_eq!(answer(Path::Mail, &text, all), expected);
        }
    }
}

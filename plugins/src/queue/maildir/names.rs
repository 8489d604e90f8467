//! Names of mailbox directories and message files. Pure.
//!
//! Addresses come from strangers: no name made here holds a slash, is `.` or `..`, or starts with a
//! dot, and two different mailboxes never share a name.

use std::time::Duration;

/// Longest name that every file system takes.
const LONGEST: usize = 255;

/// How mailboxes lie below the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `<domain>/<user>`
    Domain,
    /// `<user>@<domain>`
    Flat,
}

impl Layout {
    pub(super) fn parse(text: &str) -> Option<Layout> {
        match text.to_ascii_lowercase().as_str() {
            "domain" => Some(Layout::Domain),
            "flat" => Some(Layout::Flat),
            _ => None,
        }
    }
}

/// The directories from the root to the mailbox. Local parts are taken without quotes and in lower
/// case; a recipient without domain (`postmaster`) belongs to `own_host`. `None` if a name would be
/// too long.
pub(super) fn mailbox(layout: Layout, user: &str, host: &str, own_host: &str) -> Option<Vec<String>> {
    let host = if host.is_empty() { own_host } else { host };
    let user = encoded(&unquoted(user).to_lowercase());
    let host = encoded(&host.to_lowercase());
    let dirs = match layout {
        Layout::Domain => vec![host, user],
        Layout::Flat => vec![format!("{user}@{host}")],
    };
    dirs.iter().all(|d| d.len() <= LONGEST).then_some(dirs)
}

/// `time.MusecPpidQseq.host`, unique on this host and by its name among all (Maildir's rule).
pub(super) fn file(since_epoch: Duration, pid: u32, sequence: u64, host: &str) -> String {
    let mut name = format!(
        "{}.M{}P{pid}Q{sequence}.",
        since_epoch.as_secs(),
        since_epoch.subsec_micros()
    );
    for c in host.chars().take(100) {
        match c {
            '/' => name.push_str("\\057"),
            ':' => name.push_str("\\072"),
            c if c.is_ascii_graphic() => name.push(c),
            _ => name.push('_'),
        }
    }
    name
}

/// The text that a quoted local part stands for: `"john"@x` and `john@x` are one mailbox (RFC 5321
/// §4.1.2).
fn unquoted(user: &str) -> String {
    let Some(inside) = user.strip_prefix('"').and_then(|u| u.strip_suffix('"')) else {
        return user.to_owned();
    };
    let mut out = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}

/// Percent-encodes what would mean something to a file system or a shell user's eyes: controls,
/// blanks, `/`, `\`, `%`, `@`, and a leading dot. An empty text becomes `%`.
fn encoded(text: &str) -> String {
    if text.is_empty() {
        return "%".to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let harmful = c.is_control()
            || c.is_whitespace()
            || matches!(c, '/' | '\\' | '%' | '@')
            || (c == '.' && at == 0);
        if harmful {
            let mut utf8 = [0; 4];
            for byte in c.encode_utf8(&mut utf8).bytes() {
                out.push('%');
                out.extend([byte >> 4, byte & 15].map(|d| {
                    char::from_digit(u32::from(d), 16).map_or('0', |c| c.to_ascii_uppercase())
                }));
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(user: &str, host: &str) -> String {
        mailbox(Layout::Domain, user, host, "me.example").unwrap().join("/")
    }

    #[test]
    fn ordinary_addresses_keep_their_names_in_lower_case() {
        assert_eq!(domain("Bob.Smith+x", "example.com"), "example.com/bob.smith+x");
        assert_eq!(domain("\"bob\"", "example.com"), "example.com/bob");
        assert_eq!(domain("postmaster", ""), "me.example/postmaster");
        let flat = mailbox(Layout::Flat, "bob", "example.com", "me").unwrap();
        assert_eq!(flat, ["bob@example.com"]);
    }

    #[test]
    fn nothing_in_an_address_leads_out_of_the_root() {
        for (user, host, name) in [
            ("..", "..", "%2E./%2E."),
            (".", ".x", "%2Ex/%2E"),
            ("../../etc/passwd", "a/../b", "a%2F..%2Fb/%2E.%2F..%2Fetc%2Fpasswd"),
            ("a\0b", "x", "x/a%00b"),
            ("\"a/b\\\" c\"", "x", "x/a%2Fb\"%20c"),
            ("\"\"", "x", "x/%"),
            (".hidden", "[IPv6:::1]", "[ipv6:::1]/%2Ehidden"),
        ] {
            assert_eq!(domain(user, host), name, "{user} {host}");
        }
    }

    #[test]
    fn different_mailboxes_never_share_a_name() {
        assert_ne!(domain("a%2Fb", "x"), domain("\"a/b\"", "x"));
        let flat = |user, host| mailbox(Layout::Flat, user, host, "me").unwrap();
        assert_ne!(flat("\"a@b\"", "c"), flat("a", "b@c"));
    }

    #[test]
    fn name_over_the_limit_is_none_and_at_the_limit_is_fine() {
        assert!(mailbox(Layout::Domain, &"a".repeat(255), "x", "me").is_some());
        assert!(mailbox(Layout::Domain, &"a".repeat(256), "x", "me").is_none());
        assert!(mailbox(Layout::Domain, &"%".repeat(86), "x", "me").is_none());
    }

    #[test]
    fn file_names_follow_the_maildir_rule() {
        let time = Duration::from_micros(1_700_000_000_000_042);
        assert_eq!(file(time, 7, 3, "mx/a:b"), "1700000000.M42P7Q3.mx\\057a\\072b");
    }
}

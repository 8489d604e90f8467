//! The text of `auth_flat_file.ini` with one user's password changed. Pure: text in, text out;
//! everything else in the file stays as it is.

use haraka_plugins::auth::flat_file::{FILE, USERS};
use haraka_shared::config::{Held, Ini};
use thiserror::Error;

/// Why the file cannot hold this user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UserError {
    /// The name is not one that a key can be.
    #[error("a user's name is letters, digits and @ : . _ - /")]
    Name,
    /// The entry would not be read as it is meant.
    #[error("the entry cannot be changed without changing others; please edit the file by hand")]
    Entangled,
}

/// A file for a first user.
pub const NEW_FILE: &str = "[core]\nmethods=PLAIN,LOGIN\n\n[users]\n";

/// The text with `user=stored` in `[users]`, in place of what was there of that user.
pub fn with_user(text: &str, user: &str, stored: &str) -> Result<String, UserError> {
    let letter = |c: char| c.is_ascii_alphanumeric() || "@:._-/".contains(c);
    if user.is_empty() || !user.chars().all(letter) {
        return Err(UserError::Name);
    }
    let entry = format!("{user}={stored}");
    let lines: Vec<&str> = text.lines().collect();
    let mut out: Vec<&str> = Vec::with_capacity(lines.len() + 3);
    let mut section = "main";
    let mut continued = false;
    let mut written = false;
    // Behind the last entry of the section, if it is not there yet.
    let mut end_of_users = None;
    for line in lines {
        let trimmed = line.trim();
        let idle = trimmed.is_empty() || trimmed.starts_with([';', '#']);
        if let (Some(name), false) = (section_name(trimmed), continued) {
            section = name;
        }
        let ours = section == USERS && !idle && !continued && key(trimmed) == user;
        if !idle {
            continued = trimmed.ends_with('\\');
        }
        if !ours {
            out.push(line);
        } else if !written {
            out.push(&entry);
            written = true;
        }
        if section == USERS && !idle {
            end_of_users = Some(out.len());
        }
    }
    if !written {
        match end_of_users {
            Some(at) => out.insert(at, &entry),
            None => {
                if out.last().is_some_and(|l| !l.trim().is_empty()) {
                    out.push("");
                }
                out.extend(["[users]", &entry]);
            }
        }
    }
    let changed = out.join("\n") + "\n";
    if says_the_same(text, &changed, user, stored) {
        Ok(changed)
    } else {
        Err(UserError::Entangled)
    }
}

fn section_name(trimmed: &str) -> Option<&str> {
    Some(trimmed.strip_prefix('[')?.strip_suffix(']')?.trim())
}

fn key(trimmed: &str) -> &str {
    trimmed.split('=').next().unwrap_or_default().trim_end()
}

/// Whether the server reads the user's entry as meant, and all others as before.
fn says_the_same(before: &str, after: &str, user: &str, stored: &str) -> bool {
    let read = |text: &str| {
        let ini = Ini::parse(FILE, text.as_bytes());
        let mut all: Vec<(String, String, Vec<String>)> = Vec::new();
        for section in ini.sections() {
            for entry in section.entries() {
                let values = match &entry.held {
                    Held::One(value) => vec![value.text.clone()],
                    Held::Many(values) => values.iter().map(|v| v.text.clone()).collect(),
                };
                all.push((section.name.clone(), entry.key.clone(), values));
            }
        }
        all
    };
    let is_user =
        |(section, key, _): &(String, String, Vec<String>)| section == USERS && key == user;
    let (mut before, mut after) = (read(before), read(after));
    let meant = after.iter().any(|e| is_user(e) && e.2 == [stored]);
    before.retain(|e| !is_user(e));
    after.retain(|e| !is_user(e));
    meant && before == after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_replaced_or_added_and_all_else_stays() {
        for (before, after) in [
            ("", "[users]\nu=H\n"),
            (NEW_FILE, "[core]\nmethods=PLAIN,LOGIN\n\n[users]\nu=H\n"),
            (
                "[core]\nmethods=PLAIN",
                "[core]\nmethods=PLAIN\n\n[users]\nu=H\n",
            ),
            (
                "; top\n[users]\n; of a\na = 1 ; x\n u = old\nv=2\n\n# end\n[other]\nu=3\n",
                "; top\n[users]\n; of a\na = 1 ; x\nu=H\nv=2\n\n# end\n[other]\nu=3\n",
            ),
            (
                "[users]\na=1\n\n[other]\nx=1\n",
                "[users]\na=1\nu=H\n\n[other]\nx=1\n",
            ),
            ("[users]\nu=1\na=2\nu=3\n", "[users]\nu=H\na=2\n"),
            ("u=1\n[users]\n;u=2\n", "u=1\n[users]\nu=H\n;u=2\n"),
        ] {
            assert_eq!(
                with_user(before, "u", "H").as_deref(),
                Ok(after),
                "{before:?}"
            );
        }
    }

    #[test]
    fn what_would_be_read_otherwise_is_not_written() {
        for user in ["", "a b", "a=b", "[x]", ";x", "a\nb", "\u{fc}", "u[]"] {
            assert_eq!(with_user("", user, "H"), Err(UserError::Name), "{user:?}");
        }
        for text in ["[users]\nu=1\\\n2\n", "[users]\na=1\\\n"] {
            let entangled = Err(UserError::Entangled);
            assert_eq!(with_user(text, "u", "H"), entangled, "{text:?}");
        }
        assert_eq!(with_user("", "__proto__", "H"), Err(UserError::Entangled));
    }
}

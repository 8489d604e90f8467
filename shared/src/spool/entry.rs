//! Which kind of file an entry of the queue directory is, told by its name alone.
//!
//! Start-up decides a million files by this, so it allocates nothing and opens nothing.

use super::name::{
    ASIDE_PREFIX, BODY_PREFIX, Fields, Fnv, Incarnation, NameRef, OwnerKey, TEMP_PREFIX,
};
use super::stored::{HOLD_PREFIX, STAGED_PREFIX, StagedName, State, TRASH_PREFIX};
use super::{IMPORT_FILE, SUSPENDED_FILE};

/// After the name of a file of the queue tools that is being written.
pub(super) const NEW_SUFFIX: &str = ".new";

/// A directory entry, by its name alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry<'a> {
    /// An item waiting for delivery.
    Item(NameRef<'a>),
    /// An item that is being, or was being, written.
    Temp(NameRef<'a>),
    /// A rewritten header that is being, or was being, written by this worker.
    Scratch(OwnerKey),
    /// A file that its worker kept to write a further message into.
    Spare(OwnerKey),
    /// The body of the item with this identity.
    Body {
        /// Hash of the identity.
        identity: u64,
        /// Whom it belongs to.
        owner: OwnerKey,
    },
    /// An item that is held back or in the trash.
    Shelved(State, NameRef<'a>),
    /// A file of an import that is no item yet, and who makes one of it.
    Staged(OwnerKey),
    /// What the queue tools keep in the directory.
    Kept,
    /// Set aside earlier.
    Aside,
    /// `.` and `..`.
    Dots,
    /// Anything else: left alone.
    Unrecognised,
}

impl<'a> Entry<'a> {
    /// Tells what a name stands for.
    #[must_use]
    pub fn classify(name: &'a str) -> Self {
        if let Some(rest) = name.strip_prefix(TEMP_PREFIX) {
            if let Some(item) = NameRef::parse(rest) {
                return Self::Temp(item);
            }
            return match rest.strip_prefix(SPARE) {
                Some(rest) => scratch_owner(rest).map_or(Self::Unrecognised, Self::Spare),
                None => scratch_owner(rest).map_or(Self::Unrecognised, Self::Scratch),
            };
        }
        if name.starts_with(ASIDE_PREFIX) {
            return Self::Aside;
        }
        if let Some(identity) = name.strip_prefix(BODY_PREFIX) {
            return match Fields::of(identity) {
                Some(fields) if fields.count == 5 => {
                    let mut hash = Fnv::default();
                    hash.add(identity);
                    Self::Body {
                        identity: hash.finish(),
                        owner: OwnerKey::of_message(fields.get(0), fields.get(2)),
                    }
                }
                _ => Self::Unrecognised,
            };
        }
        if name.starts_with(HOLD_PREFIX) || name.starts_with(TRASH_PREFIX) {
            let shelved = State::of(name);
            return shelved.map_or(Self::Unrecognised, |(state, item)| {
                Self::Shelved(state, item)
            });
        }
        if name.starts_with(STAGED_PREFIX) {
            let staged = StagedName::parse(name);
            return staged.map_or(Self::Unrecognised, |s| Self::Staged(s.owner_key()));
        }
        match name {
            "." | ".." => Self::Dots,
            name if is_kept(name) => Self::Kept,
            name => NameRef::parse(name).map_or(Self::Unrecognised, Self::Item),
        }
    }
}

/// Files of the queue tools, also while they are being written.
fn is_kept(name: &str) -> bool {
    [SUSPENDED_FILE, IMPORT_FILE]
        .iter()
        .filter_map(|kept| name.strip_prefix(kept))
        .any(|rest| ["", NEW_SUFFIX, ".done", ".lock"].contains(&rest))
}

/// In the names of files that wait for another message.
const SPARE: &str = "spare.";

/// Name of a file that the given worker keeps for another message.
pub(super) fn spare_file(incarnation: Incarnation, number: u64) -> String {
    format!("{TEMP_PREFIX}{SPARE}{incarnation}.{number}")
}

/// Name of a header that is being rewritten by the given worker.
pub(super) fn scratch_file(incarnation: Incarnation, serial: u32) -> String {
    format!("{TEMP_PREFIX}{incarnation}.{serial}")
}

fn scratch_owner(rest: &str) -> Option<OwnerKey> {
    let (incarnation, serial) = rest.split_once('.')?;
    Incarnation::parse(incarnation)?;
    serial.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
    Some(OwnerKey::new("", incarnation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::QueueName;

    const PLAIN: &str = "1507509981169_1507509981200_3_61403_e0Y0Ym_12_mx.example.com";

    // covers OUT-10
    #[test]
    fn entries_are_told_apart() {
        let temp = format!("__tmp__.{PLAIN}");
        let body = QueueName::parse(PLAIN).unwrap().body_file();
        let scratch = scratch_file(Incarnation::parse("AbC123").unwrap(), 7);
        assert!(matches!(Entry::classify(PLAIN), Entry::Item(_)));
        assert!(matches!(Entry::classify(&temp), Entry::Temp(_)));
        assert!(matches!(Entry::classify(&scratch), Entry::Scratch(_)));
        let spare = spare_file(Incarnation::parse("AbC123").unwrap(), 7);
        assert!(matches!(Entry::classify(&spare), Entry::Spare(_)));
        assert!(matches!(Entry::classify(&body), Entry::Body { .. }));
        assert_eq!(Entry::classify("error.1_2_3"), Entry::Aside);
        let held = format!("hold_{PLAIN}");
        let Entry::Shelved(State::Held, name) = Entry::classify(&held) else {
            panic!("{held}");
        };
        assert_eq!(name.as_str(), PLAIN);
        for kept in [".suspended", ".suspended.new", ".import"] {
            assert_eq!(Entry::classify(kept), Entry::Kept);
        }
        assert!(matches!(
            Entry::classify("import_1_2_3_4"),
            Entry::Staged(_)
        ));
        for other in [
            "zero-length",
            "1_2_3_4_5",
            "_______",
            "a_b_c_d_e_f_g",
            "__tmp__.",
            "body.x",
            "1_2_3_4_5_6_7_c",
            "hold_",
            "trash_1_x",
            "import_1",
            ".suspended.old",
            "",
        ] {
            assert_eq!(Entry::classify(other), Entry::Unrecognised, "{other}");
        }
    }

    #[test]
    fn a_body_belongs_to_the_item_it_is_named_after() {
        let name = QueueName::parse(PLAIN).unwrap();
        let body = name.body_file();
        let Entry::Body { identity, owner } = Entry::classify(&body) else {
            panic!("{body}");
        };
        assert_eq!(identity, name.identity_hash());
        assert_eq!(owner, name.owner_key());
    }
}

//! Where an item stands, as its file name says: in the queue, held back, or in the trash.
//!
//! Held and trashed items have a prefix of their own before their name, so that one rename brings
//! them there and back. The prefixes add fields to the name, as Haraka takes every name with four or
//! seven of them for an item. Pure functions, nothing is opened here.

use std::fmt;

use super::name::{Fields, NameRef, OwnerKey, QueueName};

/// Before the name of an item that an operator holds back.
pub const HOLD_PREFIX: &str = "hold_";
/// Before the time of removal, a dot, and the name that an item had when it was removed.
pub const TRASH_PREFIX: &str = "trash_";
/// Before the serial number and the times of a file that is being imported.
pub const STAGED_PREFIX: &str = "import_";

/// Where an item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It is delivered when its time comes.
    Queued,
    /// It waits until somebody releases it.
    Held,
    /// It is deleted some time after its removal.
    Trashed {
        /// When it was removed, in milliseconds since 1970; the same for all items of one removal.
        at: u64,
        /// It was held, and is again when it comes back.
        held: bool,
    },
}

impl State {
    /// Where an item that comes back from the trash stands.
    #[must_use]
    pub fn restored(self) -> State {
        match self {
            State::Trashed { held: false, .. } => State::Queued,
            State::Trashed { held: true, .. } => State::Held,
            other => other,
        }
    }

    /// Where an item of this state stands once it was removed.
    #[must_use]
    pub fn trashed(self, at: u64) -> State {
        let held = self == State::Held;
        State::Trashed { at, held }
    }

    /// The name of the file of an item that stands here.
    #[must_use]
    pub fn file(self, name: &str) -> String {
        match self {
            State::Queued => name.to_owned(),
            State::Held => format!("{HOLD_PREFIX}{name}"),
            State::Trashed { at, held: false } => format!("{TRASH_PREFIX}{at}.{name}"),
            State::Trashed { at, held: true } => format!("{TRASH_PREFIX}{at}.{HOLD_PREFIX}{name}"),
        }
    }

    /// What a file name says besides the item's name.
    pub(super) fn of(file: &str) -> Option<(State, NameRef<'_>)> {
        let (trashed, rest) = match file.strip_prefix(TRASH_PREFIX) {
            None => (None, file),
            Some(rest) => {
                let (at, rest) = rest.split_once('.')?;
                let digits = !at.is_empty() && at.bytes().all(|b| b.is_ascii_digit());
                (Some(at.parse().ok().filter(|_| digits)?), rest)
            }
        };
        let (held, name) = match rest.strip_prefix(HOLD_PREFIX) {
            Some(name) => (true, name),
            None => (false, rest),
        };
        let state = match (trashed, held) {
            (Some(at), held) => State::Trashed { at, held },
            (None, true) => State::Held,
            (None, false) => State::Queued,
        };
        NameRef::parse(name).map(|name| (state, name))
    }
}

/// An item and where it stands: what a file name of the queue directory says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoredName {
    /// Where it stands.
    pub state: State,
    /// Its name without what its state adds.
    pub name: QueueName,
}

impl StoredName {
    /// Reads a file name; none if it is not that of an item.
    #[must_use]
    pub fn parse(file: &str) -> Option<StoredName> {
        let (state, name) = State::of(file)?;
        Some(StoredName {
            state,
            name: name.to_owned(),
        })
    }

    /// The file name.
    #[must_use]
    pub fn file(&self) -> String {
        self.state.file(self.name.as_str())
    }

    /// The same item elsewhere.
    #[must_use]
    pub fn at(&self, state: State) -> StoredName {
        StoredName {
            state,
            name: self.name.clone(),
        }
    }
}

impl fmt::Display for StoredName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file())
    }
}

/// A file of an import, whole and on disk, that is no item yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedName {
    /// Tells it from the others of its import.
    pub serial: u64,
    /// When the message arrived where it came from, in milliseconds since 1970.
    pub arrival: u64,
    /// When it is due, in milliseconds since 1970.
    pub next_attempt: u64,
    /// How often it was tried.
    pub attempts: u32,
}

impl StagedName {
    /// Reads a file name; none if it is not that of such a file.
    #[must_use]
    pub fn parse(file: &str) -> Option<StagedName> {
        let fields = Fields::of(file.strip_prefix(STAGED_PREFIX)?)?;
        if fields.count != 4 {
            return None;
        }
        Some(StagedName {
            serial: fields.get(0).parse().ok()?,
            arrival: fields.get(1).parse().ok()?,
            next_attempt: fields.get(2).parse().ok()?,
            attempts: fields.get(3).parse().ok()?,
        })
    }

    /// The file name.
    #[must_use]
    pub fn file(&self) -> String {
        let StagedName {
            serial,
            arrival,
            next_attempt,
            attempts,
        } = self;
        format!("{STAGED_PREFIX}{serial}_{arrival}_{next_attempt}_{attempts}")
    }

    /// Decides which worker makes an item of it.
    #[must_use]
    pub fn owner_key(&self) -> OwnerKey {
        OwnerKey::new("import", &self.serial.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "1507509981169_1507509981200_3_61403_e0Y0Ym_12_mx.example.com";

    #[test]
    fn every_state_is_read_from_the_name_that_it_makes() {
        for name in [
            PLAIN.to_owned(),
            format!("{PLAIN}_b"),
            "123_4_5_6.old.example".to_owned(),
        ] {
            for state in [
                State::Queued,
                State::Held,
                State::Trashed { at: 7, held: false },
                State::Trashed { at: 8, held: true },
            ] {
                let file = state.file(&name);
                let stored = StoredName::parse(&file).unwrap();
                assert_eq!((stored.state, stored.name.as_str()), (state, &*name));
                assert_eq!(stored.file(), file);
                // Haraka reads names of four and of seven fields.
                let fields = file.split('_').count();
                assert!(
                    state == State::Queued || ![4, 7].contains(&fields),
                    "{file}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_items_name_is_none_with_a_prefix_either() {
        for file in [
            "hold_",
            "hold_notes.txt",
            "hold_hold_1_2_3_4_5_6_7",
            "trash_1.",
            "trash_1_2_3_4_abcdef_6_h",
            "trash_.1_2_3_4_abcdef_6_h",
            "trash_+1.1_2_3_4_abcdef_6_h",
            "hold_trash_1.1_2_3_4_abcdef_6_h",
        ] {
            assert_eq!(StoredName::parse(file), None, "{file}");
        }
    }

    #[test]
    fn trash_gives_back_what_it_took() {
        for state in [State::Queued, State::Held] {
            assert_eq!(state.trashed(5).restored(), state);
        }
    }

    #[test]
    fn staged_files_keep_times_and_attempts() {
        let staged = StagedName {
            serial: 3,
            arrival: 10,
            next_attempt: 20,
            attempts: 4,
        };
        assert_eq!(staged.file(), "import_3_10_20_4");
        assert_eq!(StagedName::parse(&staged.file()), Some(staged));
        assert_eq!(StagedName::parse("import_3_10_20"), None);
    }
}

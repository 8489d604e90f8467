//! Finding the items that are meant: by names, by parts of names, or by conditions.
//!
//! The directory is read as a stream, in portions that are sorted by arrival: memory stays the same
//! however many items there are.

use std::collections::{HashMap, HashSet};
use std::io::BufRead as _;

use haraka_shared::date::epoch_ms;
use haraka_shared::spool::{Others, QueueReader, State, StoredName, Suspensions, Todo};

use super::args::Select;
use super::filter::Wait;
use super::text::plain;
use super::{Place, ToolError};

/// Names in memory at a time.
const PORTION: usize = 50_000;

/// Names taken from standard input; more are for several commands.
const MOST_NAMES: usize = 1_000_000;

/// Longest input, in bytes.
const LONGEST_INPUT: u64 = 256 * 1024 * 1024;

/// Items that a part of a name may fit before it is said to fit too many.
const SHOWN: usize = 3;

/// Where items may stand for a tool to mean them when nobody says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// In the queue.
    Queued,
    /// Held.
    Held,
    /// Both.
    Alive,
    /// In the trash.
    Trash,
}

impl Means {
    fn takes(self, state: State) -> bool {
        match state {
            State::Queued => matches!(self, Means::Queued | Means::Alive),
            State::Held => matches!(self, Means::Held | Means::Alive),
            State::Trashed { .. } => self == Means::Trash,
        }
    }
}

/// An item with what was read to find it.
pub(super) struct Found {
    pub(super) item: StoredName,
    /// Its envelope, and the length of its message.
    pub(super) envelope: Option<(Todo, Option<u64>)>,
}

/// The queue directory with what is needed to find items in it.
pub(super) struct Finder {
    pub(super) reader: QueueReader,
    pub(super) suspensions: Suspensions,
    pub(super) now: u64,
    /// Problems with names and files, to be told.
    pub(super) problems: Vec<String>,
    /// Problems beyond those.
    pub(super) untold: u64,
}

/// Problems that are told one by one.
const MOST_PROBLEMS: usize = 1000;

impl Finder {
    pub(super) fn open(place: &Place) -> Result<Finder, ToolError> {
        Ok(Finder {
            reader: QueueReader::open(&place.queue_dir)?,
            suspensions: Suspensions::load(&place.queue_dir)?,
            now: epoch_ms(),
            problems: Vec::new(),
            untold: 0,
        })
    }

    pub(super) fn problem(&mut self, text: String) {
        match self.problems.len() < MOST_PROBLEMS {
            true => self.problems.push(text),
            false => self.untold += 1,
        }
    }

    /// Tells the problems on standard error; true if there were none.
    pub(super) fn tell_problems(&self) -> bool {
        for problem in &self.problems {
            eprintln!("{}", plain(problem));
        }
        if self.untold > 0 {
            eprintln!("… and {} more", self.untold);
        }
        self.problems.is_empty()
    }

    /// Calls `each` for the items that are meant. With `envelopes`, each comes with its own.
    pub(super) fn each(
        &mut self,
        select: &Select,
        means: Means,
        envelopes: bool,
        each: &mut dyn FnMut(&mut Finder, Found) -> Result<(), ToolError>,
    ) -> Result<(), ToolError> {
        if !select.names.is_empty() || select.stdin {
            return self.each_named(select, means, envelopes, each);
        }
        let stated = select.filter.state;
        let takes = |state: State| match stated {
            // the condition decides
            Some(_) => true,
            None => means.takes(state),
        };
        let mut portions = Portions::default();
        loop {
            let names = portions.next(&self.reader, &mut |state, _| takes(state))?;
            if names.is_empty() {
                return Ok(());
            }
            for item in names {
                self.one(item, select, envelopes, each)?;
            }
        }
    }

    fn one(
        &mut self,
        item: StoredName,
        select: &Select,
        envelopes: bool,
        each: &mut dyn FnMut(&mut Finder, Found) -> Result<(), ToolError>,
    ) -> Result<(), ToolError> {
        let filter = &select.filter;
        if !filter.may_take(&item, self.now) {
            return Ok(());
        }
        let mut envelope = None;
        if envelopes || filter.needs_envelope() {
            match self.reader.envelope(&item) {
                Ok(read) => envelope = Some(read),
                Err(e) if e.is_gone() => return Ok(()),
                Err(e) => {
                    self.problem(e.to_string());
                    return Ok(());
                }
            }
        }
        if let Some((todo, _)) = &envelope
            && !filter.takes(&item, todo, &self.suspensions, self.now)
        {
            return Ok(());
        }
        each(self, Found { item, envelope })
    }

    fn each_named(
        &mut self,
        select: &Select,
        means: Means,
        envelopes: bool,
        each: &mut dyn FnMut(&mut Finder, Found) -> Result<(), ToolError>,
    ) -> Result<(), ToolError> {
        let mut words = select.names.clone();
        if select.stdin {
            words.extend(from_stdin()?);
        }
        let mut wanted = Words::new(words);
        // A name may mean an item anywhere; who acts says what does not fit.
        let read = wanted.needs_envelopes();
        let mut portions = Portions::default();
        loop {
            let names = portions.next(&self.reader, &mut |_, _| true)?;
            if names.is_empty() {
                break;
            }
            for item in names {
                let uuid = match read && wanted.may_be_known_by_uuid(&item) {
                    true => self.reader.envelope(&item).map(|(todo, _)| todo.uuid).ok(),
                    false => None,
                };
                wanted.meet(item, uuid.as_deref());
            }
        }
        let (items, problems) = wanted.settle(means);
        for problem in problems {
            self.problem(problem);
        }
        for item in items {
            self.one(item, select, envelopes, each)?;
        }
        Ok(())
    }

    /// Where items with these identities stand now, by identity.
    pub(super) fn find_again(
        &self,
        wanted: &[StoredName],
    ) -> Result<HashMap<String, StoredName>, ToolError> {
        let identities: HashSet<String> = wanted.iter().map(|i| i.name.identity()).collect();
        let mut found = HashMap::new();
        self.reader.items(|state, name| {
            let file = state.file(name);
            if let Some(item) = StoredName::parse(&file)
                && identities.contains(&item.name.identity())
            {
                found.insert(item.name.identity(), item);
            }
        })?;
        Ok(found)
    }

    /// The word for how an item waits.
    pub(super) fn wait(&self, item: &StoredName, todo: &Todo) -> Wait {
        super::filter::wait(item, todo, &self.suspensions, self.now)
    }
}

/// The items of a directory by arrival, as many as fit into memory at a time.
#[derive(Default)]
struct Portions {
    /// The last one that was given; none before the first.
    after: Option<(u64, String)>,
    over: bool,
    /// What the directory had besides items.
    others: Others,
}

impl Portions {
    /// The next items by arrival and name. Each portion takes a pass over the directory.
    fn next(
        &mut self,
        reader: &QueueReader,
        takes: &mut dyn FnMut(State, &str) -> bool,
    ) -> Result<Vec<StoredName>, ToolError> {
        if self.over {
            return Ok(Vec::new());
        }
        let mut first: Vec<(u64, String)> = Vec::new();
        let mut full = false;
        let after = self.after.clone();
        self.others = reader.items(|state, name| {
            if !takes(state, name) {
                return;
            }
            // The first field is the arrival; names of the old form have another one there.
            let arrival = name.split('_').next().and_then(|f| f.parse().ok());
            let key = (arrival.unwrap_or(0), state.file(name));
            if after.as_ref().is_some_and(|after| key <= *after) {
                return;
            }
            first.push(key);
            if first.len() >= 2 * PORTION {
                first.select_nth_unstable(PORTION);
                first.truncate(PORTION);
                full = true;
            }
        })?;
        first.sort_unstable();
        if first.len() > PORTION {
            first.truncate(PORTION);
            full = true;
        }
        self.over = !full;
        self.after = first.last().cloned();
        let items = first.iter().filter_map(|(_, f)| StoredName::parse(f));
        Ok(items.collect())
    }
}

/// Names, one on each line or several; more than one tool may have written them.
fn from_stdin() -> Result<Vec<String>, ToolError> {
    use std::io::Read as _;
    let input = std::io::stdin().lock().take(LONGEST_INPUT);
    let mut words = Vec::new();
    for line in std::io::BufReader::new(input).lines() {
        let line = line.map_err(|e| ToolError::Refused(format!("standard input: {e}")))?;
        words.extend(line.split_whitespace().map(str::to_owned));
        if words.len() > MOST_NAMES {
            return Err(ToolError::Refused(format!(
                "standard input: more than {MOST_NAMES} names"
            )));
        }
    }
    Ok(words)
}

/// What an operator wrote for names, and what was found for it.
struct Words {
    /// Identities of whole names, with whether they were met.
    whole: HashMap<String, bool>,
    rest: Vec<Word>,
    found: Vec<StoredName>,
}

struct Word {
    text: String,
    kind: Kind,
    met: Vec<StoredName>,
}

#[derive(PartialEq, Eq)]
enum Kind {
    /// A transaction's or an item's: each item of a transaction is meant.
    Uuid,
    /// The time of a removal: everything that it removed is meant.
    Removal(u64),
    /// Some fields of a name: one item is meant.
    Part,
}

impl Words {
    fn new(words: Vec<String>) -> Words {
        let (mut whole, mut rest) = (HashMap::new(), Vec::new());
        for text in words {
            if let Some(item) = StoredName::parse(&text) {
                whole.insert(item.name.identity(), false);
                continue;
            }
            let digits = text.len() == 13 && text.bytes().all(|b| b.is_ascii_digit());
            let kind = match text.parse() {
                Ok(at) if digits => Kind::Removal(at),
                _ if is_uuid(&text) => Kind::Uuid,
                _ => Kind::Part,
            };
            let met = Vec::new();
            rest.push(Word { text, kind, met });
        }
        Words {
            whole,
            rest,
            found: Vec::new(),
        }
    }

    fn needs_envelopes(&self) -> bool {
        self.rest.iter().any(|w| w.kind == Kind::Uuid)
    }

    /// Whether reading the envelope of this item can tell more.
    fn may_be_known_by_uuid(&self, item: &StoredName) -> bool {
        !self.whole.contains_key(&item.name.identity())
    }

    fn meet(&mut self, item: StoredName, uuid: Option<&str>) {
        let identity = item.name.identity();
        if let Some(met) = self.whole.get_mut(&identity) {
            *met = true;
            self.found.push(item);
            return;
        }
        let fields = format!("_{identity}_");
        for word in &mut self.rest {
            let meant = match word.kind {
                Kind::Uuid => uuid.is_some_and(|uuid| {
                    let rest = uuid.strip_prefix(&*word.text);
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                }),
                Kind::Removal(at) => {
                    matches!(item.state, State::Trashed { at: removed, .. } if removed == at)
                }
                Kind::Part => {
                    word.met.len() <= SHOWN && fields.contains(&format!("_{}_", word.text))
                }
            };
            if meant {
                word.met.push(item.clone());
            }
        }
    }

    /// The items that are meant, and what is wrong with the words.
    fn settle(self, means: Means) -> (Vec<StoredName>, Vec<String>) {
        let mut problems: Vec<String> = Vec::new();
        let mut found = self.found;
        for (identity, met) in &self.whole {
            if !met {
                problems.push(format!("{identity}: no such item in the queue"));
            }
        }
        for word in self.rest {
            // What the tool is for comes first: the part of a name that was removed and a living one.
            let fits = |item: &&StoredName| means.takes(item.state);
            let fitting: Vec<StoredName> = word.met.iter().filter(fits).cloned().collect();
            let met = match fitting.is_empty() {
                true => word.met,
                false => fitting,
            };
            if met.is_empty() {
                problems.push(format!("{}: no such item in the queue", word.text));
            } else if word.kind == Kind::Part && met.len() > 1 {
                let names: Vec<String> = met.iter().take(SHOWN).map(StoredName::file).collect();
                let names = names.join(", ");
                problems.push(format!("{}: not unique: {names}, …", word.text));
            } else {
                found.extend(met);
            }
        }
        let mut seen = HashSet::new();
        found.retain(|item| seen.insert(item.name.identity()));
        (found, problems)
    }
}

/// Whether a text begins as the id of a transaction does: 8-4-4-4-12 hexadecimal digits.
fn is_uuid(text: &str) -> bool {
    let id = text.split('.').next().unwrap_or_default();
    let lengths: Vec<usize> = id.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && id.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(file: &str) -> StoredName {
        StoredName::parse(file).unwrap()
    }

    const UUID: &str = "7E327655-21A4-4390-9542-0C47633A2ADA";

    fn settled(words: &[&str], means: Means) -> (Vec<String>, Vec<String>) {
        let mut wanted = Words::new(words.iter().map(|w| (*w).to_owned()).collect());
        for (n, file) in [
            "1700000000000_5_0_7_AbCdEf_1_mx",
            "1700000000000_5_0_7_AbCdEf_2_mx_b",
            "hold_1700000000001_6_0_7_AbCdEf_12_mx",
            "trash_1700000000009.1700000000002_6_0_7_XyZxyz_1_mx",
        ]
        .iter()
        .enumerate()
        {
            let uuid = format!("{UUID}.{}.1", n / 2);
            wanted.meet(item(file), Some(&uuid));
        }
        let (items, mut problems) = wanted.settle(means);
        let mut items: Vec<String> = items.iter().map(StoredName::file).collect();
        items.sort();
        problems.sort();
        (items, problems)
    }

    #[test]
    fn words_mean_items_by_identity_part_uuid_or_removal() {
        let one = |word: &str| {
            let (items, problems) = settled(&[word], Means::Alive);
            assert_eq!(problems, [""; 0], "{word}");
            assert_eq!(items.len(), 1, "{word}: {items:?}");
            items[0].clone()
        };
        // the name has changed since it was listed
        let now = one("1700000000000_99_3_7_AbCdEf_1_mx");
        assert_eq!(now, "1700000000000_5_0_7_AbCdEf_1_mx");
        assert!(one("AbCdEf_12").starts_with("hold_"));
        assert!(one("AbCdEf_2").ends_with("_b"));
        assert!(one("XyZxyz").starts_with("trash_"));
        assert!(one("1700000000009").starts_with("trash_"));
        assert!(one(&format!("{UUID}.1.1")).starts_with("hold_"));
        let (items, _) = settled(&[&format!("{UUID}.0")], Means::Alive);
        assert_eq!(items.len(), 2);
        let (items, _) = settled(&[&format!("{UUID}.1"), UUID], Means::Trash);
        assert_eq!(items.len(), 1);
    }

    #[test]
    fn words_for_nothing_or_too_much_are_told() {
        let (items, problems) = settled(&["AbCdEf", "nothing", "bCdEf_1"], Means::Alive);
        assert_eq!(items, [""; 0]);
        assert_eq!(problems.len(), 3);
        assert!(problems[0].starts_with("AbCdEf: not unique: "));
        assert_eq!(problems[2], "nothing: no such item in the queue");
    }
}

//! What must hold for any queue file and any file name; used by the fuzz target and by the replay of
//! its corpus on stable (`shared/tests/spool_corpus.rs`).

use haraka_shared::spool::{Entry, NameRef, QueueName, parse_item, write_header};

pub fn queue_file(input: &[u8]) {
    if let Ok(first) = parse_item(input) {
        assert!(first.body_offset <= input.len() as u64);
        // what was read can be written, and reads the same
        let mut written = Vec::new();
        write_header(&first.todo, &mut written).unwrap();
        let second = parse_item(&written).unwrap();
        assert_eq!(second.todo, first.todo);
        assert_eq!(second.body_offset, written.len() as u64);
    }
    if let Ok(name) = std::str::from_utf8(input) {
        file_name(name);
    }
}

fn file_name(text: &str) {
    let _ = Entry::classify(text);
    let Some(name) = NameRef::parse(text) else {
        return;
    };
    assert_eq!(name.as_str(), text);
    let later = name.to_owned().rescheduled(1_790_000_000_000, 7);
    assert_eq!(QueueName::parse(later.as_str()).as_ref(), Some(&later));
    assert_eq!((later.next_attempt, later.attempts), (1_790_000_000_000, 7));
    assert_eq!(later.owner_key(), name.owner_key());
    assert_eq!(later.identity(), name.identity());
    assert_eq!(Entry::classify(&name.temp_file()), Entry::Temp(name));
}

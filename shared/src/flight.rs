//! What a worker has in its hands when it dies: a page of memory shared between one worker and the
//! master.
//!
//! A worker notes the name of a queue file while it takes that file apart. When the worker dies the
//! master reads what is noted, and a file that was in hand at two deaths is set aside. Noting costs
//! a copy of the name into memory that is there already: no system call, no frame. The page is made
//! by the master before the fork, so that it outlives the worker.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use crate::mapping::{Mapping, MappingError, Shareable};

/// Files that one worker can have noted at a time; further ones are not noted.
pub const SLOTS: usize = 15;

/// Longest name that is noted, in bytes: the limit of file systems.
pub const LONGEST_NAME: usize = 255;

/// The page. Notes are made through a shared reference, from any thread.
#[derive(Debug)]
pub struct FlightPage(Mapping<Page>);

/// A note, taken back when dropped.
#[derive(Debug)]
#[must_use = "the note is taken back when this is dropped"]
pub struct Noted<'a> {
    page: Option<&'a Page>,
    /// `None` if there was no room.
    slot: Option<usize>,
}

/// All of it is valid when zero, as the system hands it out.
#[derive(Debug)]
#[repr(C)]
struct Page {
    /// Bit n: slot n is taken.
    taken: AtomicU32,
    /// Brings the page to 4096 bytes.
    rest: [AtomicU8; 252],
    slots: [Slot; SLOTS],
}

#[allow(unsafe_code)]
// SAFETY: atomics only.
unsafe impl Shareable for Page {}

#[derive(Debug)]
#[repr(C)]
struct Slot {
    /// Bytes of `name` that count; 0 while nothing is noted.
    length: AtomicU8,
    name: [AtomicU8; LONGEST_NAME],
}

impl FlightPage {
    /// A page with nothing noted, shared with every process forked from now on.
    ///
    /// # Errors
    /// The system gives no memory.
    pub fn new() -> Result<FlightPage, MappingError> {
        const { assert!(size_of::<Page>() == 4096) };
        Mapping::zeroed(1).map(FlightPage)
    }

    /// Notes that the file of this name is in hand, until the result is dropped. A name that is
    /// empty or too long is not noted.
    pub fn note(&self, file: &str) -> Noted<'_> {
        let page = self.0.first();
        let length = u8::try_from(file.len()).ok().filter(|n| *n > 0);
        let slot = length.zip(page).and_then(|(length, page)| {
            let (index, slot) = page.claim()?;
            for (to, from) in slot.name.iter().zip(file.bytes()) {
                to.store(from, Ordering::Relaxed);
            }
            // Last, so that a reader of the length finds the name whole.
            slot.length.store(length, Ordering::Release);
            Some(index)
        });
        Noted { page, slot }
    }

    /// The names that are noted. The bytes come from a process that may have run wild: they are
    /// checked to be one path component, no more.
    #[must_use]
    pub fn in_hand(&self) -> Vec<String> {
        let named = |slot: &Slot| {
            let length = usize::from(slot.length.load(Ordering::Acquire));
            let bytes = slot.name.iter().take(length);
            let name =
                String::from_utf8(bytes.map(|b| b.load(Ordering::Relaxed)).collect()).ok()?;
            let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
            plain.then_some(name)
        };
        let slots = self.0.first().map(|page| page.slots.iter());
        slots.into_iter().flatten().filter_map(named).collect()
    }
}

impl Page {
    fn claim(&self) -> Option<(usize, &Slot)> {
        let mut taken = self.taken.load(Ordering::Relaxed);
        loop {
            let index = taken.trailing_ones();
            let slot = self.slots.get(usize::try_from(index).ok()?)?;
            let wanted = taken | (1 << index);
            match self.taken.compare_exchange_weak(
                taken,
                wanted,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some((usize::try_from(index).ok()?, slot)),
                Err(now) => taken = now,
            }
        }
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        let (Some(page), Some(index)) = (self.page, self.slot) else {
            return;
        };
        if let Some(slot) = page.slots.get(index) {
            slot.length.store(0, Ordering::Release);
        }
        page.taken.fetch_and(!(1 << index), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_shows_until_it_is_dropped() {
        let page = FlightPage::new().unwrap();
        assert!(page.in_hand().is_empty());
        let one = page.note("1_1_0_7_aaaaaa_1_h");
        let two = page.note("2_2_0_7_bbbbbb_1_h");
        assert_eq!(page.in_hand(), ["1_1_0_7_aaaaaa_1_h", "2_2_0_7_bbbbbb_1_h"]);
        drop(one);
        assert_eq!(page.in_hand(), ["2_2_0_7_bbbbbb_1_h"]);
        drop(two);
        assert!(page.in_hand().is_empty());
    }

    #[test]
    fn more_files_than_slots_are_not_noted_and_do_no_harm() {
        let page = FlightPage::new().unwrap();
        let held: Vec<_> = (0..SLOTS + 3)
            .map(|n| page.note(&format!("f{n}")))
            .collect();
        assert_eq!(page.in_hand().len(), SLOTS);
        drop(held);
        assert!(page.in_hand().is_empty());
        let again = page.note("again");
        assert_eq!(page.in_hand(), ["again"]);
        drop(again);
    }

    #[test]
    fn a_name_of_the_longest_length_is_kept_whole_and_a_longer_one_is_not_noted() {
        let page = FlightPage::new().unwrap();
        let longest = "n".repeat(LONGEST_NAME);
        let noted = page.note(&longest);
        let over = page.note(&"n".repeat(LONGEST_NAME + 1));
        assert_eq!(page.in_hand(), [longest]);
        drop((noted, over));
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_never_given_out() {
        let page = FlightPage::new().unwrap();
        let notes = ["../../etc/passwd", "a/b", ".hidden", "nul\0"].map(|n| page.note(n));
        assert!(page.in_hand().is_empty());
        drop(notes);
    }

    #[test]
    fn notes_from_many_threads_do_not_mix() {
        let page = FlightPage::new().unwrap();
        std::thread::scope(|s| {
            for t in 0..4u8 {
                let page = &page;
                s.spawn(move || {
                    let name = char::from(b'a' + t).to_string().repeat(40);
                    for _ in 0..2000 {
                        let noted = page.note(&name);
                        assert!(page.in_hand().contains(&name));
                        drop(noted);
                    }
                });
            }
        });
        assert!(page.in_hand().is_empty());
    }
}

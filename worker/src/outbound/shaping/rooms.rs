//! Items that wait for their destination, by name: a room for those that wait for the same.
//!
//! Within a room first come is first served; rooms of one provider take turns. Decides; never counts.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::rc::Rc;

use haraka_shared::spool::QueueName;
use haraka_shared::traffic::Key;
use slab::Slab;

use super::Denied;
use super::destination::Destination;

/// What items of one room share: what they wait for cannot differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RoomId {
    /// Who runs the mail hosts.
    pub(super) provider: Key,
    /// The domain, if a rule names it.
    pub(super) domain: Option<Rc<str>>,
    /// The pool that they are sent from.
    pub(super) pool: Option<Rc<str>>,
}

/// Items that wait in memory, by name; more of them wait on disk and come back later.
const MOST: usize = 100_000;

/// All rooms.
#[derive(Default)]
pub(super) struct Rooms {
    rooms: Slab<Room>,
    by_id: HashMap<RoomId, usize>,
    by_provider: HashMap<Key, Vec<usize>>,
    /// When to look at which.
    looks: BTreeSet<(Look, usize)>,
    /// Looks so far.
    asked: u64,
    len: usize,
}

struct Room {
    id: RoomId,
    to: Rc<Destination>,
    names: VecDeque<(QueueName, Rc<str>)>,
    look: Look,
    denied: Denied,
}

/// A time; of those at the same time, who was asked longest ago comes first.
type Look = (u64, u64);

/// A room that is to be looked at.
pub(super) struct Due {
    pub(super) room: usize,
    /// Where its first item goes.
    pub(super) domain: Rc<str>,
    pub(super) to: Rc<Destination>,
    pub(super) pool: Option<Rc<str>>,
}

impl Rooms {
    /// How many items wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether somebody waits there.
    pub(super) fn is_taken(&self, id: &RoomId) -> bool {
        self.by_id.contains_key(id)
    }

    /// Adds an item; not if there are too many.
    pub(super) fn park(
        &mut self,
        id: RoomId,
        to: &Rc<Destination>,
        who: (QueueName, Rc<str>),
        look_at: u64,
        denied: Denied,
    ) -> bool {
        if self.len >= MOST {
            return false;
        }
        let at = match self.by_id.get(&id) {
            Some(at) => *at,
            None => {
                let at = self.rooms.insert(Room {
                    id: id.clone(),
                    to: Rc::clone(to),
                    names: VecDeque::new(),
                    look: (look_at, 0),
                    denied,
                });
                self.by_provider.entry(id.provider).or_default().push(at);
                self.by_id.insert(id, at);
                self.looks.insert(((look_at, 0), at));
                at
            }
        };
        if let Some(room) = self.rooms.get_mut(at) {
            room.names.push_back(who);
            self.len += 1;
        }
        true
    }

    /// The room whose turn it is.
    pub(super) fn due(&self, now: u64) -> Option<Due> {
        let (_, at) = self.looks.first().filter(|((at, _), _)| *at <= now)?;
        let room = self.rooms.get(*at)?;
        let (_, domain) = room.names.front()?;
        Some(Due {
            room: *at,
            domain: Rc::clone(domain),
            to: Rc::clone(&room.to),
            pool: room.id.pool.clone(),
        })
    }

    /// When there is a room to look at.
    pub(super) fn next_look(&self) -> Option<u64> {
        self.looks.first().map(|((at, _), _)| *at)
    }

    /// The first item of a room leaves; the next one is looked at after those of other rooms that are
    /// due.
    pub(super) fn leave(&mut self, room: usize, now: u64) -> Option<QueueName> {
        let inside = self.rooms.get_mut(room)?;
        let (name, _) = inside.names.pop_front()?;
        self.len -= 1;
        if inside.names.is_empty() {
            self.close(room);
        } else {
            self.again(room, now, None);
        }
        Some(name)
    }

    /// A room is to be looked at then.
    pub(super) fn again(&mut self, room: usize, look_at: u64, denied: Option<Denied>) {
        let Some(inside) = self.rooms.get_mut(room) else {
            return;
        };
        self.asked += 1;
        self.looks.remove(&(inside.look, room));
        inside.look = (look_at, self.asked);
        if let Some(denied) = denied {
            inside.denied = denied;
        }
        self.looks.insert((inside.look, room));
    }

    /// Something of this provider has become free.
    pub(super) fn ring(&mut self, provider: Key, now: u64) {
        let rooms = self.by_provider.get(&provider).cloned();
        for room in rooms.unwrap_or_default() {
            if self.rooms.get(room).is_some_and(|r| r.look.0 > now) {
                self.again(room, now, None);
            }
        }
    }

    /// How many wait for a provider, and why the first of them does.
    pub(super) fn of_provider(&self, provider: Key) -> (usize, Option<&Denied>) {
        let rooms = self.by_provider.get(&provider).into_iter().flatten();
        let mut rooms = rooms.filter_map(|at| self.rooms.get(*at)).peekable();
        let first = rooms.peek().map(|r| &r.denied);
        (rooms.map(|r| r.names.len()).sum(), first)
    }

    /// Why an item waits, and how many are before it; nothing if it does not.
    pub(super) fn of_item(&self, name: &QueueName) -> Option<(&Denied, usize)> {
        let before = |room: &Room| room.names.iter().position(|(n, _)| n == name);
        let mut rooms = self.rooms.iter();
        rooms.find_map(|(_, room)| Some((&room.denied, before(room)?)))
    }

    /// Destinations for which items wait, one for each provider.
    pub(super) fn destinations(&self) -> Vec<Rc<Destination>> {
        let firsts = self.by_provider.values().filter_map(|rooms| rooms.first());
        let rooms = firsts.filter_map(|at| self.rooms.get(*at));
        rooms.map(|room| Rc::clone(&room.to)).collect()
    }

    /// Calls `each` with every item.
    pub(super) fn for_each(&self, mut each: impl FnMut(&QueueName)) {
        let names = self.rooms.iter().flat_map(|(_, room)| &room.names);
        names.for_each(|(name, _)| each(name));
    }

    /// All items.
    pub(super) fn into_names(self) -> Vec<QueueName> {
        let rooms = self.rooms.into_iter();
        let names = rooms.flat_map(|(_, room)| room.names);
        names.map(|(name, _)| name).collect()
    }

    fn close(&mut self, room: usize) {
        let Some(gone) = self.rooms.try_remove(room) else {
            return;
        };
        self.looks.remove(&(gone.look, room));
        self.by_id.remove(&gone.id);
        if let Some(others) = self.by_provider.get_mut(&gone.id.provider) {
            others.retain(|at| *at != room);
            if others.is_empty() {
                self.by_provider.remove(&gone.id.provider);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Why;
    use super::*;

    fn name(n: u64) -> QueueName {
        QueueName::parse(&format!("1700000000000_{n}_0_77_AbCdEf_1_mx.example")).unwrap()
    }

    fn id(provider: &str, domain: Option<&str>) -> RoomId {
        RoomId {
            provider: Key::of("provider", provider),
            domain: domain.map(Into::into),
            pool: None,
        }
    }

    fn denied() -> Denied {
        Denied {
            why: Why::Rate,
            what: Arc::from("p"),
            until: None,
        }
    }

    fn filled(ids: &[(RoomId, u64)]) -> Rooms {
        let mut rooms = Rooms::default();
        for (n, (id, look_at)) in (0..).zip(ids) {
            let to = Destination::new("d.test", None, true);
            assert!(rooms.park(
                id.clone(),
                &to,
                (name(n), "d.test".into()),
                *look_at,
                denied()
            ));
        }
        rooms
    }

    #[test]
    fn rooms_of_one_provider_take_turns_and_each_serves_in_order() {
        let (a, b) = (id("p", Some("a")), id("p", Some("b")));
        let mut rooms = filled(&[(a.clone(), 10), (a.clone(), 10), (b, 10), (a, 10)]);
        assert!(rooms.due(9).is_none());
        assert_eq!(rooms.next_look(), Some(10));
        rooms.ring(Key::of("provider", "other"), 9);
        assert!(rooms.due(9).is_none());
        rooms.ring(Key::of("provider", "p"), 9);
        let mut order = Vec::new();
        for now in 9..13 {
            let due = rooms.due(now).unwrap();
            order.push(rooms.leave(due.room, now).unwrap().next_attempt);
        }
        assert_eq!(order, [0, 2, 1, 3]);
        assert_eq!((rooms.len(), rooms.next_look()), (0, None));
        assert!(rooms.by_id.is_empty() && rooms.by_provider.is_empty());
    }

    #[test]
    fn room_that_was_denied_is_left_alone_until_its_time_and_holds_up_no_other() {
        let mut rooms = filled(&[(id("p", None), 1), (id("q", None), 2)]);
        let first = rooms.due(5).unwrap().room;
        rooms.again(first, 100, Some(denied()));
        let other = rooms.due(5).unwrap().room;
        assert_ne!(first, other);
        rooms.leave(other, 5);
        assert!(rooms.due(99).is_none());
        assert_eq!(rooms.of_provider(Key::of("provider", "p")).0, 1);
        assert_eq!(rooms.of_item(&name(0)), Some((&denied(), 0)));
        assert_eq!(rooms.of_item(&name(1)), None);
        assert_eq!(rooms.into_names(), [name(0)]);
    }

    #[test]
    fn more_than_memory_is_meant_to_hold_are_not_taken() {
        let mut rooms = Rooms::default();
        let to = Destination::new("d.test", None, true);
        let who = || (name(1), Rc::from("d.test"));
        for _ in 0..MOST {
            assert!(rooms.park(id("p", None), &to, who(), 1, denied()));
        }
        assert!(!rooms.park(id("p", None), &to, who(), 1, denied()));
    }
}

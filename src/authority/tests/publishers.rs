//! Where we write the bundle ourselves: hands that are slow or kept away for long, and places in which somebody puts an older
//! one back.

use super::parties::Copy;
use super::world::World;
use crate::crypto::KeyId;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hand {
    Quick,
    /// What fails is tried again so much later.
    Slow(i64),
    Down,
}

/// One of our publishers, and what stands where it writes.
#[derive(Clone, Debug)]
pub(super) struct Publisher {
    pub(super) name: String,
    hand: Hand,
    pub(super) shows: Copy,
    /// Whether that is what we wrote.
    pub(super) is_ours: bool,
    coming: Option<(i64, Copy)>,
}

impl Publisher {
    pub(super) fn new(at: usize) -> Self {
        let (name, shows) = (format!("config map {at}"), Copy::default());
        Self { name, hand: Hand::Quick, shows, is_ours: true, coming: None }
    }
}

impl World {
    /// Looks, writes what differs, and says so.
    pub(super) fn publish(&mut self, at: usize) {
        let (newest, now, wall) = (Copy::of(&self.leaders[0].memory), self.now, self.wall());
        let publisher = &mut self.publishers[at];
        let delay = match publisher.hand {
            Hand::Quick => 0,
            Hand::Slow(delay) => delay,
            Hand::Down => return,
        };
        if publisher.shows != newest || !publisher.is_ours {
            let (due_at, copy) = publisher.coming.get_or_insert_with(|| (now + delay, newest.clone())).clone();
            if due_at > now {
                return;
            }
            let is_new = publisher.shows.sequence < copy.sequence;
            let lasted = std::mem::replace(&mut publisher.is_ours, true);
            (publisher.shows, publisher.coming) = (copy, None);
            if !lasted {
                self.put_right(at);
            }
            self.count(if is_new { "bundles written" } else { "bundles written again" });
        }
        let Publisher { name, shows, .. } = &self.publishers[at];
        for leader in &self.leaders {
            leader.publishers.wrote(name, (shows.sequence, None), wall);
        }
    }

    /// Whoever has read meanwhile what another wrote there is served again with his next look: what signs by now, he may lack;
    /// nothing else begins before that.
    fn put_right(&mut self, at: usize) {
        let name = &self.publishers[at].name;
        self.leaders.iter().for_each(|leader| leader.publishers.did_not_last(name));
        let signs = self.leaders.iter().flat_map(|leader| leader.memory.have_signed()).collect::<Vec<KeyId>>();
        for reader in self.readers.iter_mut().filter(|reader| reader.of == Some(at) && reader.is_misled) {
            reader.is_misled = false;
            reader.pardons.extend(&signs);
        }
    }

    pub(super) fn change_publisher(&mut self) {
        let at = self.chance.of(self.publishers.len());
        let (hand, what) = match self.chance.below(6) {
            0..=2 => (Hand::Quick, "publishers that work"),
            3 => (Hand::Slow(self.chance.between(60, 4000)), "slow publishers"),
            4 => (Hand::Down, "publishers down"),
            _ if self.used_at.is_empty() => return,
            _ => return self.put_back(at),
        };
        self.note(format!("{} is {hand:?}", self.publishers[at].name));
        self.count(what);
        self.publishers[at].hand = hand;
    }

    /// Somebody puts an older bundle where we wrote ours, and some read it before we look again.
    fn put_back(&mut self, at: usize) {
        let former: Vec<Copy> = self.used_at.iter().map(|(sequence, keys)| Copy::at(*sequence, keys)).collect();
        let older = former[self.chance.of(former.len())].clone();
        self.note(format!("in {} stands {} again", self.publishers[at].name, older.sequence));
        self.count("bundles put back");
        (self.publishers[at].shows, self.publishers[at].is_ours) = (older, false);
        for reader in 0..self.readers.len() {
            if self.readers[reader].of == Some(at) && self.chance.one_in(2) {
                self.read(reader);
            }
        }
        self.publish(at);
    }
}

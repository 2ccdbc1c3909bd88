//! The replicas' clocks, held against each other. What one says arrives later than it was said, never earlier: so whoever
//! reads a time that lies ahead of its own clock knows surely that the other is ahead, by so much at least. Each tells the
//! others by how much it finds them ahead; then both sides of each pair are known, whatever the way takes.
//!
//! A replica that is apart from most of the others is wrong; of two that are apart, nobody can say which is.

use crate::clock::Clock;
use crate::store::StoreError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::{Notify, watch};

/// What each says of its clock: how the names of these begin. They hang on a lease.
pub(super) const CLOCKS: &str = "~clock/";
/// Two clocks may be apart by so much. It is well below what used tokens are remembered for beyond their end.
pub(crate) const APART_MAX: Duration = Duration::from_secs(10);

/// What a replica says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Reading {
    /// Which process of it.
    process: String,
    /// Its clock, in Unix milliseconds.
    at: i64,
    /// By how much it finds others ahead of it, in milliseconds; which processes of theirs.
    #[serde(default)]
    ahead: BTreeMap<String, (String, i64)>,
}

/// How this replica's clock stands against the others'.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClockStand {
    /// Others that live.
    pub others: usize,
    /// Those of them of which it is not known yet.
    pub unknown: Vec<String>,
    /// Those of them that are apart from us, and by how many milliseconds they are ahead at least.
    pub apart: BTreeMap<String, i64>,
}

impl ClockStand {
    /// Whether it is ours that is wrong, or may be.
    pub fn is_apart(&self) -> bool {
        self.apart.len() * 2 > self.others
    }

    /// Who is apart, in words.
    pub fn apart_in_words(&self) -> String {
        let one = |(replica, ahead): (&String, &i64)| match *ahead {
            ahead if ahead > 0 => format!("{replica} is {} s ahead", ahead / 1000),
            behind => format!("{replica} is {} s behind", behind.abs() / 1000),
        };
        self.apart.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// See the file's opening words.
#[derive(Debug)]
pub(super) struct Clocks {
    clock: Arc<dyn Clock>,
    us: String,
    process: String,
    others: Mutex<BTreeMap<String, Other>>,
    stand: watch::Sender<ClockStand>,
    /// Somebody has come whom we have not told of us.
    pub(super) news: Notify,
}

#[derive(Debug)]
struct Other {
    reading: Reading,
    /// How far its clock is ahead of ours, as it was heard; none of what was only found.
    ahead: Option<i64>,
}

impl Clocks {
    pub(super) fn new(clock: Arc<dyn Clock>, us: &str, process: &str) -> Self {
        let (us, process, stand) = (us.to_owned(), process.to_owned(), watch::Sender::default());
        Self { clock, us, process, others: Mutex::default(), stand, news: Notify::new() }
    }

    pub(super) fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }

    /// What we say.
    pub(super) fn reading(&self) -> Reading {
        let ahead =
            |(name, other): (&String, &Other)| Some((name.clone(), (other.reading.process.clone(), other.ahead?)));
        let ahead = self.others().iter().filter_map(ahead).collect();
        Reading { process: self.process.clone(), at: self.milliseconds(), ahead }
    }

    /// Somebody lives whose clock stands there, from whenever.
    pub(super) fn find(&self, replica: &str, reading: Reading) {
        if replica != self.us {
            self.others().entry(replica.to_owned()).or_insert(Other { reading, ahead: None });
            self.look();
        }
    }

    /// Somebody has just said what its clock shows.
    pub(super) fn hear(&self, replica: &str, reading: Reading) {
        if replica == self.us {
            return;
        }
        let ahead = Some(reading.at.saturating_sub(self.milliseconds()));
        let knows_us = reading.ahead.get(&self.us).is_some_and(|(process, _)| *process == self.process);
        let is_known = reading.process.clone();
        let former = self.others().insert(replica.to_owned(), Other { reading, ahead });
        let is_known = former.is_some_and(|former| former.ahead.is_some() && former.reading.process == is_known);
        if !knows_us || !is_known {
            self.news.notify_one();
        }
        self.look();
    }

    /// It lives no more.
    pub(super) fn forget(&self, replica: &str) {
        self.others().remove(replica);
        self.look();
    }

    /// How we stand.
    pub(super) fn stand(&self) -> watch::Receiver<ClockStand> {
        self.stand.subscribe()
    }

    /// Whether our clock was held against all others that live, and is not the one that is apart.
    pub(super) fn is_fit(&self) -> bool {
        let stand = self.stand.borrow();
        stand.unknown.is_empty() && !stand.is_apart()
    }

    /// Resolves once our clock was held against all others that live; fails where it is the one that is apart.
    pub(super) async fn fit(&self, within: Duration) -> Result<(), StoreError> {
        let mut stand = self.stand.subscribe();
        let known = tokio::time::timeout(within, stand.wait_for(|stand| stand.unknown.is_empty())).await;
        drop(known);
        let stand = self.stand.borrow().clone();
        if stand.is_apart() {
            let max = APART_MAX.as_secs();
            let why =
                format!("this replica's clock is more than {max} s apart from others': {}", stand.apart_in_words());
            return Err(StoreError::ClocksApart { why });
        }
        if !stand.unknown.is_empty() {
            let why = format!("this replica's clock was not held against that of {} yet", stand.unknown.join(", "));
            return Err(StoreError::ClocksApart { why });
        }
        Ok(())
    }

    fn look(&self) {
        let mut stand = ClockStand::default();
        for (name, Other { reading, ahead }) in self.others().iter() {
            stand.others += 1;
            // What it finds us ahead by, it is behind.
            let behind = reading.ahead.get(&self.us).filter(|(process, _)| *process == self.process);
            let limit = i64::try_from(APART_MAX.as_millis()).unwrap_or(i64::MAX);
            match (*ahead, behind.map(|(_, behind)| *behind)) {
                (Some(ahead), _) if ahead > limit => drop(stand.apart.insert(name.clone(), ahead)),
                (_, Some(behind)) if behind > limit => drop(stand.apart.insert(name.clone(), -behind)),
                (Some(_), Some(_)) => {}
                (None, _) | (_, None) => stand.unknown.push(name.clone()),
            }
        }
        self.stand.send_if_modified(|was| {
            let is_news = *was != stand;
            if is_news && stand.is_apart() && !was.is_apart() {
                tracing::error!("this replica's clock is apart from others': {}", stand.apart_in_words());
            }
            *was = stand;
            is_news
        });
    }

    fn milliseconds(&self) -> i64 {
        i64::try_from(self.clock.now().unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
    }

    /// A holder that panicked left whole readings behind.
    fn others(&self) -> MutexGuard<'_, BTreeMap<String, Other>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-03-01 12:00 UTC);

    fn at(offset: i64, name: &str) -> Clocks {
        Clocks::new(Arc::new(ManualClock::at(NOW + time::Duration::seconds(offset))), name, "p")
    }

    fn tell_all(all: &[Clocks], one: &Clocks) {
        for other in all {
            other.hear(&one.us, one.reading());
        }
    }

    /// Each hears what each other says, twice, so that all know what they were told of themselves.
    fn stands(offsets: &[i64]) -> Vec<ClockStand> {
        let all: Vec<_> = offsets.iter().enumerate().map(|(n, offset)| at(*offset, &format!("ca-{n}"))).collect();
        for _round in 0..2 {
            for one in &all {
                tell_all(&all, one);
            }
        }
        all.iter().map(|one| one.stand().borrow().clone()).collect()
    }

    fn apart(offsets: &[i64]) -> Vec<bool> {
        stands(offsets).iter().map(ClockStand::is_apart).collect()
    }

    #[test]
    fn who_is_apart_from_most_others_is_wrong_in_either_direction() {
        assert_eq!(apart(&[0]), [false]);
        assert_eq!(apart(&[0, 10, 5]), [false; 3]);
        assert_eq!(apart(&[0, 300, 0]), [false, true, false]);
        assert_eq!(apart(&[0, -300, 0]), [false, true, false]);
        assert_eq!(apart(&[0, 11]), [true, true], "nobody can say which");
        assert_eq!(apart(&[0, 0, 300, 300]), [true; 4]);
        assert!(stands(&[0, 300, 0])[1].apart_in_words().contains("ca-0 is 300 s behind"));
    }

    #[test]
    fn a_long_way_makes_no_clock_wrong() {
        let clock = Arc::new(ManualClock::at(NOW));
        let of = |name| Clocks::new(Arc::<ManualClock>::clone(&clock), name, "p");
        let (here, there) = (of("a"), of("b"));
        for _round in 0..2 {
            let (ours, theirs) = (here.reading(), there.reading());
            clock.advance(Duration::from_secs(60));
            there.hear("a", ours);
            here.hear("b", theirs);
        }
        assert_eq!(*here.stand().borrow(), ClockStand { others: 1, ..ClockStand::default() });
    }

    #[test]
    fn a_process_that_has_just_come_waits_until_it_is_known() {
        let (here, there) = (at(0, "a"), at(0, "b"));
        here.find("b", there.reading());
        assert_eq!(here.stand().borrow().unknown, ["b"]);
        here.hear("b", there.reading());
        assert_eq!(here.stand().borrow().unknown, ["b"], "it does not say how it finds us");
        there.hear("a", here.reading());
        here.hear("b", there.reading());
        assert!(here.stand().borrow().unknown.is_empty());
        here.forget("b");
        assert_eq!(here.stand().borrow().others, 0);
    }
}

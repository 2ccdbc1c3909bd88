//! Commits that wait at the same time are decided together, by one transaction: it has one tick, one intent, one sync and one
//! word to each watch, however many they are. Where it is not done, each is decided alone.
//!
//! Invariants: none of those that go together writes what another writes or depends on, so that their order means nothing. Each
//! depends on something that it writes: so whichever was decided alone keeps an attempt of the joint one that lies somewhere
//! from being done after it. Nobody waits long behind a transaction that gets no answer.

use super::Etcd;
use super::decide::{DECIDED_WITHIN, Decided, Wish};
use super::error::Fault;
use super::mark::Open;
use crate::store::{Condition, Write};
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

/// Conditions, and writes, of one transaction; etcd takes 128 of each, with ticks, the intent and what is told.
const AT_ONCE: usize = 96;
/// Bytes of one transaction, entries and values; etcd takes 1.5 MiB.
const BYTES_AT_ONCE: usize = 512 << 10;
/// A transaction that takes longer is waited for by its own callers only: many times what etcd needs near by.
const WAITED_FOR: Duration = Duration::from_millis(20);
/// Where so many went together last, the next transaction waits for more as long as more come: so long at a time, and so often.
/// Sixteen callers are done sooner by it, and four are not.
const HELD_FROM: usize = 5;
const HELD: (Duration, usize) = (Duration::from_millis(1), 4);

/// What became of a commit.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) decided: Decided,
    pub(super) wish: Wish,
    /// The transaction, and which part of it the commit is.
    pub(super) open: Arc<Open>,
    pub(super) part: usize,
}

/// A commit that waits.
#[derive(Debug)]
struct Asked {
    wish: Wish,
    within: Duration,
    answer: oneshot::Sender<Result<Joined, Fault>>,
}

/// See the file's opening words.
#[derive(Debug, Default)]
pub(super) struct Joint(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    waiting: VecDeque<Asked>,
    /// Since when the last transaction is under way.
    under_way: Option<Instant>,
    /// How many commits it had.
    company: usize,
}

impl Joint {
    /// Whether it is somebody's turn now; then it is the caller's.
    fn is_free(&self) -> bool {
        let mut inside = self.inside();
        let is_free = inside.under_way.is_none_or(|since| since.elapsed() >= WAITED_FOR) && !inside.waiting.is_empty();
        if is_free {
            inside.under_way = Some(Instant::now());
        }
        is_free
    }

    fn wait(&self, asked: Asked) {
        self.inside().waiting.push_back(asked);
    }

    /// How many wait, and whether it is worth waiting for more.
    fn company(&self) -> (usize, bool) {
        let inside = self.inside();
        (inside.waiting.len(), inside.company >= HELD_FROM)
    }

    /// Those that go together, the first first. Whoever takes none has nothing under way any more.
    fn take(&self) -> (Instant, Vec<Asked>) {
        let mut load = Load::default();
        let (mut taken, mut left) = (Vec::new(), VecDeque::new());
        let mut inside = self.inside();
        for asked in inside.waiting.drain(..) {
            if load.takes(&asked.wish) {
                taken.push(asked);
            } else {
                left.push_back(asked);
            }
        }
        let now = Instant::now();
        (inside.waiting, inside.company) = (left, taken.len());
        inside.under_way = (!taken.is_empty()).then_some(now);
        drop(inside);
        (now, taken)
    }

    /// Whether whoever began then is the last who did, and goes on with those that wait.
    fn goes_on(&self, began: Instant) -> bool {
        let inside = self.inside();
        inside.under_way == Some(began)
    }

    /// A holder that panicked left a whole queue behind.
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one transaction takes.
#[derive(Debug, Default)]
struct Load {
    count: usize,
    bytes: usize,
    written: HashSet<String>,
    touched: HashSet<String>,
}

impl Load {
    /// Takes one more, where it may go along.
    fn takes(&mut self, wish: &Wish) -> bool {
        let Wish { conditions, writes, .. } = wish;
        let (count, bytes) = (conditions.len().max(writes.len()), bytes_of(wish));
        let is_first = self.touched.is_empty();
        let has_room = self.count + count <= AT_ONCE && self.bytes + bytes <= BYTES_AT_ONCE;
        let is_apart = conditions.iter().all(|condition| !self.written.contains(condition.key()))
            && writes.iter().all(|write| !self.touched.contains(write.key()));
        let goes = is_first || (has_room && is_apart);
        if goes {
            (self.count, self.bytes) = (self.count + count, self.bytes + bytes);
            let written = || writes.iter().map(|write| write.key().to_owned());
            self.written.extend(written());
            self.touched.extend(written().chain(conditions.iter().map(|condition| condition.key().to_owned())));
        }
        goes
    }
}

fn bytes_of(wish: &Wish) -> usize {
    let values = wish.writes.iter().map(|write| match write {
        Write::Put(_, value) => value.get().len(),
        Write::Delete(_) => 0,
    });
    values.sum::<usize>() + wish.entry.as_ref().map_or(0, |entry| entry.get().len())
}

/// Whether it is of the kind that goes along: what it writes decides that it is not done again.
fn is_companionable(wish: &Wish) -> bool {
    let writes = |key: &str| wish.writes.iter().any(|write| write.key() == key);
    wish.conditions.iter().any(|condition| match condition {
        Condition::Absent(key) => wish.writes.iter().any(|write| matches!(write, Write::Put(put, _) if put == key)),
        Condition::Unchanged(key, _) => writes(key),
        Condition::Present(_) => false,
    })
}

impl Etcd {
    /// Decides a commit, together with others that wait where that may be.
    pub(super) async fn join(self: &Arc<Self>, wish: Wish, within: Duration) -> Result<Joined, Fault> {
        if !is_companionable(&wish) {
            return self.alone(wish, within).await;
        }
        let (answer, mut answered) = oneshot::channel();
        self.joint.wait(Asked { wish, within, answer });
        loop {
            if self.joint.is_free() {
                // Each caller waits for its own answer.
                drop(self.carry_out(Arc::clone(self).decide_those_that_wait()));
            }
            tokio::select! {
                joined = &mut answered => {
                    return joined.unwrap_or_else(|_ended| Err(Fault::Away("the server is stopping".to_owned())));
                }
                () = sleep(WAITED_FOR) => {}
            }
        }
    }

    async fn alone(&self, wish: Wish, within: Duration) -> Result<Joined, Fault> {
        let open = Arc::new(self.copy.marks.open(1));
        let decided = self.decide_as(&open, std::slice::from_ref(&wish), within).await?;
        Ok(Joined { decided, wish, open, part: 0 })
    }

    async fn decide_alone(self: Arc<Self>, Asked { wish, within, answer }: Asked) {
        // Whoever asked may have gone.
        drop(answer.send(self.alone(wish, within).await));
    }

    /// One transaction after the other, as long as commits wait.
    async fn decide_those_that_wait(self: Arc<Self>) {
        loop {
            self.hold().await;
            let (began, some) = self.joint.take();
            if some.is_empty() {
                return;
            }
            self.decide_together(some).await;
            if !self.joint.goes_on(began) {
                return;
            }
        }
    }

    async fn hold(&self) {
        let (step, most) = HELD;
        for _ in 0..most {
            let (before, is_worth_it) = self.joint.company();
            if !is_worth_it || before == 0 {
                return;
            }
            sleep(step).await;
            if self.joint.company().0 == before {
                return;
            }
        }
    }

    async fn decide_together(self: &Arc<Self>, some: Vec<Asked>) {
        let (mut wishes, mut answers) = (Vec::with_capacity(some.len()), Vec::with_capacity(some.len()));
        let within = some.iter().map(|asked| asked.within).min().unwrap_or(DECIDED_WITHIN);
        for Asked { wish, within, answer } in some {
            wishes.push(wish);
            answers.push((within, answer));
        }
        let open = Arc::new(self.copy.marks.open(wishes.len()));
        let decided = self.decide_as(&open, &wishes, within).await;
        let is_alone = wishes.len() == 1;
        for (part, (wish, (within, answer))) in wishes.into_iter().zip(answers).enumerate() {
            let open = Arc::clone(&open);
            let joined = match &decided {
                Err(Fault::Refused(_)) | Ok(Decided::Conflict { .. }) if !is_alone => {
                    drop(self.carry_out(Arc::clone(self).decide_alone(Asked { wish, within, answer })));
                    continue;
                }
                Ok(decided) => Ok(Joined { decided: decided.clone(), wish, open, part }),
                Err(fault) => Err(fault.clone()),
            };
            // Whoever asked may have gone.
            drop(answer.send(joined));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::RawValue;

    fn wish(conditions: &[Condition], writes: &[&str]) -> Wish {
        let put = |key: &&str| Write::Put((*key).to_owned(), RawValue::NULL.to_owned());
        Wish::of(conditions.to_vec(), writes.iter().map(put).collect())
    }

    fn absent(key: &str) -> Condition {
        Condition::Absent(key.to_owned())
    }

    #[test]
    fn none_goes_along_that_touches_what_another_writes() {
        let mut load = Load::default();
        assert!(load.takes(&wish(&[absent("job"), absent("a")], &["a"])));
        assert!(load.takes(&wish(&[absent("job"), absent("b")], &["b"])), "both only look at the job");
        assert!(!load.takes(&wish(&[absent("a")], &["c"])), "it depends on what the first writes");
        assert!(!load.takes(&wish(&[absent("c")], &["b", "c"])), "it writes what the second writes");
        assert!(!load.takes(&wish(&[absent("c")], &["c", "job"])), "it writes what both depend on");
        assert!(load.takes(&wish(&[absent("c")], &["c"])));
    }

    #[test]
    fn no_more_go_together_than_etcd_takes_and_one_that_is_large_goes_alone() {
        let mut load = Load::default();
        let keys: Vec<_> = (0..200).map(|n| n.to_string()).collect();
        let going = keys.iter().filter(|key| load.takes(&wish(&[absent("job"), absent(key)], &[key])));
        assert_eq!(going.count(), AT_ONCE / 2);
        let large = Wish {
            entry: RawValue::from_string(format!("\"{}\"", "x".repeat(BYTES_AT_ONCE))).ok(),
            ..wish(&[absent("large")], &["large"])
        };
        assert!(Load::default().takes(&large));
        let mut load = Load::default();
        assert!(load.takes(&wish(&[absent("a")], &["a"])) && !load.takes(&large));
    }

    #[test]
    fn only_what_is_not_done_again_once_it_is_done_goes_along() {
        assert!(is_companionable(&wish(&[Condition::Present("b".to_owned()), absent("a")], &["a"])));
        assert!(is_companionable(&wish(&[Condition::Unchanged("a".to_owned(), 7)], &["a"])));
        for conditions in [vec![], vec![absent("b")], vec![Condition::Present("a".to_owned())]] {
            assert!(!is_companionable(&wish(&conditions, &["a"])), "{conditions:?}");
        }
        let gone = Wish::of(vec![absent("a")], vec![Write::Delete("a".to_owned())]);
        assert!(!is_companionable(&gone), "it stays absent");
    }

    #[test]
    fn nobody_waits_behind_a_transaction_that_gets_no_answer() {
        let joint = Joint::default();
        let wait = |key: &str| {
            let (answer, _) = oneshot::channel();
            joint.wait(Asked { wish: wish(&[absent(key)], &[key]), within: DECIDED_WITHIN, answer });
        };
        assert!(!joint.is_free(), "nobody waits");
        wait("a");
        assert!(joint.is_free());
        let (began, some) = joint.take();
        assert_eq!(some.len(), 1);
        wait("b");
        assert!(!joint.is_free(), "the first has just begun");
        joint.inside().under_way = began.checked_sub(WAITED_FOR);
        assert!(joint.is_free());
        let (later, some) = joint.take();
        assert_eq!(some.len(), 1);
        assert!(!joint.goes_on(began) && joint.goes_on(later), "the last goes on");
        assert!(joint.take().1.is_empty());
        wait("c");
        assert!(joint.is_free());
    }
}

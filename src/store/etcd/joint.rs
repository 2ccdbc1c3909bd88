//! Commits that wait at the same time are decided together, by one transaction: it has one tick, one intent, one sync and one
//! word to each watch, however many they are. Where it is not done, each is decided alone.
//!
//! Whoever commits while a transaction is under way wakes nobody: whoever decides that one takes along what waits then, and the
//! journal is told of all, and all callers are answered, by one task.
//!
//! Invariants: none of those that go together writes what another writes or depends on, so that their order means nothing. Each
//! depends on something that it writes: so whichever was decided alone keeps an attempt of the joint one that lies somewhere
//! from being done after it. Nobody waits long behind a transaction that gets no answer.

use super::decide::{DECIDED_WITHIN, Decided, Wish};
use super::error::Fault;
use super::evidence::Evidence;
use super::mark::Open;
use super::replica::{Inside, SHOWN_WITHIN, Under};
use crate::store::queue::{Answers, Outcome, Reply};
use crate::store::{Committed, Condition, Room, StoreError, Write};
use std::collections::{HashSet, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

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

/// A commit that waits.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) wish: Wish,
    pub(super) within: Duration,
    pub(super) caller: Caller,
}

/// Who is told what became of it.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) room: Room,
    pub(super) reply: Reply,
    /// Nobody may cut it off.
    pub(super) under: Option<Under>,
}

/// See the file's opening words.
#[derive(Debug, Default)]
pub(super) struct Joint(Mutex<Queued>);

#[derive(Debug, Default)]
struct Queued {
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

    pub(super) fn wait(&self, asked: Asked) {
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

    /// All that wait, where nobody decides any more.
    fn forsake(&self) -> VecDeque<Asked> {
        let mut inside = self.inside();
        inside.under_way = None;
        std::mem::take(&mut inside.waiting)
    }

    /// A holder that panicked left a whole queue behind.
    fn inside(&self) -> MutexGuard<'_, Queued> {
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
pub(super) fn is_companionable(wish: &Wish) -> bool {
    let writes = |key: &str| wish.writes.iter().any(|write| write.key() == key);
    wish.conditions.iter().any(|condition| match condition {
        Condition::Absent(key) => wish.writes.iter().any(|write| matches!(write, Write::Put(put, _) if put == key)),
        Condition::Unchanged(key, _) => writes(key),
        Condition::Present(_) => false,
    })
}

/// Has others go on beside what takes long; they do not know when it ends.
async fn not_waited_for<T>(deciding: impl Future<Output = T>, others_go_on: impl FnOnce()) -> T {
    let mut deciding = pin!(deciding);
    if let Ok(decided) = timeout(WAITED_FOR, &mut deciding).await {
        return decided;
    }
    others_go_on();
    deciding.await
}

/// The right to decide what waits. Where it ends before its time, with its thread, those that wait hear so.
struct Turn {
    of: Arc<Inside>,
    is_over: bool,
}

impl Inside {
    /// Decides a commit, together with others that wait where that may be; its caller is told.
    pub(super) fn join(self: &Arc<Self>, asked: Asked) {
        if !is_companionable(&asked.wish) || !self.etcd.clocks.is_fit() {
            self.join_later(asked);
            return;
        }
        self.joint.wait(asked);
        self.see_to_those_that_wait();
    }

    fn join_later(self: &Arc<Self>, asked: Asked) {
        // The caller is told.
        drop(self.etcd.carry_out(Arc::clone(self).join_when_ready(asked)));
    }

    async fn join_when_ready(self: Arc<Self>, asked: Asked) {
        match self.ready(asked.caller.room).await {
            Ok(()) if is_companionable(&asked.wish) => {
                self.joint.wait(asked);
                self.see_to_those_that_wait();
            }
            Ok(()) => self.decide_alone(asked).await,
            Err(not_ready) => asked.caller.answer(Err(not_ready)),
        }
    }

    /// Those that may be decided now; the others come again. Whoever decides asks last of all: a process stops at any point.
    fn send_back_what_must_hear_first(self: &Arc<Self>, some: Vec<Asked>) -> Vec<Asked> {
        if !self.etcd.tide.may_have_missed() {
            return some;
        }
        let (hear_first, now): (Vec<_>, _) = some.into_iter().partition(|asked| asked.caller.room == Room::Common);
        for asked in hear_first {
            self.join_later(asked);
        }
        now
    }

    /// Begins a transaction, unless somebody is at it who takes them along.
    fn see_to_those_that_wait(self: &Arc<Self>) {
        if self.joint.is_free() {
            // Each caller is told.
            let turn = Turn { of: Arc::clone(self), is_over: false };
            drop(self.etcd.carry_out(turn.decide_those_that_wait()));
        }
    }

    async fn decide_alone(self: Arc<Self>, Asked { wish, within, caller }: Asked) {
        let (open, wishes) = (self.etcd.copy.marks.open(1), vec![wish]);
        let decided = self.etcd.decide_as(&open, &wishes, within).await;
        self.conclude(&open, (wishes, vec![caller]), decided).await;
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
        let within = some.iter().map(|asked| asked.within).min().unwrap_or(DECIDED_WITHIN);
        let split = |Asked { wish, within, caller }| (wish, (within, caller));
        let (wishes, callers): (Vec<_>, Vec<_>) = some.into_iter().map(split).unzip();
        let open = self.etcd.copy.marks.open(wishes.len());
        let decided = self.etcd.decide_as(&open, &wishes, within);
        let decided = not_waited_for(decided, || self.see_to_those_that_wait()).await;
        let falls_apart = matches!(decided, Err(Fault::Refused(_)) | Ok(Decided::Conflict { .. })) && wishes.len() > 1;
        // Each caller is told; the next transaction does not wait for that.
        if falls_apart {
            for (wish, (within, caller)) in wishes.into_iter().zip(callers) {
                let asked = Asked { wish, within, caller };
                drop(self.etcd.carry_out(Arc::clone(self).decide_alone(asked)));
            }
        } else {
            let (of, callers) = (Arc::clone(self), callers.into_iter().map(|(_, caller)| caller).collect());
            drop(self.etcd.carry_out(async move { of.conclude(&open, (wishes, callers), decided).await }));
        }
    }

    /// Tells the callers what became of a transaction.
    async fn conclude(
        &self,
        open: &Open,
        (wishes, callers): (Vec<Wish>, Vec<Caller>),
        decided: Result<Decided, Fault>,
    ) {
        match decided {
            Ok(Decided::Done { revision, in_doubt }) => {
                let all = wishes.into_iter().zip(callers).collect();
                self.tell_all(open, all, (revision, in_doubt)).await;
            }
            Ok(Decided::Conflict { key, found }) => callers.into_iter().for_each(|caller| {
                caller.answer(Ok(Committed::Conflict { key: key.clone(), found: found.clone() }));
            }),
            Err(fault) => callers.into_iter().for_each(|caller| caller.answer(Err(fault.clone().into()))),
        }
    }

    /// It is done: the journal tells of each, the copy comes as far, and each caller is told.
    async fn tell_all(&self, open: &Open, all: Vec<(Wish, Caller)>, (revision, in_doubt): (u64, bool)) {
        let base = Evidence::at(&self.etcd, (revision, 0));
        let mut telling = Vec::with_capacity(all.len());
        for (part, (Wish { writes, entry, .. }, caller)) in all.into_iter().enumerate() {
            let keys: Vec<_> = writes.iter().map(|write| write.key().to_owned()).collect();
            let told = self.not_gone_back().and_then(|()| {
                let evidence = Evidence { part, ..base.clone() }.of(writes).write()?;
                Ok(self.tell(caller.room, entry.ok_or(StoreError::Stopped)?, Some(evidence)))
            });
            telling.push((keys, caller, told));
        }
        let (mut answers, mut under, mut told_of) = (Answers::default(), Vec::new(), 0_usize);
        for (keys, caller, told) in telling {
            let told: Outcome = match told {
                Ok(told) => told.await,
                Err(untold) => Err(untold),
            };
            match &told {
                Ok(_) => told_of += 1,
                // It is done, and whoever asked for it must believe that it is not.
                Err(_) => self.etcd.copy.let_hear(open.n, keys),
            }
            answers.push(caller.reply, told, None);
            under.extend(caller.under);
        }
        if told_of > 0 {
            let shown = timeout(SHOWN_WITHIN, self.etcd.copy.reaches(revision)).await.is_ok();
            if !shown {
                // Meanwhile something older may be heard of these keys.
                self.etcd.copy.let_hear(open.n, []);
            }
            (0..told_of).for_each(|_| open.is_told(revision, in_doubt || !shown));
        }
        answers.hand_out();
        drop(under);
    }
}

impl Turn {
    /// One transaction after the other, as long as commits wait.
    async fn decide_those_that_wait(mut self) {
        loop {
            self.of.hold().await;
            let (began, some) = self.of.joint.take();
            let is_last = some.is_empty();
            let some = self.of.send_back_what_must_hear_first(some);
            if !some.is_empty() {
                self.of.decide_together(some).await;
            }
            if is_last || !self.of.joint.goes_on(began) {
                self.is_over = true;
                return;
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_over {
            drop(self.of.joint.forsake());
        }
    }
}

impl Caller {
    fn answer(self, outcome: Outcome) {
        let mut answers = Answers::default();
        answers.push(self.reply, outcome, None);
        answers.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::RawValue;
    use tokio::sync::oneshot;

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

    #[tokio::test]
    async fn those_that_wait_already_go_on_beside_a_transaction_that_gets_no_answer() {
        let (answer, answered) = oneshot::channel();
        // It is answered only because others went on.
        let slow = not_waited_for(answered, || assert!(answer.send(7).is_ok()));
        assert_eq!(timeout(DECIDED_WITHIN, slow).await.ok(), Some(Ok(7)));
        let others = || panic!("they wait for the next");
        assert_eq!(not_waited_for(std::future::ready(7), others).await, 7);
    }

    #[tokio::test]
    async fn whoever_waits_hears_when_nobody_decides_any_more() {
        let (joint, (reply, answered)) = (Joint::default(), Reply::new());
        let caller = Caller { room: Room::Common, reply, under: None };
        joint.wait(Asked { wish: wish(&[absent("a")], &["a"]), within: DECIDED_WITHIN, caller });
        assert!(joint.is_free());
        drop(joint.forsake());
        assert!(matches!(answered.await, Err(StoreError::Stopped)));
    }

    #[test]
    fn nobody_waits_behind_a_transaction_that_gets_no_answer() {
        let joint = Joint::default();
        let wait = |key: &str| {
            let caller = Caller { room: Room::Common, reply: Reply::new().0, under: None };
            joint.wait(Asked { wish: wish(&[absent(key)], &[key]), within: DECIDED_WITHIN, caller });
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

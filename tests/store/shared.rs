//! Replicas on a real etcd that loses what they wrote, or whose answers are lost.
#![expect(clippy::disallowed_methods, reason = "a real etcd needs real time")]

use super::*;
use crate::etcd::Etcd;
use crate::mute::Way;
use lanyard::clock::{Clock, SystemClock};
use lanyard::store::{Etcd as Connected, EtcdError, Hearing, JournalReader, Reconciled, Replica, reconciled};
use lanyard::wire::etcd_channel;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Longer than anything here should take on a machine with much else to do.
const LIMIT: Duration = Duration::from_secs(30);

/// A replica's folder and clock.
pub(super) struct Member {
    pub(super) place: Place,
    name: &'static str,
}

/// One that runs.
pub(super) struct Running {
    pub(super) replica: Arc<Replica>,
}

impl Member {
    pub(super) fn named(name: &'static str) -> Self {
        Self { place: Place::new(IndexKind::Memory), name }
    }

    pub(super) fn connect(&self, port: u16) -> Result<Arc<Connected>, EtcdError> {
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&self.place.clock);
        let channels = Box::new(move || vec![etcd_channel(("127.0.0.1", port), None).unwrap()]);
        Connected::connect(Etcd::settings("test/", self.name), &another_process(), (channels, clock))
    }

    /// As the command does it; who has yet to.
    pub(super) async fn reconcile(&self, port: u16) -> BTreeSet<String> {
        let etcd = self.connect(port).unwrap();
        let done = self.dies_reconciling(&etcd, (&[], None)).await;
        let journal = self.place.open();
        reconciled(&journal, &etcd, &done).await.unwrap();
        journal.close();
        etcd.close();
        done.waiting
    }

    /// The same, until the journal is to tell of it.
    pub(super) async fn dies_reconciling(&self, etcd: &Arc<Connected>, lost: (&[String], Option<Write>)) -> Reconciled {
        etcd.reconcile(self.place.dir(), lost).await.unwrap()
    }

    pub(super) fn try_start(&self, port: u16) -> Result<Running, EtcdError> {
        self.try_start_with(port, &self.place.open())
    }

    fn try_start_with(&self, port: u16, journal: &Arc<LocalStore>) -> Result<Running, EtcdError> {
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&self.place.clock);
        let etcd = self.connect(port)?;
        Ok(Running { replica: Replica::open(etcd, Arc::clone(journal), clock)? })
    }

    /// With a journal that the test may close under its hands.
    pub(super) fn start_with(&self, port: u16, journal: &Arc<LocalStore>) -> Running {
        self.try_start_with(port, journal).unwrap()
    }

    pub(super) fn start(&self, port: u16) -> Running {
        self.try_start(port).unwrap()
    }

    /// What the journal tells, oldest first.
    fn told(&self) -> Vec<String> {
        let all = JournalReader::open(self.place.dir()).unwrap();
        all.map(|record| record.unwrap().entry.get().to_owned()).collect()
    }
}

impl Running {
    pub(super) async fn write(&self, key: &str, value: &str) -> Result<Committed, StoreError> {
        self.replica.commit(commit(vec![], vec![put(key, value)])).await
    }

    pub(super) fn stop(self) {
        self.replica.close();
    }
}

/// No process ever has the name of one before it.
pub(super) fn another_process() -> String {
    static PROCESSES: AtomicUsize = AtomicUsize::new(0);
    PROCESSES.fetch_add(1, Ordering::Relaxed).to_string()
}

/// Until it is so.
pub(super) async fn until(mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < LIMIT, "not within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn next(hearing: &mut Hearing) -> (String, Option<String>) {
    let heard = tokio::time::timeout(LIMIT, hearing.next()).await.unwrap();
    (heard.key, heard.now.map(|now| now.value.get().to_owned()))
}

/// Until etcd knows that there are two replicas.
async fn both_are_known(etcd: &Etcd) {
    all_are_known(etcd, 2).await;
}

/// The same of more.
pub(super) async fn all_are_known(etcd: &Etcd, count: usize) {
    until(|| etcd.ctl(&["get", "--prefix", "test/~known/", "--keys-only"]).matches("~known").count() == count).await;
}

/// More revisions than there were, by somebody else.
pub(super) fn overtake(etcd: &Etcd) {
    for n in 0..60 {
        etcd.ctl(&["put", &format!("other/{n}"), "x"]);
    }
}

#[tokio::test]
async fn an_etcd_that_lost_a_write_of_anybody_decides_nothing_however_far_it_has_come_since() {
    let (mut etcd, a, b) = (Etcd::start(), Member::named("a"), Member::named("b"));
    let (at_a, at_b) = (a.start(etcd.port), b.start(etcd.port));
    done(at_a.write("idle", "1").await);
    done(at_b.write("before", "1").await);
    both_are_known(&etcd).await;
    etcd.save_snapshot();
    // Only one of them writes what is lost: the other must notice it too.
    done(at_b.write("token", r#""key of b""#).await);
    until(|| at_a.replica.read("token").unwrap().is_some()).await;
    etcd.restore_snapshot();
    overtake(&etcd);
    let began = Instant::now();
    loop {
        let conditions = vec![absent("token")];
        let answer = at_a.replica.commit(commit(conditions, vec![put("token", r#""key of a""#)])).await;
        match answer {
            Err(StoreError::WentBack { why }) => {
                assert!(why.contains("store reconcile"), "{why}");
                break;
            }
            Err(StoreError::Unreachable { .. }) if began.elapsed() < LIMIT => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(at_b.write("more", "1").await, Err(StoreError::WentBack { .. } | StoreError::Unreachable { .. })));
    assert_eq!(etcd.ctl(&["get", "test/token"]), "", "nothing was decided");
    let renewal = Commit { without_quorum: Some(LIMIT), ..commit(vec![Condition::Present("idle".into())], vec![]) };
    assert!(matches!(at_a.replica.commit(renewal).await, Err(StoreError::WentBack { .. })));
    until(|| !etcd.ctl(&["get", "test/~reconcile"]).is_empty()).await;
    at_a.stop();
    at_b.stop();
    assert!(matches!(b.try_start(etcd.port), Err(EtcdError::WentBack(_))));
    // Its own journal knows nothing of what is lost.
    let at_a = a.start(etcd.port);
    let Err(StoreError::WentBack { why }) = at_a.write("token", "1").await else { panic!("it wrote") };
    assert!(why.contains("`lanyard store reconcile` on a, b"), "{why}");
    at_a.stop();
}

/// What both know of a key is given back by whoever of them comes first.
async fn the_newest_stays(first_is_a: bool) {
    let (mut etcd, a, b) = (Etcd::start(), Member::named("a"), Member::named("b"));
    let (at_a, at_b) = (a.start(etcd.port), b.start(etcd.port));
    done(at_a.write("k", "0").await);
    done(at_b.write("of-b", "0").await);
    both_are_known(&etcd).await;
    etcd.save_snapshot();
    done(at_a.write("k", "1").await);
    done(at_a.write("gone", "1").await);
    done(at_b.write("k", "2").await);
    done(at_b.replica.commit(commit(vec![], vec![delete("gone")])).await);
    at_a.stop();
    at_b.stop();
    etcd.restore_snapshot();
    let order = if first_is_a { [&a, &b] } else { [&b, &a] };
    for member in order {
        member.reconcile(etcd.port).await;
    }
    assert_eq!(etcd.ctl(&["get", "--print-value-only", "test/k"]).trim(), "2");
    assert_eq!(etcd.ctl(&["get", "test/gone"]), "");
    assert_eq!(etcd.ctl(&["get", "--prefix", "test/~restored/"]), "");
    for member in order {
        let again = member.start(etcd.port);
        done(again.write("k", "3").await);
        again.stop();
    }
}

#[tokio::test]
async fn of_what_two_journals_know_the_newest_stays_when_the_older_comes_first() {
    the_newest_stays(true).await;
}

#[tokio::test]
async fn of_what_two_journals_know_the_newest_stays_when_the_older_comes_last() {
    the_newest_stays(false).await;
}

/// What the first writes again has revisions that the second's journal tells of, too: of other transactions, before the restore.
#[tokio::test]
async fn what_one_wrote_again_is_no_sign_that_etcd_still_knows_what_another_wrote() {
    let (mut etcd, a, b) = (Etcd::start(), Member::named("a"), Member::named("b"));
    let (at_a, at_b) = (a.start(etcd.port), b.start(etcd.port));
    done(at_a.write("of-a", "0").await);
    done(at_b.write("of-b", "0").await);
    both_are_known(&etcd).await;
    etcd.save_snapshot();
    done(at_b.write("alone", "1").await);
    for n in 0..40 {
        done(at_b.write(&format!("both/{n}"), "1").await);
    }
    for n in 0..40 {
        done(at_a.write(&format!("both/{n}"), "1").await);
    }
    at_a.stop();
    at_b.stop();
    etcd.restore_snapshot();
    a.reconcile(etcd.port).await;
    b.reconcile(etcd.port).await;
    assert_eq!(etcd.ctl(&["get", "--print-value-only", "test/alone"]).trim(), "1", "it is lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_answer_is_lost_is_done_once_and_its_caller_is_told_so() {
    let (etcd, a) = (Etcd::start(), Member::named("a"));
    let way = Way::to(etcd.port).await;
    let at_a = a.start(way.port);
    done(at_a.write("first", "1").await);
    way.mute();
    let conditions = vec![absent("token")];
    let mut once = at_a.replica.commit(commit(conditions, vec![put("token", "1")]));
    let mut always = Box::pin(at_a.write("unconditional", "1"));
    tokio::select! {
        early = &mut once => panic!("{early:?}"),
        early = &mut always => panic!("{early:?}"),
        () = tokio::time::sleep(Duration::from_millis(1500)) => {}
    }
    way.open_anew().await;
    done(once.await);
    done(always.await);
    for key in ["test/token", "test/unconditional"] {
        let held = etcd.ctl(&["get", key, "--write-out=json"]);
        assert!(held.contains(r#""version":1,"#), "{held}");
    }
    at_a.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_was_given_up_is_heard_of_and_told_late() {
    let (etcd, a) = (Etcd::start(), Member::named("a"));
    let way = Way::to(etcd.port).await;
    let at_a = a.start(way.port);
    let mut hearing = at_a.replica.etcd().hearing();
    done(at_a.write("known", "1").await);
    way.mute();
    assert!(matches!(at_a.write("given-up", "1").await, Err(StoreError::Unreachable { .. })));
    assert!(at_a.replica.read("given-up").unwrap().is_none());
    way.open_anew().await;
    assert_eq!(next(&mut hearing).await, ("given-up".to_owned(), Some("1".to_owned())), "and not what is known");
    until(|| a.told().iter().any(|entry| entry.contains(r#""kind":"told_late","replica":"a""#))).await;
    let intents = || etcd.ctl(&["get", "--prefix", "test/~~intent/", "--keys-only"]);
    until(|| intents().trim().is_empty()).await;
    at_a.stop();
    let records: Vec<_> =
        JournalReader::open(a.place.dir()).unwrap().map(|record| record.unwrap().unfolded().unwrap()).collect();
    assert!(records.iter().any(|record| record.put.contains_key("given-up")));
}

#[tokio::test]
async fn what_a_killed_replica_had_done_and_not_told_its_next_start_tells() {
    let (etcd, a) = (Etcd::start(), Member::named("a"));
    let at_a = a.start(etcd.port);
    done(at_a.write("told", "1").await);
    let told = etcd.ctl(&["get", "--prefix", "test/~~intent/a/", "--print-value-only"]);
    let at = told.split(r#""at":"#).nth(1).unwrap().split([',', '}']).next().unwrap().to_owned();
    // As if it had been killed: what is told stands there still, and what comes now is told by nobody.
    let untold = format!(r#"{{"v":1,"at":{at},"deeds":[{{"entry":{{"kind":"test","n":7}},"keys":["untold"]}}]}}"#);
    at_a.stop();
    etcd.ctl(&["put", "test/~~intent/a/killed/9", &untold]);
    etcd.ctl(&["put", "test/untold", "7"]);
    let at_a = a.start(etcd.port);
    let late = |told: &[String]| told.iter().filter(|entry| entry.contains("told_late")).count();
    until(|| late(&a.told()) > 0).await;
    until(|| etcd.ctl(&["get", "--prefix", "test/~~intent/", "--keys-only"]).trim().is_empty()).await;
    at_a.stop();
    let told = a.told();
    assert_eq!(late(&told), 1, "what was told is not told again: {told:?}");
    assert!(told.iter().any(|entry| entry.contains(r#""intended":{"kind":"test","n":7}"#)), "{told:?}");
}

#[tokio::test]
async fn intents_leave_when_they_are_told_with_the_next_write_or_in_peace() {
    let (etcd, a) = (Etcd::start(), Member::named("a"));
    let at_a = a.start(etcd.port);
    for n in 0..20 {
        done(at_a.write(&format!("k/{n}"), "1").await);
    }
    let count = || etcd.ctl(&["get", "--prefix", "test/~~intent/", "--keys-only"]).matches("~intent").count();
    assert!(count() <= 9, "{} intents", count());
    until(|| count() == 0).await;
    at_a.stop();
}

#[tokio::test]
async fn replicas_whose_clocks_are_apart_write_nothing_until_they_agree() {
    let (etcd, a, b, c) = (Etcd::start(), Member::named("a"), Member::named("b"), Member::named("c"));
    b.place.clock.advance(Duration::from_secs(60));
    let (at_a, at_c) = (a.start(etcd.port), c.start(etcd.port));
    done(at_a.write("k", "1").await);
    let at_b = b.start(etcd.port);
    let Err(StoreError::ClocksApart { why }) = at_b.write("k", "2").await else { panic!("it wrote") };
    assert!(why.contains("a is 60 s behind") && why.contains("c is 60 s behind"), "{why}");
    assert!(at_b.replica.etcd().clocks().is_apart());
    done(at_a.write("k", "3").await);
    done(at_c.write("k", "4").await);
    // Of two that are apart nobody can say which is wrong.
    at_c.stop();
    until(|| at_a.replica.etcd().clocks().is_apart()).await;
    assert!(matches!(at_a.write("k", "5").await, Err(StoreError::ClocksApart { .. })));
    a.place.clock.advance(Duration::from_secs(55));
    c.place.clock.advance(Duration::from_secs(55));
    until(|| !at_a.replica.etcd().clocks().is_apart() && !at_b.replica.etcd().clocks().is_apart()).await;
    at_a.stop();
    at_b.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_only_what_changes_nothing_is_decided_and_for_its_span_only() {
    let (mut etcd, a) = (Etcd::start(), Member::named("a"));
    let at_a = a.start(etcd.port);
    done(at_a.write("session", "1").await);
    etcd.kill();
    let renewal = |span, condition| Commit { without_quorum: span, ..commit(vec![condition], vec![]) };
    let present = || Condition::Present("session".into());
    let asked = Instant::now();
    done(at_a.replica.commit(renewal(Some(LIMIT), present())).await);
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    let gone = at_a.replica.commit(renewal(Some(LIMIT), Condition::Present("ended".into()))).await;
    assert!(matches!(gone, Ok(Committed::Conflict { .. })));
    // A rule with needs gives no span.
    let needy = at_a.replica.commit(renewal(None, present())).await;
    assert!(matches!(needy, Err(StoreError::Unreachable { .. })));
    let written = Commit { without_quorum: Some(LIMIT), ..commit(vec![present()], vec![put("k", "1")]) };
    assert!(matches!(at_a.replica.commit(written).await, Err(StoreError::Unreachable { .. })));
    until(|| at_a.replica.behind().unconfirmed_for > Duration::from_secs(2)).await;
    let late = at_a.replica.commit(renewal(Some(Duration::from_secs(2)), present())).await;
    assert!(matches!(late, Err(StoreError::Unreachable { .. })));
    a.place.clock.sleep(LIMIT);
    let slept = at_a.replica.commit(renewal(Some(LIMIT), present())).await;
    assert!(matches!(slept, Err(StoreError::Unreachable { .. })), "{slept:?}");
    at_a.stop();
    let all = JournalReader::open(a.place.dir()).unwrap().map(|record| record.unwrap());
    let alone = all.filter(|record| record.put.get("shared").is_some_and(|told| told.get().contains("without_quorum")));
    assert_eq!(alone.count(), 1);
}

async fn write_all(replica: Arc<Replica>, keys: impl Iterator<Item = String> + Send, value: String) {
    for key in keys {
        done(replica.commit(commit(vec![absent(&key)], vec![put(&key, &value)])).await);
    }
}

/// Run by hand, optimised: what a write costs with ticks and intents, and how many share a transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, run by hand"]
async fn what_a_write_costs() {
    let (etcd, a) = (Etcd::start(), Member::named("a"));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let connected =
        Connected::connect(Etcd::settings("test/", "a"), "1", (etcd.channels(), Arc::clone(&clock))).unwrap();
    let replica = Replica::open(connected, a.place.open(), clock).unwrap();
    let value = format!(r#""{}""#, "x".repeat(500));
    for callers in [1_u32, 4, 16, 64] {
        let (began, rounds) = (Instant::now(), 2000 / (callers + 4));
        let mut all = tokio::task::JoinSet::new();
        for caller in 0..callers {
            let keys = (0..rounds).map(move |round| format!("k/{callers}/{caller}/{round}"));
            all.spawn(write_all(Arc::clone(&replica), keys, value.clone()));
        }
        all.join_all().await;
        let took = began.elapsed();
        let held = replica.list(&format!("k/{callers}/")).unwrap().into_iter().map(|(_, held)| held.revision);
        let held = held.collect::<BTreeSet<_>>().len();
        println!("{callers} at a time: {:?} each, {held} transactions for {}", took / rounds, callers * rounds);
    }
    replica.close();
}

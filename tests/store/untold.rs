//! What etcd did and a journal could not tell: somebody tells it, so that each identity is on record.
#![expect(clippy::disallowed_methods, reason = "a real etcd needs real time")]

use super::shared::another_process;
use super::*;
use crate::etcd::Etcd;
use lanyard::clock::Clock;
use lanyard::store::{Etcd as Connected, JournalReader, Replica, reconciled, take_over};
use std::time::Instant;

/// Longer than anything here should take on a machine with much else to do.
const LIMIT: Duration = Duration::from_secs(30);
/// Longer than a replica may be away before it is taken for gone.
const AWAY: Duration = Duration::from_secs(11 * 60);

fn connect(etcd: &Etcd, place: &Place, name: &str) -> Arc<Connected> {
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&place.clock);
    Connected::connect(Etcd::settings("test/", name), &another_process(), (etcd.channels(), clock)).unwrap()
}

/// A replica, and its journal.
fn start(etcd: &Etcd, place: &Place, name: &str) -> (Arc<Replica>, Arc<LocalStore>) {
    let (journal, clock): (_, Arc<dyn Clock>) = (place.open(), Arc::<ManualClock>::clone(&place.clock));
    (Replica::open(connect(etcd, place, name), Arc::clone(&journal), clock).unwrap(), journal)
}

fn identity(serial: &str) -> Commit {
    let entry = raw(&format!(r#"{{"kind":"intent","svid":{{"serial":"{serial}"}}}}"#));
    let key = format!("session/{serial}");
    Commit { entry, ..commit(vec![absent(&key)], vec![put(&key, "1")]) }
}

/// Records of this serial number that are told late for a replica.
fn told_late(place: &Place, replica: &str, serial: &str) -> usize {
    let all = JournalReader::open(place.dir()).unwrap().map(|record| record.unwrap().entry.get().to_owned());
    let late = format!(r#""kind":"told_late","replica":"{replica}""#);
    all.filter(|entry| entry.contains(&late) && entry.contains(&format!(r#""serial":"{serial}""#))).count()
}

async fn until(mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < LIMIT, "not within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A replica that etcd obeys while its journal tells nothing any more, and that is gone then.
async fn leave_untold(etcd: &Etcd, place: &Place, name: &str, serials: &[&str]) {
    let (replica, journal) = start(etcd, place, name);
    done(replica.commit(identity(&format!("{name}-told"))).await);
    journal.close();
    for serial in serials {
        assert!(replica.commit(identity(serial)).await.is_err(), "nobody may act by what no journal tells");
        assert!(!etcd.ctl(&["get", &format!("test/session/{serial}")]).is_empty(), "it was not done");
    }
    replica.close();
    until(|| etcd.ctl(&["get", &format!("test/~clock/{name}")]).is_empty()).await;
}

#[tokio::test]
async fn what_a_replica_left_that_does_not_come_back_the_leader_tells_once() {
    let (etcd, [a, b, c]) = (Etcd::start(), [(); 3].map(|()| Place::new(IndexKind::Memory)));
    leave_untold(&etcd, &b, "b", &["b1", "b2"]).await;
    a.clock.advance(AWAY);
    c.clock.advance(AWAY);
    // Gone for a moment only: it comes back and tells it itself.
    leave_untold(&etcd, &c, "c", &["c1"]).await;
    let (at_a, _) = start(&etcd, &a, "a");
    until(|| told_late(&a, "b", "b2") > 0).await;
    let intents = |name: &str| etcd.ctl(&["get", "--prefix", &format!("test/~~intent/{name}/"), "--keys-only"]);
    until(|| intents("b").trim().is_empty()).await;
    assert_eq!(["b1", "b2"].map(|serial| told_late(&a, "b", serial)), [1, 1]);
    assert!(!intents("c").trim().is_empty());
    assert_eq!(told_late(&a, "c", "c1"), 0);
    let (at_c, _) = start(&etcd, &c, "c");
    until(|| told_late(&c, "c", "c1") == 1).await;
    at_c.close();
    at_a.close();
}

#[tokio::test]
async fn whoever_reconciles_for_a_lost_replica_tells_what_it_left_at_once() {
    let (mut etcd, [a, b, below]) = (Etcd::start(), [(); 3].map(|()| Place::new(IndexKind::Memory)));
    leave_untold(&etcd, &b, "b", &["b1"]).await;
    // Another's name begins like it.
    leave_untold(&etcd, &below, "b/2", &["b21"]).await;
    etcd.save_snapshot();
    etcd.restore_snapshot();
    let (journal, connected) = (a.open(), connect(&etcd, &a, "a"));
    // All of it: what the lost journal told, nobody else can read.
    let left = take_over(&journal, &connected, "b").await.unwrap();
    assert!((1..=2).contains(&left), "{left}");
    journal.close();
    assert_eq!((told_late(&a, "b", "b1"), told_late(&a, "b", "b21")), (1, 0));
    let stands = etcd.ctl(&["get", "--prefix", "test/~~intent/b/", "--keys-only"]);
    let mut stands = stands.lines().filter(|line| !line.is_empty()).peekable();
    assert!(stands.peek().is_some() && stands.all(|key| key.starts_with("test/~~intent/b/2/")));
}

/// As the command does it.
async fn reconcile(etcd: &Etcd, place: &Place, name: &str) {
    let connected = connect(etcd, place, name);
    let done = connected.reconcile(place.dir(), (&[], None)).await.unwrap();
    let journal = place.open();
    reconciled(&journal, &connected, &done).await.unwrap();
    journal.close();
    connected.close();
}

/// Who renews what the other opened untold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Renewing {
    /// It heard of it.
    Heard,
    /// It came later, and found it.
    Found,
}

async fn renew(at: &Replica, key: &str) {
    let opened = at.read(key).unwrap().unwrap();
    done(at.commit(commit(vec![Condition::Unchanged(key.to_owned(), opened.revision)], vec![])).await);
}

/// How often the journal says what the key held.
fn tells_of(place: &Place, key: &str) -> usize {
    let all = JournalReader::open(place.dir()).unwrap().map(|record| record.unwrap().unfolded().unwrap());
    all.filter(|record| record.put.contains_key(key)).count()
}

async fn outlives_a_restore(renewing: Renewing) {
    let (mut etcd, a, b) = (Etcd::start(), Place::new(IndexKind::Memory), Place::new(IndexKind::Memory));
    let ((at_a, journal), (mut at_b, _)) = (start(&etcd, &a, "a"), start(&etcd, &b, "b"));
    done(at_a.commit(identity("before")).await);
    until(|| etcd.ctl(&["get", "--prefix", "test/~known/", "--keys-only"]).matches("~known").count() == 2).await;
    etcd.save_snapshot();
    journal.close();
    assert!(at_a.commit(identity("x")).await.is_err());
    // It cannot tell it, however long it lives and whatever it does.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(at_a.commit(identity("y")).await.is_err());
    if renewing == Renewing::Found {
        at_b.close();
        drop(at_b);
        (at_b, _) = start(&etcd, &b, "b");
    }
    until(|| at_b.read("session/x").unwrap().is_some()).await;
    // Confirmed, without a word of who opened it.
    renew(&at_b, "session/x").await;
    at_a.close();
    at_b.close();
    drop((at_a, at_b, journal));
    etcd.restore_snapshot();
    assert_eq!(etcd.ctl(&["get", "test/session/x"]), "");
    reconcile(&etcd, &a, "a").await;
    reconcile(&etcd, &b, "b").await;
    assert!(etcd.ctl(&["get", "test/session/x"]).contains('1'), "it is lost");
}

#[tokio::test]
async fn a_session_that_one_replica_opened_untold_and_another_renewed_outlives_a_restore() {
    outlives_a_restore(Renewing::Heard).await;
}

#[tokio::test]
async fn a_session_that_one_replica_opened_untold_and_a_later_one_renewed_outlives_a_restore() {
    outlives_a_restore(Renewing::Found).await;
}

#[tokio::test]
async fn what_a_journal_tells_no_renewal_repeats_here_or_elsewhere() {
    let (etcd, a, b) = (Etcd::start(), Place::new(IndexKind::Memory), Place::new(IndexKind::Memory));
    let ((at_a, _), (at_b, _)) = (start(&etcd, &a, "a"), start(&etcd, &b, "b"));
    done(at_a.commit(identity("x")).await);
    renew(&at_a, "session/x").await;
    // In peace: nothing that comes later says that it is told.
    until(|| etcd.ctl(&["get", "--prefix", "test/~~intent/", "--keys-only"]).trim().is_empty()).await;
    until(|| at_b.read("session/x").unwrap().is_some()).await;
    at_b.caught_up().await.unwrap();
    renew(&at_b, "session/x").await;
    at_a.close();
    at_b.close();
    assert_eq!([&a, &b].map(|place| tells_of(place, "session/x")), [1, 0]);
}

#[tokio::test]
async fn a_key_that_nobody_would_hear_of_is_not_written() {
    let (etcd, a) = (Etcd::start(), Place::new(IndexKind::Memory));
    let (at_a, _) = start(&etcd, &a, "a");
    for key in ["~~intent/a/p/1", "\u{e9}"] {
        assert!(matches!(at_a.commit(commit(vec![], vec![put(key, "1")])).await, Err(StoreError::Index(_))), "{key}");
    }
    at_a.close();
}

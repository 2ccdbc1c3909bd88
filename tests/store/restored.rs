//! What a replica's journal gives back to an etcd that was restored, once and again: what the snapshot lost, and nothing that it
//! knew.

use super::shared::{Member, Running, all_are_known, overtake, until};
use super::*;
use crate::etcd::Etcd;
use crate::mute::Way;
use lanyard::store::reconciled;

/// What etcd holds under a key.
fn held(etcd: &Etcd, key: &str) -> String {
    etcd.ctl(&["get", "--print-value-only", &format!("test/{key}")]).trim().to_owned()
}

/// Two that are known, with a record each that no restore here takes.
async fn two(etcd: &Etcd) -> [Member; 2] {
    let [a, b] = [Member::named("a"), Member::named("b")];
    let (at_a, at_b) = (a.start(etcd.port), b.start(etcd.port));
    done(at_a.write("of-a", "0").await);
    done(at_b.write("of-b", "0").await);
    all_are_known(etcd, 2).await;
    at_a.stop();
    at_b.stop();
    [a, b]
}

/// One write after the other.
async fn writes(member: &Member, etcd: &Etcd, all: &[(&str, &str)]) {
    let running = member.start(etcd.port);
    for (key, value) in all {
        done(running.write(key, value).await);
    }
    running.stop();
}

#[tokio::test]
async fn what_was_written_before_an_earlier_restore_never_takes_the_place_of_what_came_after() {
    let mut etcd = Etcd::start();
    let [a, b] = two(&etcd).await;
    etcd.save_snapshot();
    // Later than all that comes after the restore, as revisions count.
    overtake(&etcd);
    writes(&a, &etcd, &[("k", r#""old""#)]).await;
    etcd.restore_snapshot();
    a.reconcile(etcd.port).await;
    b.reconcile(etcd.port).await;
    assert_eq!(held(&etcd, "k"), r#""old""#);
    writes(&b, &etcd, &[("k", r#""new""#), ("later", "1")]).await;
    etcd.save_snapshot();
    writes(&b, &etcd, &[("lost", "1")]).await;
    etcd.restore_snapshot();
    a.reconcile(etcd.port).await;
    b.reconcile(etcd.port).await;
    assert_eq!((&*held(&etcd, "k"), &*held(&etcd, "lost")), (r#""new""#, "1"));
}

#[tokio::test]
async fn a_session_that_was_renewed_untold_and_then_ended_stays_ended() {
    let (mut etcd, [a, b, c]) = (Etcd::start(), ["a", "b", "c"].map(Member::named));
    let journal = b.place.open();
    let [at_a, at_c] = [&a, &c].map(|member| member.start(etcd.port));
    let at_b = b.start_with(etcd.port, &journal);
    done(at_a.write("of-a", "0").await);
    done(at_c.write("of-c", "0").await);
    all_are_known(&etcd, 3).await;
    journal.close();
    assert!(at_b.write("session", "1").await.is_err(), "no journal tells of it");
    until(|| at_a.replica.read("session").unwrap().is_some()).await;
    let opened = at_a.replica.read("session").unwrap().unwrap();
    let renewal = commit(vec![Condition::Unchanged("session".to_owned(), opened.revision)], vec![]);
    done(at_a.replica.commit(renewal).await);
    done(at_c.replica.commit(commit(vec![], vec![delete("session")])).await);
    done(at_c.write("later", "1").await);
    etcd.save_snapshot();
    done(at_c.write("lost", "1").await);
    [at_a, at_b, at_c].into_iter().for_each(Running::stop);
    etcd.restore_snapshot();
    a.reconcile(etcd.port).await;
    c.reconcile(etcd.port).await;
    assert_eq!((&*held(&etcd, "session"), &*held(&etcd, "lost")), ("", "1"));
}

/// The snapshot is of a moment between two replicas that reconcile.
#[tokio::test]
async fn a_restore_of_an_etcd_that_was_being_reconciled_has_all_reconcile_again() {
    let mut etcd = Etcd::start();
    let [a, b] = two(&etcd).await;
    etcd.save_snapshot();
    writes(&a, &etcd, &[("x", "1"), ("k", "1")]).await;
    writes(&b, &etcd, &[("y", "1"), ("k", "2")]).await;
    etcd.restore_snapshot();
    a.reconcile(etcd.port).await;
    etcd.save_snapshot();
    b.reconcile(etcd.port).await;
    writes(&b, &etcd, &[("k", "3")]).await;
    writes(&a, &etcd, &[("z", "1"), ("k", "4")]).await;
    etcd.restore_snapshot();
    assert_eq!(b.reconcile(etcd.port).await.into_iter().collect::<Vec<_>>(), ["a"], "what it wrote is lost again");
    a.reconcile(etcd.port).await;
    assert_eq!(["x", "y", "z", "k"].map(|key| held(&etcd, key)), ["1", "1", "1", "4"]);
}

/// It had been known to nobody when the snapshot was made, and comes when the others are done.
#[tokio::test]
async fn a_replica_that_the_snapshot_does_not_know_gives_back_all_it_wrote() {
    let mut etcd = Etcd::start();
    let [a, b] = two(&etcd).await;
    etcd.save_snapshot();
    let c = Member::named("c");
    // As revisions count, later than what comes after the restore.
    overtake(&etcd);
    writes(&c, &etcd, &[("of-c", "1"), ("k", r#""of c""#)]).await;
    writes(&a, &etcd, &[("gone", "1")]).await;
    etcd.restore_snapshot();
    a.reconcile(etcd.port).await;
    b.reconcile(etcd.port).await;
    writes(&b, &etcd, &[("k", r#""of b""#)]).await;
    c.reconcile(etcd.port).await;
    assert_eq!((&*held(&etcd, "of-c"), &*held(&etcd, "k")), ("1", r#""of b""#), "what is newer stays");
}

#[tokio::test]
async fn a_replica_of_which_the_snapshot_knows_nothing_but_its_name_gives_back_all_it_wrote() {
    let mut etcd = Etcd::start();
    let (a, b) = (Member::named("a"), Member::named("b"));
    let (at_a, at_b) = (a.start(etcd.port), b.start(etcd.port));
    done(at_a.write("k", "1").await);
    all_are_known(&etcd, 2).await;
    etcd.save_snapshot();
    done(at_b.write("k", "2").await);
    at_a.stop();
    at_b.stop();
    etcd.restore_snapshot();
    for member in [&a, &b] {
        member.reconcile(etcd.port).await;
    }
    assert_eq!(held(&etcd, "k"), "2");
}

#[tokio::test]
async fn a_reconciliation_that_dies_before_its_journal_tells_of_it_is_finished_by_another_run_and_nobody_repeats_theirs()
 {
    let mut etcd = Etcd::start();
    let [a, b] = two(&etcd).await;
    etcd.save_snapshot();
    writes(&b, &etcd, &[("k", "1")]).await;
    etcd.restore_snapshot();
    a.reconcile(etcd.port).await;
    let connected = b.connect(etcd.port).unwrap();
    assert!(!b.dies_reconciling(&connected, (&[], None)).await.resumed);
    connected.close();
    let connected = b.connect(etcd.port).unwrap();
    assert!(b.dies_reconciling(&connected, (&[], None)).await.resumed);
    connected.close();
    assert_eq!(held(&etcd, "k"), "1");
    let at_a = a.start(etcd.port);
    let Err(StoreError::WentBack { why }) = at_a.write("early", "1").await else { panic!("it wrote") };
    assert!(why.contains("`lanyard store reconcile` on b"), "{why}");
    at_a.stop();
    assert!(b.reconcile(etcd.port).await.is_empty(), "what was begun is finished");
    writes(&b, &etcd, &[("later", "1")]).await;
    writes(&a, &etcd, &[("k", "2")]).await;
    assert_eq!((&*held(&etcd, "k"), &*held(&etcd, "later")), ("2", "1"));
}

/// A name that counts no more, and what that costs: never the one without the other.
#[tokio::test]
async fn what_is_refused_for_a_lost_replica_is_refused_from_the_moment_on_in_which_it_is_given_up() {
    let mut etcd = Etcd::start();
    let [a, _b] = two(&etcd).await;
    etcd.save_snapshot();
    writes(&a, &etcd, &[("k", "1")]).await;
    etcd.restore_snapshot();
    let (connected, lost) = (a.connect(etcd.port).unwrap(), ["b".to_owned()]);
    let done = a.dies_reconciling(&connected, (&lost, Some(put("restored", "1")))).await;
    assert_eq!((done.resumed, connected.given_up().into_iter().collect::<Vec<_>>()), (false, lost.to_vec()));
    connected.close();
    let since = etcd.ctl(&["get", "test/restored", "-w", "json"]);
    let since: serde_json::Value = serde_json::from_str(&since).unwrap();
    let since = since["kvs"][0]["mod_revision"].as_u64().unwrap();
    let knows_b = |at: u64| !etcd.ctl(&["get", "test/~known/b", "--rev", &at.to_string()]).is_empty();
    assert!(knows_b(since - 1) && !knows_b(since));
    assert!(a.reconcile(etcd.port).await.is_empty());
    assert_eq!((&*held(&etcd, "restored"), &*held(&etcd, "k")), ("1", "1"));
}

/// It is in no journal but that of whoever said so.
#[tokio::test]
async fn what_is_refused_for_a_lost_replica_stays_refused_after_the_next_restore() {
    let mut etcd = Etcd::start();
    let [a, _b] = two(&etcd).await;
    etcd.save_snapshot();
    writes(&a, &etcd, &[("k", "1")]).await;
    etcd.restore_snapshot();
    {
        let connected = a.connect(etcd.port).unwrap();
        let done = a.dies_reconciling(&connected, (&["b".to_owned()], Some(put("restored", "1")))).await;
        let journal = a.place.open();
        reconciled(&journal, &connected, &done).await.unwrap();
        journal.close();
        connected.close();
    }
    etcd.restore_snapshot();
    a.reconcile(etcd.port).await;
    assert_eq!((&*held(&etcd, "restored"), &*held(&etcd, "k")), ("1", "1"));
}

#[tokio::test]
async fn what_is_too_much_for_one_transaction_is_given_back_in_several() {
    let mut etcd = Etcd::start();
    let [a, b] = two(&etcd).await;
    etcd.save_snapshot();
    let (large, running) = (format!("\"{}\"", "x".repeat(60_000)), a.start(etcd.port));
    for n in 0..40 {
        done(running.write(&format!("bundle/{n}"), &large).await);
    }
    running.stop();
    etcd.restore_snapshot();
    a.reconcile(etcd.port).await;
    b.reconcile(etcd.port).await;
    let there = etcd.ctl(&["get", "--prefix", "test/bundle/", "--keys-only"]);
    assert_eq!(there.matches("bundle/").count(), 40);
}

/// Nobody waits for one that is cut off and said to be lost; it lives, and comes back when etcd has come further than it knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_cut_off_during_a_restore_shows_what_was_written_since_however_far_etcd_has_come() {
    let mut etcd = Etcd::start();
    let ([a, b], c, way) = (two(&etcd).await, Member::named("c"), Way::to(etcd.port).await);
    let at_c = c.start(way.port);
    done(at_c.write("of-c", "1").await);
    all_are_known(&etcd, 3).await;
    until(|| etcd.ctl(&["get", "--prefix", "test/~~intent/c/"]).is_empty()).await;
    etcd.save_snapshot();
    for _more_than_comes_before_the_ban in 0..3 {
        overtake(&etcd);
    }
    writes(&a, &etcd, &[("x", "1")]).await;
    until(|| at_c.replica.read("x").unwrap().is_some()).await;
    way.mute();
    etcd.restore_snapshot();
    let connected = a.connect(etcd.port).unwrap();
    let done_at_a = a.dies_reconciling(&connected, (&["c".to_owned()], None)).await;
    let journal = a.place.open();
    reconciled(&journal, &connected, &done_at_a).await.unwrap();
    journal.close();
    connected.close();
    drop(journal);
    b.reconcile(etcd.port).await;
    writes(&a, &etcd, &[("ban", "1")]).await;
    for _more_than_it_knows in 0..4 {
        overtake(&etcd);
    }
    // Whose write c misses has written since.
    writes(&a, &etcd, &[("later", "1")]).await;
    way.open_anew().await;
    until(|| at_c.replica.read("later").unwrap().is_some()).await;
    assert!(at_c.replica.read("ban").unwrap().is_some(), "it shows what came later, and not this");
    at_c.stop();
}

/// It is cleared of what the snapshot lacks by then: a session that is not found there may be in somebody's journal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_restored_etcd_lacks_is_not_said_to_be_unknown() {
    let mut etcd = Etcd::start();
    let [a, b] = two(&etcd).await;
    etcd.save_snapshot();
    writes(&a, &etcd, &[("first", "1")]).await;
    etcd.restore_snapshot();
    a.reconcile(etcd.port).await;
    b.reconcile(etcd.port).await;
    let at_a = a.start(etcd.port);
    done(at_a.write("session", "1").await);
    // Of before the first restore: so the copy is listed anew.
    etcd.restore_snapshot();
    until(|| at_a.replica.read("session").unwrap().is_none()).await;
    let caught_up = at_a.replica.caught_up().await;
    assert!(matches!(caught_up, Err(StoreError::WentBack { .. })), "{caught_up:?}");
    at_a.stop();
}

//! What a replica's journal gives back to an etcd that was restored, once and again: what the snapshot lost, and nothing that it
//! knew.

use super::shared::{Member, Running, all_are_known, overtake, until};
use super::*;
use crate::etcd::Etcd;

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

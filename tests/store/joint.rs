//! Commits that wait at the same time, on a real etcd: decided by few transactions, each as if it were alone.
#![expect(clippy::disallowed_methods, reason = "a real etcd needs real time")]

use super::*;
use crate::etcd::Etcd;
use crate::mute::Way;
use lanyard::clock::Clock;
use lanyard::store::{Answer, Etcd as Connected, JournalReader, Replica};
use lanyard::wire::etcd_channel;
use std::collections::BTreeSet;
use std::time::Instant;

/// Longer than anything here should take on a machine with much else to do.
const LIMIT: Duration = Duration::from_secs(30);

fn start(etcd: &Etcd, place: &Place, process: &str) -> (Arc<Replica>, Arc<LocalStore>) {
    start_by(etcd.port, place, process)
}

fn start_by(port: u16, place: &Place, process: &str) -> (Arc<Replica>, Arc<LocalStore>) {
    let (journal, clock): (_, Arc<dyn Clock>) = (place.open(), Arc::<ManualClock>::clone(&place.clock));
    let channels = Box::new(move || vec![etcd_channel(("127.0.0.1", port), None).unwrap()]);
    let connected = Connected::connect(Etcd::settings("test/", "a"), process, (channels, Arc::clone(&clock)));
    (Replica::open(connected.unwrap(), Arc::clone(&journal), clock).unwrap(), journal)
}

fn opens(key: &str, owner: usize) -> Commit {
    let entry = raw(&format!(r#"{{"kind":"intent","key":"{key}","owner":{owner}}}"#));
    Commit { entry, ..commit(vec![absent("job/1"), absent(key)], vec![put(key, &owner.to_string())]) }
}

async fn all(answers: Vec<Answer<Committed>>) -> Vec<Result<Committed, StoreError>> {
    let mut said = Vec::new();
    for answer in answers {
        said.push(answer.await);
    }
    said
}

/// The revisions that the replica's sessions have.
fn revisions(replica: &Replica) -> BTreeSet<u64> {
    replica.list("session/").unwrap().into_iter().map(|(_, held)| held.revision).collect()
}

#[tokio::test]
async fn commits_that_wait_together_are_few_transactions_and_each_is_recorded() {
    let (etcd, place) = (Etcd::start(), Place::new(IndexKind::Memory));
    let (replica, _) = start(&etcd, &place, "1");
    done(replica.commit(opens("session/first", 0)).await);
    let keys: Vec<_> = (0..200).map(|n| format!("session/{n}")).collect();
    for said in all(keys.iter().map(|key| replica.commit(opens(key, 1))).collect()).await {
        done(said);
    }
    let transactions = revisions(&replica).len();
    assert!(transactions < 40, "{transactions} transactions");
    replica.close();
    let told = JournalReader::open(place.dir()).unwrap().map(|record| record.unwrap().unfolded().unwrap());
    let put: Vec<_> = told.flat_map(|record| record.put.into_keys().collect::<Vec<_>>()).collect();
    for key in keys {
        assert_eq!(put.iter().filter(|put| **put == key).count(), 1, "{key}");
    }
}

#[tokio::test]
async fn one_that_is_in_conflict_hinders_none_of_those_beside_it() {
    let (etcd, place) = (Etcd::start(), Place::new(IndexKind::Memory));
    let (replica, _) = start(&etcd, &place, "1");
    done(replica.commit(opens("session/taken", 0)).await);
    // The same token many times, each time with another key; and one that was taken before.
    let answers = (0..60).map(|n| match n % 3 {
        0 => replica.commit(opens("session/taken", n)),
        1 => replica.commit(opens("session/wanted", n)),
        _ => replica.commit(opens(&format!("session/{n}"), n)),
    });
    let said = all(answers.collect()).await;
    let mut winners = 0;
    for (n, said) in said.into_iter().enumerate() {
        match (n % 3, said.unwrap()) {
            (2, Committed::Done(_)) => {}
            (1, Committed::Done(_)) => {
                winners += 1;
                assert_eq!(replica.read("session/wanted").unwrap().unwrap().value.get(), n.to_string());
            }
            (which @ (0 | 1), Committed::Conflict { key, found }) => {
                assert_eq!(key, ["session/taken", "session/wanted"][which]);
                assert!(found.is_some());
            }
            (_, other) => panic!("{n}: {other:?}"),
        }
    }
    assert_eq!(winners, 1);
    replica.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_whose_common_answer_is_lost_are_done_once_and_their_callers_are_told_so() {
    let (etcd, place) = (Etcd::start(), Place::new(IndexKind::Memory));
    let way = Way::to(etcd.port).await;
    let (replica, _) = start_by(way.port, &place, "1");
    done(replica.commit(opens("session/first", 0)).await);
    way.mute();
    let keys: Vec<_> = (0..20).map(|n| format!("session/{n}")).collect();
    let mut answers = Box::pin(all(keys.iter().map(|key| replica.commit(opens(key, 1))).collect()));
    tokio::select! {
        early = &mut answers => panic!("{early:?}"),
        () = tokio::time::sleep(Duration::from_millis(1500)) => {}
    }
    way.open_anew().await;
    for said in answers.await {
        done(said);
    }
    for key in keys {
        let held = etcd.ctl(&["get", &format!("test/{key}"), "--write-out=json"]);
        assert!(held.contains(r#""version":1,"#), "{held}");
    }
    assert!(revisions(&replica).len() < 10, "they went alone");
    replica.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_already_is_decided_beside_a_transaction_whose_answer_is_lost() {
    let (etcd, place) = (Etcd::start(), Place::new(IndexKind::Memory));
    let way = Way::to(etcd.port).await;
    let (replica, _) = start_by(way.port, &place, "1");
    done(replica.commit(opens("session/first", 0)).await);
    way.mute();
    let lost = tokio::spawn(replica.commit(opens("session/lost", 1)));
    tokio::time::sleep(Duration::from_millis(5)).await;
    let waits = tokio::spawn(replica.commit(opens("session/waits", 1)));
    // The first is tried for five seconds.
    let began = Instant::now();
    while etcd.ctl(&["get", "test/session/waits"]).is_empty() {
        assert!(began.elapsed() < Duration::from_secs(3), "it waits for the first");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    way.open_anew().await;
    for said in [lost, waits] {
        done(said.await.unwrap());
    }
    replica.close();
}

fn revision_of(etcd: &Etcd, key: &str) -> u64 {
    let held: serde_json::Value = serde_json::from_str(&etcd.ctl(&["get", key, "--write-out=json"])).unwrap();
    held["kvs"][0]["mod_revision"].as_u64().unwrap()
}

/// As a replica leaves it that is killed while its journal tells what was done together.
#[tokio::test]
async fn of_what_was_done_together_a_journal_tells_late_only_what_it_has_not_told() {
    let (etcd, place) = (Etcd::start(), Place::new(IndexKind::Memory));
    let (replica, _) = start(&etcd, &place, "1");
    done(replica.commit(opens("session/first", 0)).await);
    let intent = etcd.ctl(&["get", "--prefix", "test/~~intent/a/1/", "--print-value-only"]);
    let at = intent.split(r#""at":"#).nth(1).unwrap().split([',', '}']).next().unwrap();
    replica.close();
    drop(replica);
    let deed = |n: u32| format!(r#"{{"entry":{{"kind":"test","n":{n}}},"keys":["k/{n}"]}}"#);
    let deeds = [0, 1, 2].map(deed).join(",");
    etcd.ctl(&["put", "test/~~intent/a/1/9", &format!(r#"{{"v":1,"at":{at},"deeds":[{deeds}]}}"#)]);
    let journal = place.open();
    let mut shared: serde_json::Value =
        serde_json::from_str(journal.read("shared").unwrap().unwrap().value.get()).unwrap();
    shared["revision"] = revision_of(&etcd, "test/~~intent/a/1/9").into();
    shared["part"] = 1.into();
    write(&journal, vec![put("shared", &shared.to_string())]).await;
    journal.close();
    drop(journal);
    let (replica, _) = start(&etcd, &place, "2");
    let began = Instant::now();
    while !etcd.ctl(&["get", "--prefix", "test/~~intent/", "--keys-only"]).trim().is_empty() {
        assert!(began.elapsed() < LIMIT, "an intent stands");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    replica.close();
    let told = JournalReader::open(place.dir()).unwrap().map(|record| record.unwrap().entry.get().to_owned());
    let late: Vec<_> = told.filter(|entry| entry.contains("told_late")).collect();
    let tells = |n: u32| late.iter().filter(|entry| entry.contains(&format!(r#""n":{n}"#))).count();
    assert_eq!([0, 1, 2].map(tells), [1, 0, 1], "{late:?}");
}

//! Two processes by one name, as where a replica was started twice.

use super::shared::{Member, until};
use super::*;
use crate::etcd::Etcd;
use serde_json::Value;

/// Of each process the clock is written every second and a half, and four times a second at most.
const WATCHED_FOR: Duration = Duration::from_secs(2);
const WRITTEN_AT_MOST: u64 = 2 * 2 * (4 + 1);

/// How often it was written what the clock of that name shows.
fn written(etcd: &Etcd) -> Option<u64> {
    let found: Value = serde_json::from_str(&etcd.ctl(&["get", "--write-out=json", "test/~clock/a"])).unwrap();
    found["kvs"][0]["version"].as_u64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_by_one_name_do_not_answer_each_other_without_a_pause() {
    let (etcd, another) = (Etcd::start(), Member::named("b"));
    let namesakes = [Member::named("a"), Member::named("a")];
    let running = another.start(etcd.port);
    let both: Vec<_> = namesakes.iter().map(|member| member.start(etcd.port)).collect();
    until(|| written(&etcd).is_some_and(|count| count > 2)).await;
    let before = written(&etcd).unwrap();
    tokio::time::sleep(WATCHED_FOR).await;
    let times = written(&etcd).unwrap() - before;
    assert!((1..=WRITTEN_AT_MOST).contains(&times), "{times} times in {WATCHED_FOR:?}");
    drop((running, both));
}

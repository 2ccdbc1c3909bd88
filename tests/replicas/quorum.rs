//! What a replica does while nobody answers for a quorum, and when somebody does again.

use crate::agent::Agent;
use crate::callers::now;
use crate::replica::{Replica, Replicas, until};
use std::fs;
use std::time::Duration;

/// From a quorum to the first answer (issue).
const RESUMES_WITHIN: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_no_session_begins_and_live_ones_are_renewed() {
    let mut replicas = Replicas::start(2);
    let agent = Agent::new();
    let token = replicas.all[0].place.issuer.token(now());
    let session = agent.exchange(&replicas.all[0].place, &token).await.unwrap().session;
    replicas.etcd.kill();
    let place = |number: usize| &replicas.all[number].place;
    for number in 0..2 {
        let refused = agent.exchange(place(number), &place(0).issuer.token(now())).await.unwrap_err();
        assert_eq!(refused, "store_unavailable");
        agent.renew(place(number), &session).await.unwrap();
    }
    replicas.etcd.restart();
    let place = |number: usize| &replicas.all[number].place;
    for number in 0..2 {
        let offer = || async { agent.exchange(place(number), &place(0).issuer.token(now())).await.is_ok() };
        let took = until(RESUMES_WITHIN, offer).await;
        println!("answers resumed after {took:?}");
    }
}

/// Longer than anything here should take on a machine with much else to do.
const LIMIT: Duration = Duration::from_secs(20);

/// What a replica's copy of the keys says of its last step.
fn sequence(replica: &Replica) -> u64 {
    let keyring = fs::read(replica.place.data().join("keyring.json")).unwrap();
    serde_json::from_slice::<serde_json::Value>(&keyring).unwrap()["sequence"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_step_without_a_quorum_leaves_the_keys_as_they_are_on_all_replicas() {
    let mut replicas = Replicas::start(2);
    let prepare = ["authority", "prepare", "--kind", "jwt"];
    let before = replicas.all.iter().map(sequence).collect::<Vec<_>>();
    replicas.etcd.kill();
    replicas.all[0].refuses(&prepare);
    assert_eq!(replicas.all.iter().map(sequence).collect::<Vec<_>>(), before);
    replicas.etcd.restart();
    let [a, b] = &replicas.all[..] else { panic!("two") };
    for place in [&a.place, &b.place] {
        until(LIMIT, || async { Agent::new().exchange(place, &a.place.issuer.token(now())).await.is_ok() }).await;
    }
    b.operator(&prepare);
    until(LIMIT, || async { sequence(a) == sequence(b) }).await;
    assert_eq!(sequence(b), before[0] + 1, "the step was taken once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyring_that_cannot_be_taken_is_tried_until_it_can() {
    let replicas = Replicas::start(2);
    let [a, b] = &replicas.all[..] else { panic!("two") };
    let (keyring, aside) = (b.place.data().join("keyring.json"), b.place.data().join("aside.json"));
    fs::rename(&keyring, &aside).unwrap();
    fs::create_dir(&keyring).unwrap();
    a.operator(&["authority", "prepare", "--kind", "jwt"]);
    let worries = |answer: serde_json::Value| answer["answer"].as_str().unwrap().contains("keyring cannot be taken");
    until(LIMIT, || async { worries(b.health()) }).await;
    fs::remove_dir(&keyring).unwrap();
    fs::rename(&aside, &keyring).unwrap();
    until(LIMIT, || async { sequence(a) == sequence(b) && !worries(b.health()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_waits_for_agents_that_talk_to_another_replica() {
    let replicas = Replicas::start(2);
    let [a, b] = &replicas.all[..] else { panic!("two") };
    let agent = Agent::new();
    let session = agent.exchange(&b.place, &a.place.issuer.token(now())).await.unwrap().session;
    agent.renew(&b.place, &session).await.unwrap();
    a.operator(&["authority", "prepare", "--kind", "jwt"]);
    let waits = || async { a.refuses(&["authority", "activate", "--kind", "jwt"]).contains("agents of replica ca-2") };
    until(LIMIT, waits).await;
}

//! What a replica does while nobody answers for a quorum, and when somebody does again.

use crate::agent::Agent;
use crate::callers::now;
use crate::replica::{Replicas, until};
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

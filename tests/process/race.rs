//! A stolen token, offered by everybody at once.

use crate::callers::{Caller, Door, Outcome, now};
use crate::place::Place;
use crate::server::Server;
use std::sync::Arc;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

const KEYS: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_keys_at_once_exactly_one_gets_the_identity() {
    let place = Place::new();
    let _server = Server::start(&place);
    let door = Arc::new(Door::of(&place));
    let token = Arc::new(place.issuer.token(now()));
    let start = Arc::new(Barrier::new(KEYS));
    let mut attempts = JoinSet::new();
    for _ in 0..KEYS {
        let (door, token, start, curl) = (Arc::clone(&door), Arc::clone(&token), Arc::clone(&start), Caller::curl());
        attempts.spawn(async move {
            start.wait().await;
            let outcome = curl.offer(&token, &door).await;
            (curl, outcome)
        });
    }
    let attempts = attempts.join_all().await;
    let (winners, losers): (Vec<_>, Vec<_>) =
        attempts.into_iter().partition(|(_, outcome)| matches!(outcome, Outcome::Issued(_)));
    assert_eq!(winners.len(), 1);
    assert!(losers.iter().all(|(_, outcome)| *outcome == Outcome::Replayed), "everybody else is told 409");
    assert!(matches!(winners[0].0.offer(&token, &door).await, Outcome::Issued(_)), "the same key may come again");
}

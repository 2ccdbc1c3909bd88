//! A stolen token, offered to all replicas at the same moment.

use crate::callers::{csr, now, p256};
use crate::place::Place;
use crate::replica::Replicas;
use lanyard::crypto::{PemLabel, install_providers};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// A client of one replica that keeps its connections; each request brings another key.
#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    fn of(place: &Place) -> Self {
        install_providers();
        let ca = reqwest::Certificate::from_pem(&place.door_ca()).unwrap();
        let http = reqwest::Client::builder().tls_certs_only([ca]).no_proxy().build().unwrap();
        Self { http, url: format!("https://127.0.0.1:{}/v1/svid/x509", place.port) }
    }

    /// The stable code, or none for an identity.
    async fn offer(&self, token: &str, csr: &str) -> Option<String> {
        let answer = self.http.post(&self.url).json(&json!({ "token": token, "csr": csr })).send().await.unwrap();
        let body: Value = answer.json().await.unwrap();
        body["spiffe_id"].is_null().then(|| body["code"].as_str().unwrap().to_owned())
    }
}

async fn race(rounds: usize, keys: usize) {
    let replicas = Replicas::start(3);
    let clients: Vec<_> = replicas.all.iter().map(|replica| Client::of(&replica.place)).collect();
    let csrs: Vec<String> = (0..keys).map(|_| PemLabel::CertificateRequest.armour(&csr(&p256())).to_string()).collect();
    for round in 0..rounds {
        let token = replicas.all[0].place.issuer.token(now());
        let mut offers = JoinSet::new();
        for (number, csr) in csrs.iter().enumerate() {
            let (client, token, csr) = (clients[number % clients.len()].clone(), token.clone(), csr.clone());
            offers.spawn(async move { client.offer(&token, &csr).await });
        }
        let outcomes = offers.join_all().await;
        let (winners, losers): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Option::is_none);
        assert_eq!(winners.len(), 1, "round {round}");
        assert!(losers.iter().flatten().all(|code| code == "token_replayed"), "round {round}: {losers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_token_at_three_replicas_with_many_keys_buys_one_identity() {
    race(100, 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a quarter of an hour: tests/run --all"]
async fn one_token_at_three_replicas_with_300_keys_buys_one_identity_each_time() {
    race(1000, 300).await;
}

//! The client for Vault, against a Vault that answers as a script says.

use crate::support::https::Trouble;
use crate::support::vault::{Engine, ScriptedVault, data, done, error};
use lanyard::clock::{Clock, ManualClock, SystemClock};
use lanyard::telemetry::{Shutdown, chain};
use lanyard::vault::{Vault, VaultAuth, VaultError, VaultSettings};
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

/// Holds one thing.
struct Thing;

impl Engine for Thing {
    fn answer(&self, verb: &str, path: &str, body: &Value) -> (u16, Value) {
        match (verb, path) {
            ("GET", "thing") => data(&json!({ "is": "there" })),
            ("POST", "thing") => data(body),
            ("POST", "quiet") | ("DELETE", "thing") => done(),
            ("LIST", "things") => data(&json!({ "keys": ["one", "two"] })),
            _ => error(404, ""),
        }
    }
}

async fn vault() -> ScriptedVault {
    ScriptedVault::with(vec![("kv", Arc::new(Thing))]).await
}

fn client(settings: VaultSettings) -> Vault {
    Vault::new(settings, Arc::new(SystemClock)).unwrap()
}

async fn thing(client: &Vault) -> Result<Value, VaultError> {
    client.read::<Value>("kv/thing").await.map(|reply| reply.data)
}

#[tokio::test]
async fn what_is_asked_is_answered_by_every_way_in() {
    let vault = vault().await;
    for auth in [VaultAuth::TokenFile(vault.file("token")), vault.approle(), vault.kubernetes()] {
        let settings = VaultSettings { namespace: Some("team/ci".to_owned()), ..vault.settings_by(auth) };
        let client = client(settings);
        assert_eq!(thing(&client).await.unwrap(), json!({ "is": "there" }));
        let sent = json!({ "a": 1 });
        assert_eq!(client.write::<Value>("kv/thing", &sent).await.unwrap().data, sent);
        client.tell("kv/quiet", &sent).await.unwrap();
        client.delete("kv/thing").await.unwrap();
        assert_eq!(client.list("kv/things").await.unwrap(), ["one", "two"]);
        assert_eq!(client.list("kv/nothing").await.unwrap(), [""; 0]);
        let asked = vault.asked();
        assert!(asked.iter().all(|one| one.ends_with(" in team/ci")), "{asked:?}");
        assert!(asked.iter().filter(|one| one.contains("login")).count() <= 1, "one login serves them all: {asked:?}");
    }
}

#[tokio::test]
async fn a_token_is_got_anew_after_two_thirds_of_its_life_and_when_it_was_taken_back() {
    let vault = vault().await;
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let client = Vault::new(vault.settings_by(vault.approle()), Arc::<ManualClock>::clone(&clock)).unwrap();
    let logins = || vault.asked().iter().filter(|one| one.contains("login")).count();
    for (seconds, wanted) in [(0, 1), (39, 0), (1, 1), (20, 0)] {
        clock.advance(Duration::from_secs(seconds));
        thing(&client).await.unwrap();
        assert_eq!(logins(), wanted, "after {seconds} seconds more");
    }
    vault.revoke_tokens();
    thing(&client).await.unwrap();
    assert_eq!(logins(), 1, "a login replaces what was taken back");
    vault.deny("kv/");
    let denied = thing(&client).await.unwrap_err();
    assert!(matches!(denied, VaultError::Denied { .. }), "{denied:?}");
    assert_eq!(logins(), 1, "no second attempt after that");
}

#[tokio::test]
async fn a_token_in_a_file_is_renewed_for_as_long_as_we_run() {
    let vault = vault().await;
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let client = Arc::new(Vault::new(vault.settings(), Arc::<ManualClock>::clone(&clock)).unwrap());
    let (trigger, shutdown) = Shutdown::pair();
    let running = tokio::spawn(client.run(shutdown));
    let renewed = async |times: usize| {
        let mut asked = Vec::new();
        while asked.len() < times {
            asked.extend(vault.asked().into_iter().filter(|one| one.contains("renew-self")));
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), renewed(1)).await.unwrap();
    let mut wanted = tokio::time::timeout(Duration::from_millis(20), renewed(1)).await;
    assert!(wanted.is_err(), "not before its time");
    while wanted.is_err() {
        clock.advance(Duration::from_secs(2400));
        wanted = tokio::time::timeout(Duration::from_secs(1), renewed(1)).await;
    }
    trigger.pull();
    running.await.unwrap();
}

#[tokio::test]
async fn each_way_to_fail_is_told_in_vault_s_words_and_says_what_to_do() {
    let vault = vault().await;
    let client = client(vault.settings());
    let json = |status, said: &str| Trouble::Answer(status, vec![], json!({ "errors": [said] }).to_string().into());
    let huge = format!("{{\"data\":\"{}\"}}", "x".repeat(300 << 10));
    for (trouble, wanted) in [
        (json(503, "Vault is sealed"), "its operators must unseal it"),
        (json(400, "unsupported path"), "400 Bad Request: unsupported path"),
        (
            json(403, "1 error occurred:\n\t* permission denied\n\n"),
            "(1 error occurred: * permission denied): a policy",
        ),
        (json(404, ""), "is the mount right"),
        (Trouble::Answer(307, vec![("location", "https://127.0.0.1:1/")], vec![]), "the address of the active node"),
        (Trouble::Answer(200, vec![], b"<html>welcome</html>".to_vec()), "did not answer as Vault does"),
        (Trouble::Answer(200, vec![], b"{\"data\":null}".to_vec()), "it has no data"),
        (Trouble::Answer(500, vec![], b"oops".to_vec()), "500 Internal Server Error: without a reason"),
        (Trouble::Answer(200, vec![], huge.into_bytes()), "has more than 262144 bytes"),
    ] {
        vault.trouble("kv/thing", [trouble]);
        let told = chain(&thing(&client).await.unwrap_err());
        assert!(told.contains(wanted), "{told}");
    }
    assert!(thing(&client).await.is_ok(), "no trouble lasts");
}

#[tokio::test]
async fn a_vault_that_is_too_busy_is_asked_again_and_not_for_ever() {
    let vault = vault().await;
    let client = client(vault.settings());
    let busy = |status| Trouble::Answer(status, vec![("retry-after", "0")], b"{\"errors\":[\"busy\"]}".to_vec());
    vault.trouble("kv/thing", [busy(429), busy(503)]);
    assert!(thing(&client).await.is_ok());
    assert_eq!(vault.asked().len(), 3);
    vault.trouble("kv/thing", [busy(429), busy(502), busy(504), busy(500)]);
    assert!(thing(&client).await.is_err());
    assert_eq!(vault.asked().len(), 3);
}

#[tokio::test]
async fn a_vault_that_is_silent_gone_or_somebody_else_s_holds_nobody_up() {
    let vault = vault().await;
    vault.trouble("kv/thing", [Trouble::Silence]);
    let silent = chain(&thing(&client(vault.settings())).await.unwrap_err());
    assert!(silent.contains("timed out"), "{silent}");
    let other = self::vault().await;
    let foreign = VaultSettings { ca_pem: other.settings().ca_pem, ..vault.settings() };
    let foreign = chain(&thing(&client(foreign)).await.unwrap_err());
    assert!(foreign.contains("UnknownIssuer"), "{foreign}");
    fs::remove_file(vault.file("token")).unwrap();
    let tokenless = chain(&thing(&client(vault.settings())).await.unwrap_err());
    assert!(tokenless.contains("token cannot be read"), "{tokenless}");
}

//! Keys in a Vault, as an operator moves them there, sees them, and cleans up.

use super::doors::Doors;
use super::operators::{lanyard, told};
use crate::support::harness::{Harness, POLICY};
use crate::support::vault::transit::Transit;
use crate::support::vault::{Engine, ScriptedVault};
use ::lanyard::crypto::Random;
use ::lanyard::custody::Label;
use ::lanyard::identity::TrustDomain;
use serde_json::json;
use std::sync::Arc;
use tokio::process::Command;

/// A Vault with a transit engine, and the settings that send roots there.
async fn vault() -> (ScriptedVault, Arc<Transit>, String) {
    let engine = Arc::new(Transit::default());
    let mounted: Arc<dyn Engine> = Arc::<Transit>::clone(&engine);
    let vault = ScriptedVault::with(vec![("transit", mounted)]).await;
    let place = "[keys]\nroot_place = \"vault\"\n[[keys.place]]\nname = \"vault\"\nin = \"vault-transit\"\n";
    let settings = format!("{place}{}", vault.section());
    (vault, engine, settings)
}

#[tokio::test]
async fn a_root_is_moved_into_a_vault_and_what_is_left_there_is_cleaned_up_by_commands() {
    let (vault, engine, settings) = vault().await;
    let doors = Doors::whose_issuer_says(&settings, POLICY).await;
    let keys = told(&doors, &["authority", "list"]).await["keys"].clone();
    assert_eq!(keys[0]["place"], "vault", "{keys}");
    assert!(keys.as_array().unwrap().iter().skip(1).all(|key| key["place"].is_null()), "{keys}");

    vault.deny("transit/sign");
    let (code, _, said) = lanyard(&doors, &["authority", "prepare"]).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("a policy of our token must allow it"), "{said}");
    let (code, table, _) = lanyard(&doors, &["authority", "list", "--orphans"]).await;
    assert!(code == 0 && table.contains("begun, and not taken yet"), "{table}");
    vault.allow_all();
    let prepared = told(&doors, &["authority", "prepare"]).await["key_id"].clone();
    assert_eq!(engine.names().len(), 2, "what was begun is finished");
    assert_eq!(told(&doors, &["authority", "list", "--orphans"]).await, json!({ "orphans": [], "silent": [] }));

    // Revoked where it cannot be deleted: it is known, and deleted by order.
    vault.deny("transit/keys");
    told(&doors, &["authority", "revoke", prepared.as_str().unwrap()]).await;
    let silent = told(&doors, &["authority", "list", "--orphans"]).await;
    assert!(silent["silent"][0].as_str().unwrap().contains("is denied"), "{silent}");
    vault.allow_all();
    let orphans = told(&doors, &["authority", "list", "--orphans"]).await["orphans"].clone();
    assert_eq!((&orphans[0]["known"]["why"], &orphans[0]["is_there"]), (&json!("given-up"), &json!(true)), "{orphans}");
    let label = orphans[0]["label"].as_str().unwrap();
    let (code, _, said) = lanyard(&doors, &["authority", "prepare", "--adopt", label]).await;
    assert!(code == 1 && said.contains("was revoked"), "{said}");
    let (code, printed, _) = lanyard(&doors, &["authority", "revoke", "--orphan", label, "--reason", "a drill"]).await;
    assert!(code == 0 && printed.contains("deleted: "), "{printed}");
    assert_eq!(engine.names().len(), 1);

    let strange = Label::new(&TrustDomain::parse("ci.example.org").unwrap(), "x509-root", 7, &Random::system());
    for wrong in [strange.as_str(), "lanyard.other.example.x509-root.1.00000000", "nobody-s"] {
        let (code, _, said) = lanyard(&doors, &["authority", "revoke", "--orphan", wrong]).await;
        assert_eq!(code, 1, "{wrong}: {said}");
    }
}

/// Every command of the manual's chapter is one, and its settings are.
#[tokio::test]
async fn the_manual_s_chapter_on_where_keys_live_is_what_one_can_write_and_type() {
    let chapter = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations/custody.md"));
    let (vault, _engine, _settings) = vault().await;
    let shown = chapter.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    // What is of the reader's own machine.
    let file = |name: &str| vault.file(name).display().to_string();
    let shown = [
        ("root_place = \"hsm\"", "root_place = \"vault\"".to_owned()),
        ("/usr/lib/softhsm/libsofthsm2.so", file("ca.pem")),
        ("hsm.pin", file("token")),
        ("https://vault.corp.example:8200", vault.address()),
        ("vault-ca.pem", file("ca.pem")),
        ("vault.token", file("token")),
    ]
    .into_iter()
    .fold(shown.to_owned(), |shown, (there, here)| {
        assert!(shown.contains(there), "{there}");
        shown.replace(there, &here)
    });
    let harness = Harness::whose_issuer_says(shown.leak(), POLICY, "memory").await;
    drop(harness);

    let program = std::path::Path::new(env!("CARGO_BIN_EXE_lanyard")).parent().unwrap().display();
    let commands: Vec<_> = chapter.lines().filter(|line| line.starts_with("lanyard authority ")).collect();
    assert!(commands.len() >= 3, "{commands:?}");
    for command in commands {
        let script = format!("PATH={program}:$PATH; {command}");
        let output = Command::new("sh").args(["-c", &script]).env("LANYARD_ADMIN_SOCKET", "/nowhere").output();
        assert_eq!(output.await.unwrap().status.code(), Some(3), "{command}: not understood, rather than nobody there");
    }
}

#[tokio::test]
async fn a_root_in_a_vault_signs_a_revocation_list_when_it_is_due_and_the_last_one_serves_while_it_is_away() {
    let (vault, _engine, settings) = vault().await;
    let mut harness = Harness::whose_issuer_says(format!("{settings}[crl]\n").leak(), POLICY, "memory").await;
    let mut crls = harness.parts.crls.take().unwrap();
    let watch = crls.watch();
    let set = || watch.borrow().clone().unwrap();
    let asked = || vault.asked().iter().filter(|one| one.contains("/sign/")).count();

    crls.turn(harness.now()).await.unwrap();
    let first = set();
    assert_eq!((first.lists.len(), asked() > 0), (2, true), "the root's and the intermediate's");
    harness.advance(3600);
    crls.turn(harness.now()).await.unwrap();
    let second = set();
    assert_eq!((second.lists.len(), asked()), (2, 0), "it says nothing new");
    assert!(second.number > first.number && second.next_update == first.next_update);

    vault.deny("transit/sign");
    harness.advance(6 * 3600);
    let due_at = crls.turn(harness.now()).await.unwrap();
    assert!(
        (set().next_update == first.next_update) && (asked() > 0),
        "it is a quarter over, and nobody signs another"
    );
    assert!(due_at < first.next_update, "the next attempt comes in time");
    harness.advance(15 * 3600);
    let said = crls.turn(harness.now()).await.unwrap_err();
    assert!(::lanyard::telemetry::chain(&said).contains("is denied"), "near its end it is said aloud: {said:?}");
    vault.allow_all();
    crls.turn(harness.now()).await.unwrap();
    assert!(set().next_update > first.next_update);
}

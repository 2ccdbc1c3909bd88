//! Roots in a Vault's transit engine: kept, used, and refused where something is odd.

use crate::ca::{begin, domain, intermediate, judge, obey, order, outlook, refused};
use crate::support::https::Trouble;
use crate::support::vault::transit::Transit;
use crate::support::vault::{Engine, ScriptedVault};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lanyard::authority::OrderKind;
use lanyard::clock::SystemClock;
use lanyard::crypto::{KeyAlgorithm, KeyPair, Random};
use lanyard::custody::{Label, PlaceKind, PlaceSettings, Places, PlacesSettings};
use lanyard::telemetry::chain;
use lanyard::vault::Vault;
use serde_json::{Value, json};
use std::sync::Arc;
use tempfile::TempDir;

/// A Vault with an engine, a folder, and the places of which it is the one for roots.
async fn scene() -> (ScriptedVault, Arc<Transit>, TempDir, Places) {
    let engine = Arc::new(Transit::default());
    let mounted: Arc<dyn Engine> = Arc::<Transit>::clone(&engine);
    let vault = ScriptedVault::with(vec![("ci/transit", mounted)]).await;
    let client = Arc::new(Vault::new(vault.settings_by(vault.approle()), Arc::new(SystemClock)).unwrap());
    let kind = PlaceKind::VaultTransit { mount: "ci/transit".to_owned() };
    let places = vec![PlaceSettings { name: "vault".to_owned(), kind }];
    let places = Places::new(&PlacesSettings { root: Some("vault".to_owned()), places }, Some(&client));
    (vault, engine, TempDir::new().unwrap(), places)
}

#[tokio::test]
async fn a_root_lives_in_a_vault_signs_there_and_is_deleted_there() {
    let (vault, engine, folder, places) = scene().await;
    let mut rotator = begin(folder.path(), &places).await.unwrap();
    judge(folder.path());
    let made = vault.asked().into_iter().find(|one| one.starts_with("POST ci/transit/keys/")).unwrap();
    assert!(made.contains("lanyard.ci.example.org.x509-root.1."), "{made}");

    // Whoever rotates the key in Vault changes nothing: it is the first version that the certificate names.
    engine.rotate_all();
    intermediate(&mut rotator).await.unwrap();
    judge(folder.path());
    let prepared = obey(&mut rotator, OrderKind::Prepare).await.unwrap().key_id;
    assert_eq!(engine.names().len(), 2);
    obey(&mut rotator, OrderKind::Activate(None)).await.unwrap();
    judge(folder.path());
    let first = outlook(&rotator).first().unwrap().0;
    assert_ne!(first, prepared);
    obey(&mut rotator, OrderKind::Revoke(first)).await.unwrap();
    assert_eq!(engine.names().len(), 1);
    drop(rotator);
    assert!(begin(folder.path(), &places).await.is_ok(), "and is found again after a restart");
}

#[tokio::test]
async fn a_signature_that_is_not_the_key_s_is_never_used() {
    let (vault, engine, folder, places) = scene().await;
    let mut rotator = begin(folder.path(), &places).await.unwrap();
    let other = KeyPair::generate(KeyAlgorithm::EcP256).unwrap().sign(b"something").unwrap();
    let signature = |version: &str, bytes: &[u8]| {
        let text = format!("{version}{}", STANDARD.encode(bytes));
        Trouble::Answer(200, vec![], json!({ "data": { "signature": text } }).to_string().into())
    };
    for trouble in [
        signature("vault:v1:", &other),
        signature("vault:v2:", &other),
        signature("vault:v1:", &[0x30, 6, 2, 1, 1, 2, 1, 1]),
        signature("vault:v1:", &[]),
        signature("vault:v1:", &[7; 64]),
        signature("", &other),
    ] {
        vault.trouble("/sign/", [trouble]);
        let said = refused(&mut rotator).await;
        assert!(said.contains("of no use") && said.contains("does not verify"), "{said}");
    }
    let huge = Trouble::Answer(200, vec![], vec![b' '; 300 << 10]);
    for (trouble, wanted) in [
        (Trouble::Answer(503, vec![], b"{\"errors\":[\"Vault is sealed\"]}".to_vec()), "must unseal it"),
        (Trouble::Answer(403, vec![], b"{\"errors\":[\"permission denied\"]}".to_vec()), ""),
        (Trouble::Answer(400, vec![], b"{\"errors\":[\"signing key not found\"]}".to_vec()), "signing key not found"),
        (huge, "has more than"),
    ] {
        vault.trouble("/sign/", [trouble]);
        // Denied once is a token that was taken back, and another is got.
        if wanted.is_empty() {
            intermediate(&mut rotator).await.unwrap();
        } else {
            let said = refused(&mut rotator).await;
            assert!(said.contains(wanted), "{said}");
        }
    }
    vault.deny("ci/transit/sign/");
    let said = refused(&mut rotator).await;
    assert!(said.contains("is denied") && said.contains("policy of our token must allow it"), "{said}");
    vault.allow_all();
    engine.rotate_all();
    intermediate(&mut rotator).await.unwrap();
    judge(folder.path());
}

#[tokio::test]
async fn a_key_that_could_leave_the_vault_or_is_of_another_kind_is_not_taken() {
    let (_vault, engine, folder, places) = scene().await;
    let mut rotator = begin(folder.path(), &places).await.unwrap();
    for (name, odd, right, wanted) in [
        ("exportable", json!(true), json!(false), "can leave it (exportable)"),
        ("allow_plaintext_backup", json!(true), json!(false), "can leave it (allow_plaintext_backup)"),
        ("imported_key", json!(true), json!(false), "can leave it (it was imported)"),
        ("type", json!("rsa-2048"), json!("ecdsa-p256"), "is rsa-2048, not an ECDSA key on P-256"),
    ] {
        let strange = Label::new(&domain(), "x509-root", 9, &Random::system());
        drop(places.make("vault", &strange).await.unwrap());
        engine.tell_of_all(name, &odd);
        let said = rotator.adopt(&order(OrderKind::Prepare), &strange, lanyard::clock::Clock::now(&SystemClock)).await;
        let said = chain(&said.unwrap_err());
        assert!(said.contains(wanted), "{said}");
        engine.tell_of_all(name, &right);
    }
    let kinds: Vec<Value> = engine.names().into_iter().map(Value::from).collect();
    assert_eq!(kinds.len(), 5, "none of them is deleted by itself");
}

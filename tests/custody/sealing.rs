//! The sealing key wrapped by a place: opened there at each start, refused where the place is away, wrong or another.

use crate::ca::domain;
use crate::support::https::Trouble;
use crate::support::vault::transit::Transit;
use crate::support::vault::{Engine, ScriptedVault};
use crate::tokens::{PIN, Tokens};
use cryptoki::context::Pkcs11;
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use lanyard::authority::SealingSettings;
use lanyard::clock::SystemClock;
use lanyard::crypto::{Sealing, SealingKeyName};
use lanyard::custody::{PlaceKind, PlaceSettings, Places, PlacesSettings};
use lanyard::telemetry::chain;
use lanyard::vault::Vault;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// A place of that name, alone.
fn only(name: &str, kind: PlaceKind, vault: Option<&Arc<Vault>>) -> Places {
    let places = vec![PlaceSettings { name: name.to_owned(), kind }];
    Places::new(&PlacesSettings { root: None, places }, vault)
}

async fn vault() -> (ScriptedVault, Arc<Transit>, Places) {
    let engine = Arc::new(Transit::default());
    let mounted: Arc<dyn Engine> = Arc::<Transit>::clone(&engine);
    let vault = ScriptedVault::with(vec![("ci/transit", mounted)]).await;
    let client = Arc::new(Vault::new(vault.settings(), Arc::new(SystemClock)).unwrap());
    let places = only("vault", PlaceKind::VaultTransit { mount: "ci/transit".to_owned() }, Some(&client));
    (vault, engine, places)
}

fn wrapped_by(place: &str, folder: &Path) -> SealingSettings {
    SealingSettings { place: Some(place.to_owned()), ..SealingSettings::at(folder.join("sealing.wrapped")) }
}

/// As a first start does.
async fn made(settings: &SealingSettings, places: &Places) -> Result<Sealing, String> {
    let keyring = settings.file.with_file_name("keyring.json");
    settings.open_or_make(places, (&keyring, &domain())).await.map_err(|fault| chain(&fault))
}

async fn opened(settings: &SealingSettings, places: &Places) -> Result<SealingKeyName, String> {
    settings.open(places).await.map(|sealing| sealing.name()).map_err(|fault| chain(&fault))
}

#[tokio::test]
async fn a_vault_wraps_the_sealing_key_and_opens_it_at_each_start_whatever_is_rotated_there() {
    let (vault, engine, places) = vault().await;
    let folder = TempDir::new().unwrap();
    let settings = wrapped_by("vault", folder.path());
    let name = made(&settings, &places).await.unwrap().name();
    assert_eq!(engine.names(), ["lanyard.ci.example.org.sealing"]);
    let (ours, silent) = places.list(&domain()).await;
    assert!(ours.is_empty() && silent.is_empty(), "nobody's orphan, which a command would delete: {ours:?}");
    assert_eq!(opened(&settings, &places).await.unwrap(), name);
    engine.rotate_all();
    assert_eq!(opened(&settings, &places).await.unwrap(), name);

    // Another sealing key under the same wrapping key leaves none behind.
    fs::rename(&settings.file, folder.path().join("former.wrapped")).unwrap();
    let other = made(&settings, &places).await.unwrap();
    assert_ne!(other.name(), name);
    assert_eq!(engine.names().len(), 1);
    let former = SealingSettings { former: Some(folder.path().join("former.wrapped")), ..settings.clone() };
    assert!(former.open(&places).await.unwrap().has(name), "the former one is opened there, too");
    drop(vault);
}

#[tokio::test]
async fn a_vault_that_is_away_denies_or_is_another_is_told_and_nothing_is_lost() {
    let (vault, engine, places) = vault().await;
    let folder = TempDir::new().unwrap();
    let settings = wrapped_by("vault", folder.path());
    let name = made(&settings, &places).await.unwrap().name();
    let kept = fs::read(&settings.file).unwrap();
    let answer = |status, text: &str| Trouble::Answer(status, vec![], text.as_bytes().to_vec());
    let another = json!({ "data": { "plaintext": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=" } }).to_string();
    for (trouble, wanted) in [
        (answer(503, "{\"errors\":[\"Vault is sealed\"]}"), "must unseal it"),
        (answer(400, "{\"errors\":[\"cipher: message authentication failed\"]}"), "message authentication failed"),
        (answer(200, &another), "gave another key than the one that"),
        (answer(200, "{\"data\":{\"plaintext\":\"AQEB\"}}"), "gave another key than the one that"),
        (answer(200, "{\"data\":{\"plaintext\":\"?\"}}"), "it gave something that is of no use"),
    ] {
        vault.trouble("/decrypt/", [trouble]);
        let said = opened(&settings, &places).await.unwrap_err();
        assert!(said.contains(wanted) && said.contains("sealing.wrapped"), "{said}");
    }
    vault.deny("ci/transit/decrypt/");
    let said = opened(&settings, &places).await.unwrap_err();
    assert!(
        said.contains("nothing is changed or lost: mend that, and start again") && said.contains("is denied"),
        "{said}"
    );
    vault.allow_all();

    let said = opened(&settings, &Places::default()).await.unwrap_err();
    assert!(said.contains("write [[keys.place]] for it again"), "{said}");
    let in_the_clear = SealingSettings::at(settings.file.clone());
    let said = opened(&in_the_clear, &places).await.unwrap_err();
    assert!(said.contains("is wrapped by \"vault\", and [keys] says in the clear"), "{said}");
    for (odd, wanted) in
        [("{}", "does not say how"), ("{\"v\":2}", "written by a newer lanyard"), ("short", "is not usable")]
    {
        fs::write(&settings.file, odd).unwrap();
        let said = opened(&settings, &places).await.unwrap_err();
        assert!(said.contains(wanted), "{said}");
    }
    let mut changed: Value = serde_json::from_slice(&kept).unwrap();
    changed["label"] = "lanyard.other.example.sealing".into();
    fs::write(&settings.file, changed.to_string()).unwrap();
    assert!(opened(&settings, &places).await.unwrap_err().contains("encryption key not found"));
    fs::write(&settings.file, &kept).unwrap();
    assert_eq!(opened(&settings, &places).await.unwrap(), name, "and is there again when it is mended");
    assert_eq!(engine.names().len(), 1);
}

#[tokio::test]
async fn no_sealing_key_is_used_that_its_place_could_not_open_again_or_could_give_away() {
    let (vault, engine, places) = vault().await;
    let folder = TempDir::new().unwrap();
    let settings = wrapped_by("vault", folder.path());
    let ciphertext = |text: &str| {
        let body = json!({ "data": { "ciphertext": text } }).to_string();
        Trouble::Answer(200, vec![], body.into_bytes())
    };
    for (path, trouble) in [
        ("/encrypt/", ciphertext("vault:v1:AAAA")),
        ("/encrypt/", Trouble::Answer(500, vec![], b"{\"errors\":[\"no room\"]}".to_vec())),
        ("/decrypt/", Trouble::Answer(400, vec![], b"{\"errors\":[\"no\"]}".to_vec())),
    ] {
        vault.trouble(path, [trouble]);
        assert!(made(&settings, &places).await.is_err());
        assert!(!settings.file.exists(), "a key that may not be opened again was kept");
    }
    for (name, odd, right) in
        [("exportable", json!(true), json!(false)), ("type", json!("rsa-2048"), json!("aes256-gcm96"))]
    {
        engine.tell_of_all(name, &odd);
        let said = made(&settings, &places).await.unwrap_err();
        assert!(said.contains("can leave it (exportable)") || said.contains("not an AES key of 256 bits"), "{said}");
        engine.tell_of_all(name, &right);
    }
    made(&settings, &places).await.unwrap();
}

#[tokio::test]
async fn a_token_wraps_the_sealing_key_and_shows_nobody_what_by() {
    let Some(tokens) = Tokens::apart("sealing::a_token_wraps_the_sealing_key_and_shows_nobody_what_by") else { return };
    tokens.initialise("lanyard");
    let (module, pin_file) = (Tokens::module().to_owned(), tokens.pin_file(PIN));
    let places = only("hsm", PlaceKind::Pkcs11 { module, token: "lanyard".to_owned(), pin_file }, None);
    let folder = TempDir::new().unwrap();
    let settings = wrapped_by("hsm", folder.path());
    let name = made(&settings, &places).await.unwrap().name();
    assert_eq!(opened(&settings, &places).await.unwrap(), name);
    shows_nothing();
    fs::remove_file(&settings.file).unwrap();
    let other = made(&settings, &places).await.unwrap().name();
    assert_ne!(other, name);
    shows_nothing();

    let kept = fs::read(&settings.file).unwrap();
    let mut changed: Value = serde_json::from_slice(&kept).unwrap();
    changed["ciphertext"] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into();
    fs::write(&settings.file, changed.to_string()).unwrap();
    assert!(opened(&settings, &places).await.unwrap_err().contains("did not do it"));
    fs::write(&settings.file, &kept).unwrap();

    tokens.unplug();
    assert!(opened(&settings, &places).await.unwrap_err().contains("no token is called \"lanyard\""));
    tokens.initialise("lanyard");
    let said = opened(&settings, &places).await.unwrap_err();
    assert!(said.contains("there is no key lanyard.ci.example.org.sealing"), "{said}");
    tokens.plug_in();
    assert_eq!(opened(&settings, &places).await.unwrap(), other);
}

/// One AES key, and its value is given to nobody who knows the PIN.
fn shows_nothing() {
    let context = Pkcs11::new(Tokens::module()).unwrap();
    let slot = context.get_slots_with_initialized_token().unwrap().into_iter().next().unwrap();
    let session = context.open_ro_session(slot).unwrap();
    drop(session.login(UserType::User, Some(&AuthPin::new(PIN.into()))));
    let keys = session.find_objects(&[Attribute::Class(ObjectClass::SECRET_KEY)]).unwrap();
    assert_eq!(keys.len(), 1);
    for key in keys {
        assert!(session.get_attributes(key, &[AttributeType::Value]).unwrap().is_empty(), "a wrapping key was shown");
        let told = session.get_attributes(key, &[AttributeType::Sensitive, AttributeType::NeverExtractable]).unwrap();
        assert_eq!(told, [Attribute::Sensitive(true), Attribute::NeverExtractable(true)]);
    }
}

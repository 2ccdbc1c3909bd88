//! What the keys' file holds after a crash, an erasure, a restored backup; and what opens what.

use super::{Form, Keeping, People, PeopleError, Sealed};
use crate::crypto::{Sealing, SealingKey};
use crate::identity::TrustDomain;
use crate::token::tests::claims_of;
use crate::token::{Claims, IssuerName};
use serde_json::json;
use std::borrow::Cow;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn sealing() -> Sealing {
    SealingKey::from_bytes(&[7; 32]).unwrap().into()
}

fn domain() -> TrustDomain {
    TrustDomain::parse("ci.example.org").unwrap()
}

fn path(folder: &TempDir) -> PathBuf {
    folder.path().join(People::FILE)
}

fn open(file: &Path) -> Result<People, PeopleError> {
    People::open(file.to_owned(), sealing(), (Form::Sealed, &domain()))
}

/// The claims of a job that this user started.
fn of_user(id: u64) -> Claims {
    let changes = [
        ("user_id".to_owned(), json!(id.to_string())),
        ("user_login".to_owned(), json!(format!("login-{id}"))),
        ("user_email".to_owned(), json!(format!("{id}@corp.example"))),
    ];
    claims_of("deploy_production_protected", &changes).unwrap().claims().clone()
}

async fn kept(people: &People, claims: &Claims) -> (Claims, Sealed) {
    let mut kept = Cow::Borrowed(claims);
    let sealed = people.keeping(claims).await.unwrap().take(&mut kept).unwrap();
    (kept.into_owned(), sealed)
}

fn opens(people: &People, sealed: &Sealed) -> bool {
    people.open_sealed(sealed).is_some()
}

#[tokio::test]
async fn claims_come_back_whole_with_the_person_s_key_and_tell_of_nobody_without() {
    let folder = TempDir::new().unwrap();
    let people = open(&path(&folder)).unwrap();
    let (ada, bob) = (of_user(51), of_user(52));
    let (mut open_part, sealed) = kept(&people, &ada).await;
    let written = serde_json::to_string(&(&open_part, &sealed)).unwrap();
    for told in ["login-51", "51@corp", "\"user_id\"", &ada.subject] {
        assert!(!written.contains(told), "{told} stands in {written}");
    }
    assert_eq!(open_part.project_path, ada.project_path);
    let (_, of_bob) = kept(&people, &bob).await;
    assert_ne!(sealed.name, of_bob.name);
    assert!(people.put_back(&mut open_part, Some(&sealed)));
    assert_eq!(open_part, ada);
    let swapped: Sealed =
        serde_json::from_value(json!({ "name": of_bob.name, "sealed": json!(sealed)["sealed"] })).unwrap();
    assert!(!opens(&people, &swapped), "under another's name");
    let again = kept(&people, &ada).await.1;
    assert_eq!((again.name, again == sealed), (sealed.name, false), "one key, another nonce");
}

#[tokio::test]
async fn keys_outlive_a_restart_and_are_for_the_server_only() {
    let folder = TempDir::new().unwrap();
    let (file, claims) = (path(&folder), of_user(51));
    let people = open(&file).unwrap();
    assert!(file.exists(), "with nobody in it: where it is gone, that is noticed");
    let (_, sealed) = kept(&people, &claims).await;
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains("51\"") && !text.contains("corp"), "{text}");
    let again = open(&file).unwrap();
    assert!(opens(&again, &sealed));
    assert_eq!(kept(&again, &claims).await.1.name, sealed.name);
    assert!(opens(&People::read(&file, &sealing()).unwrap(), &sealed));
    assert!(!opens(&People::default(), &sealed));

    let other = SealingKey::from_bytes(&[8; 32]).unwrap().into();
    assert!(matches!(People::read(&file, &other), Err(PeopleError::Line { line: 2, .. })));
    let elsewhere = TrustDomain::parse("other.example").unwrap();
    let refused = People::open(file, sealing(), (Form::Sealed, &elsewhere)).unwrap_err();
    assert!(matches!(refused, PeopleError::TrustDomain { .. }), "{refused}");
}

#[tokio::test]
async fn what_a_former_key_sealed_is_sealed_anew_at_the_next_start() {
    let folder = TempDir::new().unwrap();
    let (file, claims) = (path(&folder), of_user(51));
    let (_, sealed) = kept(&open(&file).unwrap(), &claims).await;
    let former = || SealingKey::from_bytes(&[7; 32]).unwrap();
    let new = || Sealing::from(SealingKey::from_bytes(&[8; 32]).unwrap());
    let before = fs::read(&file).unwrap();
    assert!(opens(&People::read(&file, &new().after(former())).unwrap(), &sealed));
    assert_eq!(fs::read(&file).unwrap(), before, "a reader changes nothing");
    let server = |sealing| People::open(file.clone(), sealing, (Form::Sealed, &domain()));
    assert!(opens(&server(new().after(former())).unwrap(), &sealed));
    assert!(opens(&server(new()).unwrap(), &sealed), "without the former key");
    assert!(matches!(server(former().into()), Err(PeopleError::Line { line: 2, .. })));
    let after = fs::read(&file).unwrap();
    server(new().after(former())).unwrap();
    assert_eq!(fs::read(&file).unwrap(), after, "done once");
}

#[tokio::test]
async fn whoever_is_erased_opens_for_nobody_and_comes_back_as_somebody_else() {
    let folder = TempDir::new().unwrap();
    let (file, ada, bob) = (path(&folder), of_user(51), of_user(52));
    let people = open(&file).unwrap();
    let (sealed, of_bob) = (kept(&people, &ada).await.1, kept(&people, &bob).await.1);
    let corp = ada.issuer.clone();
    assert_eq!(people.name_of(&corp, "51"), Some(sealed.name));
    assert_eq!(people.name_of(&IssuerName("other".into()), "51"), None);
    people.erase(vec![sealed.name]).await.unwrap();
    people.erase(vec![sealed.name]).await.unwrap();
    for after in [people.clone(), open(&file).unwrap()] {
        assert_eq!((opens(&after, &sealed), opens(&after, &of_bob)), (false, true));
        assert_eq!(after.name_of(&corp, "51"), None);
    }
    let back = kept(&people, &ada).await.1;
    assert_ne!(back.name, sealed.name);
    assert!(opens(&open(&file).unwrap(), &back));
}

#[tokio::test]
async fn a_crash_at_any_byte_costs_only_whom_nobody_was_told_of() {
    let folder = TempDir::new().unwrap();
    let (file, ada, bob) = (path(&folder), of_user(51), of_user(52));
    let people = open(&file).unwrap();
    let sealed = kept(&people, &ada).await.1;
    let before = fs::read(&file).unwrap();
    kept(&people, &bob).await;
    let whole = fs::read(&file).unwrap();
    for cut in before.len()..whole.len() {
        fs::write(&file, &whole[..cut]).unwrap();
        fs::write(file.with_extension("new"), &before).unwrap();
        let after = open(&file).unwrap();
        assert!(opens(&after, &sealed), "cut after {cut} bytes");
        assert_eq!(fs::read(&file).unwrap(), before, "what is torn is taken away");
        assert!(!file.with_extension("new").exists(), "keys would outlive their erasure there");
    }
    let after = open(&file).unwrap();
    let of_bob = kept(&after, &bob).await.1;
    let read = open(&file).unwrap();
    assert!(opens(&read, &of_bob) && opens(&read, &sealed));
    let mut changed = whole.clone();
    changed[before.len() - 9] ^= 1;
    fs::write(&file, &changed).unwrap();
    assert!(matches!(open(&file), Err(PeopleError::Line { line: 2, .. })), "a changed line is no crash");
}

#[tokio::test]
async fn many_new_persons_at_once_have_one_key_each() {
    let folder = TempDir::new().unwrap();
    let file = path(&folder);
    let people = open(&file).unwrap();
    let claims: Vec<_> = (0..40_u64).map(|n| of_user(1 + n % 8)).collect();
    let mut adding = tokio::task::JoinSet::new();
    for claims in claims {
        let people = people.clone();
        adding.spawn(async move { matches!(people.keeping(&claims).await.unwrap(), Keeping::Sealed(_)) });
    }
    assert!(adding.join_all().await.into_iter().all(|sealed| sealed));
    let lines = fs::read_to_string(&file).unwrap().lines().count();
    assert_eq!(lines, 1 + 8, "the first line says whose they are");
    assert!(open(&file).is_ok());
}

#[tokio::test]
async fn in_the_clear_no_key_is_made_and_sealed_ones_of_before_still_open() {
    let folder = TempDir::new().unwrap();
    let (file, claims) = (path(&folder), of_user(51));
    let sealed = kept(&open(&file).unwrap(), &claims).await.1;
    let plain = People::open(file.clone(), sealing(), (Form::Plain, &domain())).unwrap();
    let before = fs::read(&file).unwrap();
    assert!(matches!(plain.keeping(&of_user(52)).await.unwrap(), Keeping::Open));
    assert_eq!(fs::read(&file).unwrap(), before);
    assert!(opens(&plain, &sealed));
}

//! Roots in a token of a security module (SoftHSM): kept, used, not to be had, and missed where the token is away.

use crate::ca::{begin, intermediate, judge, obey, outlook, refused};
use crate::tokens::{PIN, Tokens};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, AttributeInfo, AttributeType, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use lanyard::authority::OrderKind;
use lanyard::custody::{PlaceKind, PlaceSettings, Places, PlacesSettings};
use lanyard::telemetry::chain;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn places(module: &Path, token: &str, pin_file: PathBuf) -> Places {
    let kind = PlaceKind::Pkcs11 { module: module.to_owned(), token: token.to_owned(), pin_file };
    let places = vec![PlaceSettings { name: "hsm".to_owned(), kind }];
    Places::new(&PlacesSettings { root: Some("hsm".to_owned()), places }, None)
}

/// A token that is ready, a folder, and the places.
fn ready(tokens: &Tokens) -> (TempDir, Places) {
    tokens.initialise("lanyard");
    (TempDir::new().unwrap(), places(Tokens::module(), "lanyard", tokens.pin_file(PIN)))
}

#[tokio::test]
async fn a_root_lives_in_a_token_signs_there_and_is_deleted_there() {
    let Some(tokens) = Tokens::apart("softhsm::a_root_lives_in_a_token_signs_there_and_is_deleted_there") else {
        return;
    };
    let (folder, places) = ready(&tokens);
    let mut rotator = begin(folder.path(), &places).await.unwrap();
    judge(folder.path());
    for _often in 0..20 {
        intermediate(&mut rotator).await.unwrap();
        judge(folder.path());
    }
    let first = outlook(&rotator).first().unwrap().0;
    obey(&mut rotator, OrderKind::Prepare).await.unwrap();
    obey(&mut rotator, OrderKind::Activate(None)).await.unwrap();
    judge(folder.path());
    assert_eq!(objects(), 4, "two keys, each of two halves");
    obey(&mut rotator, OrderKind::Revoke(first)).await.unwrap();
    assert_eq!(objects(), 2);
    drop(rotator);
    let mut rotator = begin(folder.path(), &places).await.unwrap();
    intermediate(&mut rotator).await.unwrap();
    judge(folder.path());
}

/// How many there are in the token; none of the private ones gives its value to somebody who knows the PIN.
fn objects() -> usize {
    let context = Pkcs11::new(Tokens::module()).unwrap();
    let slot = context.get_slots_with_initialized_token().unwrap().into_iter().next().unwrap();
    let session = context.open_ro_session(slot).unwrap();
    drop(session.login(UserType::User, Some(&AuthPin::new(PIN.into()))));
    for key in session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap() {
        let told = session.get_attributes(key, &[AttributeType::Value]).unwrap();
        assert!(told.is_empty(), "a private key was shown");
        let info = session.get_attribute_info(key, &[AttributeType::Value]).unwrap();
        assert!(matches!(info.as_slice(), [AttributeInfo::Sensitive]), "{info:?}");
        let wanted = [AttributeType::Sensitive, AttributeType::Extractable, AttributeType::NeverExtractable];
        let told = session.get_attributes(key, &wanted).unwrap();
        assert_eq!(
            told,
            [Attribute::Sensitive(true), Attribute::Extractable(false), Attribute::NeverExtractable(true)]
        );
    }
    session.find_objects(&[]).unwrap().len()
}

#[tokio::test]
async fn what_is_wrong_with_a_token_is_said_and_it_is_used_again_when_it_is_mended() {
    let Some(tokens) =
        Tokens::apart("softhsm::what_is_wrong_with_a_token_is_said_and_it_is_used_again_when_it_is_mended")
    else {
        return;
    };
    let (folder, places) = ready(&tokens);
    let mut rotator = begin(folder.path(), &places).await.unwrap();

    // Somebody in this process ends everything that the module knows of us: the session is opened anew.
    Pkcs11::new(Tokens::module()).unwrap().finalize().unwrap();
    intermediate(&mut rotator).await.unwrap();

    // The PIN is another one now, and is asked for when a session is lost.
    tokens.pin_file("not-the-pin");
    Pkcs11::new(Tokens::module()).unwrap().finalize().unwrap();
    for _time in 0..20 {
        let said = refused(&mut rotator).await;
        assert!(said.contains("the PIN in") && said.contains("not tried again before the file changes"), "{said}");
    }
    tokens.pin_file(PIN);
    intermediate(&mut rotator).await.unwrap();

    tokens.unplug();
    Pkcs11::new(Tokens::module()).unwrap().finalize().unwrap();
    let said = refused(&mut rotator).await;
    assert!(said.contains("no token is called \"lanyard\"; there are: none"), "{said}");
    drop(rotator);
    // A server starts without it all the same, and signs with what it has.
    let mut rotator = begin(folder.path(), &places).await.unwrap();
    assert!(refused(&mut rotator).await.contains("no token is called"));
    tokens.plug_in();
    intermediate(&mut rotator).await.unwrap();
    judge(folder.path());

    // Another token under the same label: the key is gone.
    tokens.unplug();
    tokens.initialise("lanyard");
    Pkcs11::new(Tokens::module()).unwrap().finalize().unwrap();
    let said = refused(&mut rotator).await;
    assert!(said.contains("there is no key lanyard.ci.example.org.x509-root.1."), "{said}");
    drop(rotator);
    let said = chain(&begin(folder.path(), &places).await.unwrap_err());
    assert!(said.contains("cannot find its root"), "{said}");
    tokens.plug_in();
    let mut rotator = begin(folder.path(), &places).await.unwrap();
    intermediate(&mut rotator).await.unwrap();
    judge(folder.path());
}

#[tokio::test]
async fn the_last_try_of_a_pin_is_left_to_a_person_at_a_token_that_counts() {
    let Some(tokens) = Tokens::apart("softhsm::the_last_try_of_a_pin_is_left_to_a_person_at_a_token_that_counts")
    else {
        return;
    };
    tokens.initialise("lanyard");
    let (folder, module) = (TempDir::new().unwrap(), tokens.counting_module());
    let mut rotator = begin(folder.path(), &places(&module, "lanyard", tokens.pin_file(PIN))).await.unwrap();
    let lose_the_session = || Pkcs11::new(&module).unwrap().finalize().unwrap();
    lose_the_session();
    for (pin, wrong, then) in [("not-the-pin", 1, "the PIN in"), ("nor-this-one", 2, "has one try left")] {
        tokens.pin_file(pin);
        assert!(refused(&mut rotator).await.contains("the PIN in"));
        for _time in 0..5 {
            let said = refused(&mut rotator).await;
            assert!(said.contains(then), "{said}");
        }
        assert_eq!(tokens.wrong_pins(), wrong, "each is tried once");
    }
    for pin in ["and-a-third", PIN] {
        tokens.pin_file(pin);
        for _time in 0..5 {
            let said = refused(&mut rotator).await;
            assert!(
                said.contains("has one try left, which is not ours") && said.contains("log in once by hand"),
                "{said}"
            );
        }
        assert_eq!(tokens.wrong_pins(), 2, "right or wrong, it is not tried");
    }
    by_hand(&module, &[PIN]);
    intermediate(&mut rotator).await.unwrap();
    judge(folder.path());

    lose_the_session();
    by_hand(&module, &["1", "2", "3"]);
    let said = refused(&mut rotator).await;
    assert!(said.contains("is locked: its security officer must set it anew"), "{said}");
    assert_eq!(tokens.wrong_pins(), 3);
}

/// Somebody with a tool of the token's tries PINs.
fn by_hand(module: &Path, pins: &[&str]) {
    let context = Pkcs11::new(module).unwrap();
    context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slot = context.get_slots_with_initialized_token().unwrap().into_iter().next().unwrap();
    let session = context.open_rw_session(slot).unwrap();
    for pin in pins {
        assert_eq!(session.login(UserType::User, Some(&AuthPin::new((*pin).into()))).is_ok(), *pin == PIN, "{pin}");
    }
    drop(session);
    context.finalize().unwrap();
}

#[tokio::test]
async fn a_first_start_without_module_or_pin_says_what_is_missing() {
    let Some(tokens) = Tokens::apart("softhsm::a_first_start_without_module_or_pin_says_what_is_missing") else {
        return;
    };
    tokens.initialise("lanyard");
    let pin_file = tokens.pin_file(PIN);
    let missing = folder_of(&pin_file).join("gone");
    for (places, wanted) in [
        (
            places(Path::new("/usr/lib/no-such-module.so"), "lanyard", pin_file.clone()),
            "no-such-module.so cannot be used",
        ),
        (places(Path::new("/dev/null"), "lanyard", pin_file.clone()), "/dev/null cannot be used"),
        (places(Tokens::module(), "lanyard", missing), "the PIN is not to be had"),
        (places(Tokens::module(), "another", pin_file), "no token is called \"another\"; there are: \"lanyard\""),
    ] {
        let folder = TempDir::new().unwrap();
        let said = chain(&begin(folder.path(), &places).await.unwrap_err());
        assert!(said.contains(wanted), "{said}");
    }
}

fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap()
}

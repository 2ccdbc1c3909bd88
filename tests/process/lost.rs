//! What the operations page lists under "When something is lost": each start says what stands there, and changes nothing.

use crate::backups::done;
use crate::callers::{Caller, Door, Outcome, now};
use crate::place::Place;
use crate::server::{Server, lanyard};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

type Loss = (&'static str, fn(&Place), &'static str);

/// What is done to a folder, and what the page says that a start says then; `…` stands for whatever is another each time.
const LOSSES: [Loss; 15] = [
    (
        "no keyring",
        |place| gone(place, "keyring.json"),
        "keyring.json is missing, but this server has a history: restore it from a backup, never start over",
    ),
    (
        "an older keyring",
        |place| put_back(place, "keyring.json"),
        "the keyring is at sequence …, the journal has recorded …: an old file was put back; restore the newest keyring.json",
    ),
    (
        "a changed keyring",
        |place| change(place, "keyring.json", "\"sequence\": 8", "\"sequence\": 10"),
        "it was changed after it was written; restore a backup",
    ),
    ("another trust domain", other_trust_domain, "keyring.json holds the keys of …, the configuration says …"),
    (
        "no sealing key",
        |place| gone(place, "sealing.key"),
        "sealing.key is missing, and the keyring needs it: restore it from a backup",
    ),
    (
        "another sealing key",
        |place| write(place, "sealing.key", &[7; 32]),
        "is sealed under the sealing key …, and here is …: wrong sealing key; put the right one in its place, or name its file as former_sealing_key_file in [keys]",
    ),
    ("half a sealing key", |place| write(place, "sealing.key", &[7; 16]), "sealing.key is not usable"),
    ("an open sealing key", open_the_key, "sealing.key is open to others: chmod 600 it, and think of who has read it"),
    (
        "no journal at all",
        no_journal,
        "the keyring is at sequence …, the journal knows of …: journal records are missing; restore the journal that belongs to this keyring",
    ),
    (
        "the journal's end cut off",
        cut,
        "records that were acknowledged are missing from its end, as … tells; restore the journal",
    ),
    (
        "an older journal",
        |place| put_back(place, "journal"),
        "records that were acknowledged are missing from its end, as … tells; restore the journal",
    ),
    (
        "a changed record",
        |place| change(place, "journal", "\"kind\":\"started\"", "\"kind\":\"starteD\""),
        "the journal cannot be trusted: keep it as it is, restore the last backup, and compare the two",
    ),
    (
        "no data folder",
        |place| fs::rename(place.data(), place.file("elsewhere")).unwrap(),
        "there is no data folder …: mend data_dir, or mount what belongs there",
    ),
    (
        "all but the sealing key",
        |place| {
            fs::rename(place.data(), place.file("away")).unwrap();
            fs::create_dir(place.data()).unwrap();
            fs::set_permissions(place.data(), Permissions::from_mode(0o700)).unwrap();
            fs::copy(place.file("away/sealing.key"), place.data().join("sealing.key")).unwrap();
        },
        "holds a sealing key and nothing that it opens: restore the backup, or mount what belongs there",
    ),
    (
        "half a restore",
        |place| fs::create_dir(place.data().join("restoring")).unwrap(),
        "a restore into … was broken off: run `lanyard backup restore` again",
    ),
];

fn gone(place: &Place, name: &str) {
    fs::remove_file(place.data().join(name)).unwrap();
}

fn write(place: &Place, name: &str, bytes: &[u8]) {
    fs::write(place.data().join(name), bytes).unwrap();
}

/// As it was before the last step.
fn put_back(place: &Place, name: &str) {
    let (from, to) = (place.file("before").join(name), place.data().join(name));
    if from.is_dir() {
        fs::remove_dir_all(&to).unwrap();
        copy(&from, &to);
    } else {
        fs::copy(from, to).unwrap();
    }
}

fn change(place: &Place, name: &str, from: &str, to: &str) {
    let path = if name == "journal" { place.segments().pop().unwrap() } else { place.data().join(name) };
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{name} says no {from}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
    if name == "journal" {
        fs::remove_dir_all(place.data().join("index")).unwrap();
    }
}

fn other_trust_domain(place: &Place) {
    let text = fs::read_to_string(place.config()).unwrap();
    fs::write(place.config(), text.replace("ci.example.org", "ci.elsewhere.example")).unwrap();
}

fn open_the_key(place: &Place) {
    fs::set_permissions(place.data().join("sealing.key"), Permissions::from_mode(0o644)).unwrap();
}

fn no_journal(place: &Place) {
    for folder in ["journal", "index"] {
        fs::remove_dir_all(place.data().join(folder)).unwrap();
    }
    gone(place, "checkpoint");
}

fn cut(place: &Place) {
    let path = place.segments().pop().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let (kept, _last) = text.trim_end().rsplit_once('\n').unwrap();
    fs::write(path, format!("{kept}\n")).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else if entry.file_type().unwrap().is_file() {
            fs::copy(&from, &to).unwrap();
        }
    }
}

/// A server that has a history, and has taken three steps with its keys since the folder was copied.
async fn at_rest() -> Place {
    let place = Place::new();
    let server = Server::start(&place);
    copy(&place.data(), &place.file("before"));
    let socket = place.data().join("admin.sock");
    for step in ["prepare --kind x509-intermediate", "prepare", "prepare --kind jwt"] {
        let typed = ["authority"].into_iter().chain(step.split(' ')).chain(["--admin-socket"]);
        done(&lanyard().args(typed).arg(&socket).output().unwrap());
    }
    assert!(matches!(Caller::curl().offer(&place.issuer.token(now()), &Door::of(&place)).await, Outcome::Issued(_)));
    server.ask_to_end();
    assert!(server.wait().0.success());
    copy(&place.data(), &place.file("whole"));
    place
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_lost_the_start_says_what_the_page_says_and_changes_nothing() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations/trouble.md");
    let page = fs::read_to_string(page).unwrap();
    let (place, config) = (at_rest().await, |place: &Place| fs::read_to_string(place.config()).unwrap());
    let settings = config(&place);
    for (what, lose, says) in LOSSES {
        lose(&place);
        let (status, said) = Server::spawn(&place.config()).wait();
        assert_eq!(status.code(), Some(1), "{what}: {said}");
        let mut rest = said.as_str();
        for piece in says.split('…') {
            let (_before, after) = rest.split_once(piece).unwrap_or_else(|| panic!("{what}: no {piece:?} in {said}"));
            rest = after;
        }
        assert!(page.contains(&format!("`{says}`")), "the page does not have {says:?}");
        if !["all but the sealing key", "no data folder", "no journal at all"].contains(&what) {
            assert!(place.data().join("journal").exists(), "{what}: the evidence is gone");
        }
        // As it was, and it starts.
        drop(fs::remove_dir_all(place.data()));
        copy(&place.file("whole"), &place.data());
        fs::set_permissions(place.data(), Permissions::from_mode(0o700)).unwrap();
        fs::write(place.config(), &settings).unwrap();
    }
    Server::start(&place).kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_keys_of_persons_are_told_at_every_start() {
    let place = Place::with("[audit]\npeople = \"sealed\"");
    let server = Server::start(&place);
    assert!(matches!(Caller::curl().offer(&place.issuer.token(now()), &Door::of(&place)).await, Outcome::Issued(_)));
    assert!(!server.log().contains("persons' keys"), "{}", server.log());
    server.kill();
    gone(&place, "people.keys");
    for start in 1..=2 {
        let server = Server::start(&place);
        let said = server.log();
        assert!(said.contains("the persons' keys were lost"), "start {start}: {said}");
        server.kill();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_in_memory_ends_with_its_server_and_an_empty_folder_begins_anew() {
    let keys = "[keys]\nroot_place = \"nowhere\"\n[[keys.place]]\nname = \"nowhere\"\nin = \"memory\"";
    let place = Place::with(keys);
    let serves = async || {
        let server = Server::start(&place);
        let outcome = Caller::curl().offer(&place.issuer.token(now()), &Door::of(&place)).await;
        assert!(matches!(outcome, Outcome::Issued(_)), "{outcome:?}");
        server.ask_to_end();
        assert!(server.wait().0.success());
    };
    serves().await;
    let keyring = fs::read_to_string(place.data().join("keyring.json")).unwrap();
    assert!(keyring.contains("\"nowhere\""), "{keyring}");
    let (status, said) = Server::spawn(&place.config()).wait();
    assert_eq!(status.code(), Some(1), "{said}");
    for words in ["was in the memory of a process that has ended", "cannot find its root"] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    fs::rename(place.data(), place.file("former")).unwrap();
    fs::create_dir(place.data()).unwrap();
    serves().await;
}

//! Archives that are none of ours, or not as they were made: each is refused, with what to do, and nothing is laid down.

use crate::backups::{create, done, lose_the_folder, restore};
use crate::callers::{Caller, Door, Outcome, now};
use crate::journal;
use crate::place::Place;
use crate::server::{Server, lanyard, words};
use lanyard::crypto::Digest;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tar::{Archive, Builder, EntryType, Header};

/// The files of an archive, to be changed.
#[derive(Clone)]
struct Files(Vec<(String, Vec<u8>)>);

impl Files {
    fn of(archive: &Path) -> Self {
        let mut archive = Archive::new(fs::File::open(archive).unwrap());
        let entries = archive.entries().unwrap().map(|entry| {
            let (mut entry, mut bytes) = (entry.unwrap(), Vec::new());
            std::io::copy(&mut entry, &mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes)
        });
        Self(entries.filter(|(name, _)| name != "SHA256SUMS").collect())
    }

    fn file(&self, name: &str) -> Vec<u8> {
        self.0.iter().find(|(known, _)| known == name).unwrap().1.clone()
    }

    fn change(&self, name: &str, how: impl Fn(&mut Vec<u8>)) -> Self {
        let mut files = self.clone();
        how(&mut files.0.iter_mut().find(|(known, _)| known.contains(name)).unwrap().1);
        files
    }

    fn with(&self, name: &str, bytes: &[u8]) -> Self {
        let mut files = self.clone();
        files.0.push((name.to_owned(), bytes.to_vec()));
        files
    }

    fn without(&self, name: &str) -> Self {
        Self(self.0.iter().filter(|(known, _)| known != name).cloned().collect())
    }

    /// As whoever changed them would write it: with digests that fit.
    fn written(&self) -> Vec<u8> {
        let mut sums = String::new();
        for (name, bytes) in &self.0 {
            writeln!(sums, "{}  {name}", Digest::of(bytes)).unwrap();
        }
        self.with("SHA256SUMS", sums.as_bytes()).as_they_are()
    }

    fn as_they_are(&self) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, bytes) in &self.0 {
            entry(&mut builder, (name, EntryType::Regular), bytes);
        }
        builder.into_inner().unwrap()
    }
}

/// An entry under whatever name, also one that no writer would give.
fn entry(builder: &mut Builder<Vec<u8>>, (name, kind): (&str, EntryType), bytes: &[u8]) {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(bytes.len().try_into().unwrap());
    header.set_mode(0o600);
    if kind.is_symlink() || kind.is_hard_link() {
        header.as_old_mut().linkname[..11].copy_from_slice(b"/etc/passwd");
    }
    header.set_cksum();
    builder.append(&header, bytes).unwrap();
}

/// A good archive with one entry more behind its first.
fn with_entry(good: &Files, (name, kind): (&str, EntryType)) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let (first, rest) = good.0.split_first().unwrap();
    entry(&mut builder, (&first.0, EntryType::Regular), &first.1);
    entry(&mut builder, (name, kind), if kind == EntryType::Regular { b"x" } else { b"" });
    for (name, bytes) in rest {
        entry(&mut builder, (name, EntryType::Regular), bytes);
    }
    builder.into_inner().unwrap()
}

/// A length in the first header behind `backup.json` that no file here has.
fn with_size(good: &[u8], size: u64) -> Vec<u8> {
    let mut bytes = good.to_vec();
    let mut header = Header::new_ustar();
    header.as_mut_bytes().copy_from_slice(&bytes[..512]);
    let second = 512 + usize::try_from(header.size().unwrap()).unwrap().next_multiple_of(512);
    let mut header = Header::new_ustar();
    header.as_mut_bytes().copy_from_slice(&bytes[second..second + 512]);
    header.set_size(size);
    header.set_cksum();
    bytes[second..second + 512].copy_from_slice(header.as_bytes());
    bytes
}

/// A place with a newer and an older backup: a root and a JWT key were prepared between them.
async fn two_backups() -> (Place, PathBuf, Files) {
    let place = Place::new();
    let server = Server::start(&place);
    let (older, newer) = (place.file("older.tar"), place.file("newer.tar"));
    done(&create(&place, &older));
    let socket = place.data().join("admin.sock");
    // One step more than the journal knows of is what a crash leaves; here it is two.
    for kind in ["x509-root", "jwt"] {
        let prepare = ["authority", "prepare", "--kind", kind, "--admin-socket"];
        done(&lanyard().args(prepare).arg(&socket).output().unwrap());
    }
    let issued = Caller::curl().offer(&place.issuer.token(now()), &Door::of(&place)).await;
    assert!(matches!(issued, Outcome::Issued(_)), "{issued:?}");
    done(&create(&place, &newer));
    server.kill();
    (place, newer, Files::of(&older))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_archive_is_refused_with_what_to_do_and_leaves_nothing_behind() {
    let (place, file, older) = two_backups().await;
    lose_the_folder(&place);
    let bad = place.file("bad.tar");
    for (what, bytes, says) in &bad_archives(&file, &older) {
        fs::write(&bad, bytes).unwrap();
        let refused = restore(&place, &bad, &[]);
        let said = words(&refused);
        assert_eq!(refused.status.code(), Some(1), "{what}: {said}");
        assert!(said.contains(says) && !said.contains("panicked"), "{what}: {said}");
        let left: Vec<_> = fs::read_dir(place.data()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| name == "sealing.key" || name == "lock"), "{what} left {left:?}");
    }
    done(&restore(&place, &file, &[]));
    Server::start(&place).kill();
    // Whoever has the sealing key can ask before anything is laid down; whoever has not is told what was not looked at.
    fs::write(&bad, Files::of(&file).change("backup.json", claim_a_stop).written()).unwrap();
    let verify = |more: &[&str]| lanyard().args(["backup", "verify"]).arg(&bad).args(more).output().unwrap();
    let without = done(&verify(&[]));
    assert!(without.contains("whether it says what its server said was not looked at"), "{without}");
    let with = verify(&["--config", &place.config().display().to_string()]);
    assert_eq!(with.status.code(), Some(1), "{}", words(&with));
    assert!(words(&with).contains("backup.json is not as it was when the backup was made"), "{}", words(&with));
    let whole = ["backup", "verify", "--json", "--config"];
    let whole = done(&lanyard().args(whole).arg(place.config()).arg(&file).output().unwrap());
    assert!(whole.contains("\"seal_checked\":true") || whole.contains("\"seal_checked\": true"), "{whole}");
}

/// So that a restore would lose nothing.
fn claim_a_stop(head: &mut Vec<u8>) {
    let text = String::from_utf8(std::mem::take(head)).unwrap();
    assert!(text.contains("\"at_rest\": false"));
    *head = text.replace("\"at_rest\": false", "\"at_rest\": true").into_bytes();
}

type Case = (&'static str, Vec<u8>, &'static str);

const NO_BACKUP: &str = "is no backup of a Lanyard server";
const CUT: &str = "it was cut off, or a length in it was changed";
const FOREIGN: &str = "which no backup has there";

/// Each with what it is and what is said of it.
fn bad_archives(file: &Path, older: &Files) -> Vec<Case> {
    let (whole, good) = (fs::read(file).unwrap(), Files::of(file));
    [no_archives(&whole, &good), odd_entries(&good), changed(&whole, &good), of_other_times(&good, older)].concat()
}

fn no_archives(whole: &[u8], good: &Files) -> Vec<Case> {
    let beyond = whole.len().try_into().unwrap();
    vec![
        ("nothing", Vec::new(), NO_BACKUP),
        ("no tar", b"\x1f\x8b no tar at all".repeat(100), NO_BACKUP),
        ("another tar", Files(vec![("etc/motd".to_owned(), b"hello".to_vec())]).as_they_are(), FOREIGN),
        ("cut in a file", whole[..whole.len() / 2].to_vec(), CUT),
        ("cut before its last file", good.as_they_are(), CUT),
        ("a huge size", with_size(whole, 1 << 40), CUT),
        ("a size beyond its end", with_size(whole, beyond), CUT),
    ]
}

fn odd_entries(good: &Files) -> Vec<Case> {
    let of = |what, name, kind| (what, with_entry(good, (name, kind)), FOREIGN);
    vec![
        ("a file twice", good.with("checkpoint", b"x").written(), FOREIGN),
        of("a way out", "../../etc/cron.d/x", EntryType::Regular),
        of("a root", "/etc/cron.d/x", EntryType::Regular),
        of("a way out of the journal", "journal/../../x.jsonl", EntryType::Regular),
        of("a symlink", "checkpoint", EntryType::Symlink),
        of("a hard link", "checkpoint", EntryType::Link),
        of("a folder", "journal", EntryType::Directory),
        of("a device", "checkpoint", EntryType::Char),
        of("a sparse file", "checkpoint", EntryType::GNUSparse),
        of("an extension of the format", "checkpoint", EntryType::XHeader),
        of("a long name", "checkpoint", EntryType::GNULongName),
    ]
}

fn changed(whole: &[u8], good: &Files) -> Vec<Case> {
    let sums = sums(whole);
    let as_summed = |files: Files| files.with("SHA256SUMS", &sums).as_they_are();
    vec![
        (
            "a byte changed in a file",
            as_summed(good.change("door-ca.pem", |bytes| flip(bytes))),
            "door-ca.pem is not as it was",
        ),
        ("a file left out", as_summed(good.without("checkpoint")), "checkpoint is not as it was"),
        ("a file too many", as_summed(good.with("sealing.key", &[7; 32])), "sealing.key is not as it was"),
        (
            "a byte changed in the journal",
            good.change(".jsonl", |bytes| flip(bytes)).written(),
            "its journal is not whole",
        ),
        ("no seal", good.without("backup.seal").written(), "backup.seal is not as it was"),
        (
            "a changed seal",
            good.change("backup.seal", |seal| change_seal(seal)).written(),
            "backup.json is not as it was",
        ),
        ("persons who were nobody's", good.with("people.keys", b"{}").written(), "people.keys is not as it was"),
        ("records that nobody signed", good.without("checkpoint").written(), "are covered by no signature"),
        ("a record that was begun", good.change(".jsonl", |bytes| bytes.extend(b"begun")).written(), "it was cut off"),
        ("a changed keyring", good.change("keyring.json", |bytes| flip(bytes)).written(), "keyring.json"),
        (
            "a changed door key",
            good.change("door-ca-key", |bytes| flip(bytes)).written(),
            "door-ca-key.sealed is not as it was",
        ),
    ]
}

fn of_other_times(good: &Files, older: &Files) -> Vec<Case> {
    let swap = |files: &Files, name: &str, by: Vec<u8>| files.change(name, |bytes| bytes.clone_from(&by)).written();
    let text = |from: &str, to: &str| {
        let changed = String::from_utf8(good.file("backup.json")).unwrap().replace(from, to);
        swap(good, "backup.json", changed.into_bytes())
    };
    vec![
        ("a newer format", text("\"format\": 2", "\"format\": 3"), "use the version of Lanyard that made it"),
        (
            "another trust domain",
            text("ci.example.org", "ci.other.example"),
            "name the configuration of ci.other.example",
        ),
        ("other records than it says", text("\"last\": ", "\"last\": 1"), "backup.json is not as it was"),
        (
            "another journal's key",
            swap(good, "journal.vkey", good.file("door-ca.pem")),
            "journal.vkey is not as it was",
        ),
        ("an older keyring", swap(good, "keyring.json", older.file("keyring.json")), "keyring.json is not as it was"),
        ("an older journal", swap(older, "keyring.json", good.file("keyring.json")), "keyring.json is not as it was"),
        ("another backup's seal", swap(good, "backup.seal", older.file("backup.seal")), "backup.json is not as it was"),
        ("a stop that was none", text("\"at_rest\": false", "\"at_rest\": true"), "backup.json is not as it was"),
        ("another version", text("\"lanyard\": \"", "\"lanyard\": \"9"), "backup.json is not as it was"),
    ]
}

/// In what is sealed, behind its name.
fn change_seal(seal: &mut [u8]) {
    let at = seal.len() - 10;
    seal[at] ^= 1;
}

fn flip(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
}

/// The digests that a whole archive ends with.
fn sums(whole: &[u8]) -> Vec<u8> {
    let mut archive = Archive::new(whole);
    let mut sums =
        archive.entries().unwrap().map(Result::unwrap).find(|entry| *entry.path_bytes() == b"SHA256SUMS"[..]).unwrap();
    let mut text = Vec::new();
    std::io::copy(&mut sums, &mut text).unwrap();
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_goes_into_an_empty_folder_only_with_the_right_key_and_never_under_a_server() {
    let (place, file, _) = two_backups().await;
    let server = Server::start(&place);
    let refused = restore(&place, &file, &[]);
    assert!(words(&refused).contains("is in use by another server"), "{}", words(&refused));
    server.kill();
    let refused = restore(&place, &file, &[]);
    assert!(
        words(&refused).contains("a restore goes into an empty folder: move what is there aside"),
        "{}",
        words(&refused)
    );
    Server::start(&place).kill();

    let lost = lose_the_folder(&place);
    fs::write(place.data().join("sealing.key"), [7; 32]).unwrap();
    let refused = restore(&place, &file, &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        words(&refused).contains("does not open") || words(&refused).contains("wrong sealing key"),
        "{}",
        words(&refused)
    );
    fs::copy(lost.join("sealing.key"), place.data().join("sealing.key")).unwrap();

    // As a crash in the middle of the last moves leaves it.
    fs::create_dir_all(place.data().join("restoring/journal")).unwrap();
    fs::create_dir(place.data().join("journal")).unwrap();
    let (status, said) = Server::spawn(&place.config()).wait();
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("was broken off: run `lanyard backup restore` again"), "{said}");
    done(&restore(&place, &file, &[]));
    assert!(!place.data().join("restoring").exists());
    Server::start(&place).kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_the_journal_was_yet_to_be_told_of_is_told_before_the_restore() {
    let place = Place::new();
    let (before, file) = (place.file("before"), place.file("a.tar"));
    let copy =
        |from: &Path, to: &Path| assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    Server::start(&place).kill();
    copy(&place.data(), &before);
    let server = Server::start(&place);
    let prepare = ["authority", "prepare", "--kind", "jwt", "--admin-socket"];
    done(&lanyard().args(prepare).arg(place.data().join("admin.sock")).output().unwrap());
    server.kill();
    // As a crash leaves it between the two.
    let keyring = fs::read(place.data().join("keyring.json")).unwrap();
    fs::remove_dir_all(place.data()).unwrap();
    copy(&before, &place.data());
    fs::write(place.data().join("keyring.json"), keyring).unwrap();
    done(
        &lanyard().args(["backup", "create", "--config"]).arg(place.config()).arg("--to").arg(&file).output().unwrap(),
    );
    lose_the_folder(&place);
    done(&restore(&place, &file, &[]));
    let kinds: Vec<_> =
        journal::records(&place).iter().map(|record| record["entry"]["kind"].as_str().unwrap().to_owned()).collect();
    assert!(kinds.ends_with(&["authority".to_owned(), "restored".to_owned()]), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_follows_no_link_and_leaves_nothing_beside_it() {
    let place = Place::new();
    let server = Server::start(&place);
    let folder = place.file("backups");
    fs::create_dir(&folder).unwrap();
    let (file, other) = (folder.join("a.tar"), place.file("precious"));
    fs::write(&other, "precious").unwrap();
    std::os::unix::fs::symlink(&other, folder.join("a.tar.new")).unwrap();
    done(&create(&place, &file));
    assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
    let names = || fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names().all(|name| name == "a.tar" || name == "a.tar.new"), "{:?}", names().collect::<Vec<_>>());
    server.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_known_to_be_lost_are_given_up_only_by_name() {
    let place = Place::with("[checkpoints]\nfolder = \"elsewhere\"\nrecords = \"1\"");
    let elsewhere = place.file("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let server = Server::start(&place);
    let file = place.file("a.tar");
    done(&create(&place, &file));
    let issued = Caller::curl().offer(&place.issuer.token(now()), &Door::of(&place)).await;
    assert!(matches!(issued, Outcome::Issued(_)), "{issued:?}");
    server.ask_to_end();
    assert!(server.wait().0.success());
    lose_the_folder(&place);
    let refused = restore(&place, &file, &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(words(&refused).contains("take a newer backup; if there is none, --accept-loss"), "{}", words(&refused));
    let said = done(&restore(&place, &file, &["--accept-loss"]));
    assert!(said.contains("are lost; what told of them is kept as"), "{said}");
    Server::start(&place).kill();
}

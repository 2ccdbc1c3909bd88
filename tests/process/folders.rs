//! Folders that are not as a server needs them: it says which and why, changes nothing, and starts when they are mended.

use crate::apart;
use crate::callers::{Caller, Door, Outcome, now};
use crate::journal;
use crate::place::Place;
use crate::server::{Server, audit_verify, lanyard, words};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

fn refused(place: &Place, wanted: &[&str]) {
    let (status, said) = Server::spawn(&place.config()).wait();
    assert_eq!(status.code(), Some(1), "{said}");
    for words in wanted {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

fn mode(place: &Place) -> u32 {
    fs::metadata(place.data()).unwrap().mode() & 0o777
}

#[test]
fn a_data_folder_that_is_a_file_is_refused() {
    let place = Place::new();
    fs::remove_dir(place.data()).unwrap();
    fs::write(place.data(), "not a folder").unwrap();
    refused(&place, &["data", "Not a directory"]);
    assert_eq!(fs::read_to_string(place.data()).unwrap(), "not a folder");
}

#[test]
fn a_server_that_does_not_find_its_data_folder_begins_no_new_ca() {
    let place = Place::new();
    let server = Server::start(&place);
    assert!(server.log().contains("a new CA begins"), "{}", server.log());
    drop(server);
    fs::rename(place.data(), place.file("elsewhere")).unwrap();
    refused(&place, &["no data folder", "mkdir -m 700"]);
    assert!(!place.data().exists());
    fs::rename(place.file("elsewhere"), place.data()).unwrap();
    let server = Server::start(&place);
    assert!(!server.log().contains("a new CA begins"), "{}", server.log());
}

#[test]
fn on_a_new_volume_a_server_makes_its_data_folder_and_nowhere_else() {
    if !apart::inside("folders::on_a_new_volume_a_server_makes_its_data_folder_and_nowhere_else") {
        return;
    }
    let place = Place::new();
    let config = fs::read_to_string(place.config()).unwrap();
    fs::write(place.config(), config.replace("data_dir = \"data\"", "data_dir = \"volume/data\"")).unwrap();
    let volume = place.file("volume");
    fs::create_dir(&volume).unwrap();
    refused(&place, &["no data folder"]);

    apart::mount_small(&volume, 64 << 10);
    fs::write(volume.join("left"), "by somebody").unwrap();
    refused(&place, &["no data folder"]);
    fs::remove_file(volume.join("left")).unwrap();
    let server = Server::start(&place);
    assert!(server.log().contains("a new volume"), "{}", server.log());
    assert_eq!(fs::metadata(volume.join("data")).unwrap().mode() & 0o777, 0o700);
    drop(server);

    let server = Server::start(&place);
    assert!(!server.log().contains("a new CA begins"), "{}", server.log());
    drop(server);
    fs::rename(volume.join("data"), volume.join("elsewhere")).unwrap();
    refused(&place, &["no data folder"]);
}

#[test]
fn a_folder_that_holds_something_else_does_not_become_a_data_folder() {
    let place = Place::new();
    fs::set_permissions(place.data(), Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(place.data().join("lost+found")).unwrap();
    fs::write(place.data().join("passwd"), "of somebody else").unwrap();
    refused(&place, &["no data folder", "passwd"]);
    assert_eq!(mode(&place), 0o755, "others may need to enter it");
    fs::remove_file(place.data().join("passwd")).unwrap();
    drop(Server::start(&place));
}

#[test]
fn a_data_folder_that_others_can_enter_is_closed_to_them_and_said_so() {
    let place = Place::new();
    fs::set_permissions(place.data(), Permissions::from_mode(0o755)).unwrap();
    let server = Server::start(&place);
    assert!(server.log().contains("others could enter"), "{}", server.log());
    assert_eq!(mode(&place), 0o700);
    drop(server);
    let server = Server::start(&place);
    assert!(!server.log().contains("others could enter"), "only once: {}", server.log());
}

#[test]
fn a_data_folder_that_others_can_write_to_is_refused() {
    let place = Place::new();
    drop(Server::start(&place));
    for open in [0o777, 0o770, 0o702] {
        fs::set_permissions(place.data(), Permissions::from_mode(open)).unwrap();
        refused(&place, &["data", "others could have written", &format!("{open:04o}")]);
        assert_eq!(mode(&place), open, "whoever opened it should find it as it was");
    }
    fs::set_permissions(place.data(), Permissions::from_mode(0o700)).unwrap();
    drop(Server::start(&place));
}

#[test]
fn a_data_folder_of_somebody_else_is_refused() {
    let place = Place::new();
    drop(Server::start(&place));
    let given = Command::new("chown").arg("65534").arg(place.data()).status().unwrap();
    assert!(given.success(), "needs root");
    refused(&place, &["data", "uid 65534"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_folder_refuses_the_start_and_can_still_be_audited() {
    let name = "folders::a_read_only_folder_refuses_the_start_and_can_still_be_audited";
    if !tokio::task::spawn_blocking(|| apart::inside(name)).await.unwrap() {
        return;
    }
    let place = Place::new();
    apart::mount_small(&place.data(), 32 << 10);
    let server = Server::start(&place);
    let door = Door::of(&place);
    assert!(matches!(Caller::curl().offer(&place.issuer.token(now()), &door).await, Outcome::Issued(_)));
    server.ask_to_end();
    let (status, said) = server.wait();
    assert!(status.success(), "{said}");
    let before = journal::records(&place).len();
    apart::make_read_only(&place.data());
    refused(&place, &["Read-only file system", "data"]);
    let verified = audit_verify(&place);
    assert!(verified.status.success(), "reading needs no writing: {}", words(&verified));
    apart::make_writable(&place.data());
    let server = Server::start(&place);
    assert!(matches!(Caller::curl().offer(&place.issuer.token(now()), &door).await, Outcome::Issued(_)));
    drop(server);
    assert!(journal::records(&place).len() > before);
}

#[test]
fn an_index_that_cannot_be_read_is_named_or_set_aside_and_never_trusted() {
    // As another user: nothing is unreadable to root.
    let place = Place::new();
    let folder = place.data().parent().unwrap().to_owned();
    let given = Command::new("chown").args(["-R", "65534:65534"]).arg(&folder).status().unwrap();
    assert!(given.success(), "needs root");
    let as_nobody = |command: &str| {
        let config = place.config();
        let own = lanyard();
        let mut other = Command::new("setpriv");
        other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg("timeout").args(["-s", "TERM", "3"]);
        other.arg(own.get_program()).args([command, "--config"]).arg(config).output().unwrap()
    };
    let said = words(&as_nobody("server"));
    assert!(said.contains("serving"), "{said}");
    let index = place.data().join("index");
    fs::set_permissions(&index, Permissions::from_mode(0o000)).unwrap();
    let said = words(&as_nobody("server"));
    assert!(said.contains("serving") && said.contains("making it anew"), "{said}");
    assert!(place.data().join("index.damaged-1").exists());
    fs::set_permissions(place.data().join("journal"), Permissions::from_mode(0o500)).unwrap();
    let segments = place.segments();
    fs::set_permissions(&segments[0], Permissions::from_mode(0o000)).unwrap();
    let said = words(&as_nobody("server"));
    assert!(said.contains("cannot be used") && said.contains("Permission denied"), "{said}");
    assert!(!said.contains("cannot be trusted"), "{said}");
}

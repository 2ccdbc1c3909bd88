//! Kill -9 between the phases of every step that changes a root: a Vault that keeps the roots kills the server at the call that
//! it is told, and a watcher kills it as soon as the keyring or the journal has changed. After each start one key of a kind
//! signs, no key is there of which nobody knows, and nothing is lost.

use crate::fleet::{authority, command};
use crate::place::Place;
use crate::server::{Server, audit_verify, words};
use crate::vault::transit::Transit;
use crate::vault::{Engine, ScriptedVault, error};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A step that is under way comes to each of its points soon.
const POINT_WITHIN: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Point {
    /// Vault is asked to make the key, and has not.
    BeforeMaking,
    /// The key is there, and its answer never comes.
    Made,
    BeforeSigning,
    Signed,
    /// The keyring is saved; most kills come before its record.
    Saved,
    /// The step is on record.
    Recorded,
    BeforeDeleting,
    Deleted,
}

use Point::{BeforeDeleting, BeforeMaking, BeforeSigning, Deleted, Made, Recorded, Saved, Signed};

/// Each round replaces the root, and dies once in each of the four steps.
const ROUNDS: [[Point; 4]; 6] = [
    [BeforeMaking, Saved, Saved, Saved],
    [Made, Recorded, Recorded, BeforeDeleting],
    [BeforeSigning, Saved, Saved, Deleted],
    [Signed, Recorded, Recorded, Recorded],
    [Saved, Saved, Saved, Saved],
    [Recorded, Recorded, Recorded, Deleted],
];

/// A transit engine that kills whom it serves.
struct Deadly {
    keys: Transit,
    victim: Mutex<Option<(u32, Point)>>,
}

impl Deadly {
    fn strike(&self, point: Point) -> bool {
        let victim = self.victim.lock().unwrap().take_if(|(_, at)| *at == point);
        victim.inspect(|(pid, _)| kill(*pid)).is_some()
    }
}

impl Engine for Deadly {
    fn answer(&self, verb: &str, path: &str, body: &Value) -> (u16, Value) {
        let (before, after) = match verb {
            "POST" if path.starts_with("sign/") => (BeforeSigning, Signed),
            "POST" if path.starts_with("keys/") && !path.ends_with("/config") => (BeforeMaking, Made),
            "DELETE" => (BeforeDeleting, Deleted),
            _ => return self.keys.answer(verb, path, body),
        };
        if self.strike(before) {
            return error(500, "nobody is there to hear it");
        }
        let answer = self.keys.answer(verb, path, body);
        self.strike(after);
        answer
    }
}

fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
}

struct Scene {
    place: Place,
    vault: Arc<Deadly>,
    server: Option<Server>,
}

impl Scene {
    /// Types a command at a server that dies at a point of it, and starts another.
    fn dies(&mut self, point: Point, arguments: &[&str]) {
        let server = self.server.take().unwrap();
        let before = (self.keyring(), self.journal());
        *self.vault.victim.lock().unwrap() = Some((server.pid(), point));
        let mut typed = command(&self.place, arguments);
        let mut typed = typed.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + POINT_WITHIN;
        loop {
            let is_there = match point {
                Saved => self.keyring() != before.0,
                Recorded => self.journal() != before.1,
                BeforeMaking | Made | BeforeSigning | Signed | BeforeDeleting | Deleted => {
                    self.vault.victim.lock().unwrap().is_none()
                }
            };
            if is_there {
                break;
            }
            assert!(Instant::now() < deadline, "{arguments:?} never came to {point:?}: {}", server.log());
            std::thread::yield_now();
        }
        *self.vault.victim.lock().unwrap() = None;
        server.kill();
        typed.wait().unwrap();
        self.server = Some(Server::start(&self.place));
        self.must_be_whole(point, arguments);
    }

    /// Another file is in its place.
    fn keyring(&self) -> u64 {
        fs::metadata(self.place.data().join("keyring.json")).unwrap().ino()
    }

    fn journal(&self) -> u64 {
        let files = fs::read_dir(self.place.data().join("journal")).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    }

    /// A root's state, if it is there.
    fn state(&self, key: &str) -> Option<String> {
        let listed = authority(&self.place, &["list"]);
        let found = listed["keys"].as_array().unwrap().iter().find(|one| one["key_id"] == key).cloned();
        found.map(|found| found["state"].as_str().unwrap().to_owned())
    }

    fn root(&self, state: &str) -> Option<String> {
        let listed = authority(&self.place, &["list"]);
        let is_it = |one: &&Value| one["kind"] == "x509-root" && one["state"] == state;
        listed["keys"].as_array().unwrap().iter().find(is_it).map(|one| one["key_id"].as_str().unwrap().to_owned())
    }

    fn must_be_whole(&self, point: Point, arguments: &[&str]) {
        let (roots, jwt) = (authority(&self.place, &["list"]), authority(&self.place, &["list", "--kind", "jwt"]));
        for (listed, kind) in [(&roots, "x509-root"), (&roots, "x509-intermediate"), (&jwt, "jwt")] {
            let is_active = |one: &&Value| one["kind"] == kind && one["state"] == "active";
            let active = listed["keys"].as_array().unwrap().iter().filter(is_active).count();
            assert_eq!(active, 1, "{kind} after {arguments:?} at {point:?}: {listed}");
        }
        let verified = audit_verify(&self.place);
        assert!(verified.status.success(), "{}", words(&verified));
        // Whatever Vault keeps is a root of the keyring, or known as what a step has left.
        let orphans = authority(&self.place, &["list", "--orphans"]);
        let strangers: Vec<_> =
            orphans["orphans"].as_array().unwrap().iter().filter(|one| one["known"].is_null()).collect();
        assert!(strangers.is_empty(), "after {arguments:?} at {point:?}: {strangers:?}");
        let labels = fs::read_to_string(self.place.data().join("keyring.json")).unwrap();
        let unknown: BTreeSet<_> = self.vault.keys.names().into_iter().filter(|name| !labels.contains(name)).collect();
        assert!(unknown.is_empty(), "after {arguments:?} at {point:?}: {unknown:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_between_the_phases_of_a_step_forks_the_keyring_or_leaves_a_key_of_which_nobody_knows() {
    let vault = Arc::new(Deadly { keys: Transit::default(), victim: Mutex::default() });
    let mounted: Arc<dyn Engine> = Arc::<Deadly>::clone(&vault);
    let script = ScriptedVault::with(vec![("transit", mounted)]).await;
    let keys = "[keys]\nroot_place = \"vault\"\n[[keys.place]]\nname = \"vault\"\nin = \"vault-transit\"\nmount = \"transit\"\n";
    let place = Place::with(&format!("{keys}{}", script.section()));
    let server = Some(Server::start(&place));
    let mut scene = Scene { place, vault, server };
    for [preparing, activating, tainting, revoking] in ROUNDS {
        let former = scene.root("active").unwrap();
        scene.dies(preparing, &["prepare"]);
        if scene.root("prepared").is_none() {
            authority(&scene.place, &["prepare"]);
        }
        let next = scene.root("prepared").unwrap();
        let activate = ["activate", "--force", "--reason", "a drill"];
        scene.dies(activating, &activate);
        if scene.state(&next).unwrap() == "prepared" {
            authority(&scene.place, &activate);
        }
        assert_eq!((scene.state(&former).as_deref(), scene.root("active")), (Some("old"), Some(next)));
        scene.dies(tainting, &["taint", "--no-wait", &former]);
        if scene.state(&former).unwrap() == "old" {
            authority(&scene.place, &["taint", "--no-wait", &former]);
        }
        let revoke = ["revoke", &former, "--force", "--reason", "a drill"];
        scene.dies(revoking, &revoke);
        if scene.state(&former).is_some() {
            authority(&scene.place, &revoke);
        }
        // What Vault had not deleted when the server died is listed, and goes when somebody says so.
        let orphans = authority(&scene.place, &["list", "--orphans"]);
        for orphan in orphans["orphans"].as_array().unwrap() {
            let label = orphan["label"].as_str().unwrap();
            authority(&scene.place, &["revoke", "--orphan", label, "--reason", "left by a crash"]);
        }
        assert_eq!(scene.vault.keys.names().len(), 1, "the root that signs, and nothing else");
    }
}

//! A disk without room, played on a small file system: identities are refused, what is written is kept, ends are still
//! written down, and it goes on when there is room again.

use crate::apart;
use crate::callers::{Caller, Door, Outcome, csr, now, p256, session_channel};
use crate::journal;
use crate::memory::agent_config;
use crate::place::Place;
use crate::server::{Server, audit_verify, lanyard, words};
use lanyard::authority::{KeyPlan, KeyringFile, open_keyring};
use lanyard::crypto::{Random, SealingKey};
use lanyard::identity::TrustDomain;
use lanyard::wire::lanyard::issuer_client::IssuerClient;
use lanyard::wire::lanyard::{EndSessionRequest, ExchangeRequest};
use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The reserve takes 8 MiB, sled one.
const ROOM_KIB: usize = 16 << 10;
/// What the ballast leaves: so that records, states of checkpoints and sled's own writes each come to be the first
/// that find no room.
const LEFT_KIB: [usize; 5] = [0, 12, 40, 120, 200];
/// A freed disk is noticed within a second.
const AGAIN_WITHIN: Duration = Duration::from_secs(10);

/// Takes all the room of a folder's file system, but for so much.
fn ballast(folder: &Path, left_kib: usize) -> PathBuf {
    let path = folder.join("ballast");
    let mut file = fs::File::create(&path).unwrap();
    let block = [0; 4096];
    let mut blocks = 0_u64;
    while file.write_all(&block).is_ok() {
        blocks += 1;
    }
    file.set_len((blocks * 4).saturating_sub(u64::try_from(left_kib).unwrap()) * 1024).unwrap();
    path
}

/// A server on a small disk, and what came out of it.
struct Scene {
    place: Place,
    server: Server,
    door: Door,
    serials: BTreeSet<String>,
}

impl Scene {
    fn new(store: &str) -> Self {
        // Small segments, so that checkpoints are written all the time.
        let place = Place::with(&format!("store = \"{store}\"\nsegment_bytes = \"8KiB\""));
        apart::mount_small(&place.data(), ROOM_KIB);
        let server = Server::start(&place);
        let door = Door::of(&place);
        Self { place, server, door, serials: BTreeSet::new() }
    }

    async fn exchange(&mut self) -> Outcome {
        let outcome = Caller::curl().offer(&self.place.issuer.token(now()), &self.door).await;
        if let Outcome::Issued(serial) = &outcome {
            self.serials.insert(serial.clone());
        }
        outcome
    }

    async fn must_issue(&mut self) {
        let outcome = self.exchange().await;
        assert!(matches!(outcome, Outcome::Issued(_)), "{outcome:?}\n{}", self.server.log());
    }

    /// Asks until twenty were refused one after another.
    async fn fill(&mut self) {
        let mut refused = 0;
        for _ in 0..1000 {
            match self.exchange().await {
                Outcome::Issued(_) => refused = 0,
                Outcome::Refused(code) => {
                    assert_eq!(code, "503 store_unavailable");
                    refused += 1;
                }
                other @ (Outcome::Replayed | Outcome::Silence) => panic!("{other:?}\n{}", self.server.log()),
            }
            if refused == 20 {
                return;
            }
        }
        panic!("the disk was never full")
    }

    /// There is room again: it goes on by itself.
    async fn must_recover(&mut self) {
        let within = tokio::time::timeout(AGAIN_WITHIN, async {
            while !matches!(self.exchange().await, Outcome::Issued(_)) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        assert!(within.await.is_ok(), "{}", self.server.log());
    }

    fn must_not_be_ready(&self) {
        let (ready, said) = health(&self.place);
        assert!(!ready && said.contains("waiting for the store: the disk is full"), "{said}");
    }

    fn must_be_ready(&self) {
        assert_eq!(health(&self.place), (true, "ready\n".to_owned()));
    }

    fn must_be_whole(&self) {
        let verified = audit_verify(&self.place);
        assert!(verified.status.success(), "{}", words(&verified));
        assert!(self.serials.is_subset(&journal::intents(&self.place)), "handed out and not on record");
    }
}

/// What `lanyard health` says, and whether that is ready.
fn health(place: &Place) -> (bool, String) {
    let asked = lanyard().args(["health", "--config"]).arg(place.config()).output().unwrap();
    (asked.status.success(), words(&asked))
}

/// Runs a story with each index, on file systems of its own.
fn apart<F: Future<Output = ()>>(test: &str, story: impl Fn(&'static str) -> F) {
    if !apart::inside(&format!("full_disk::{test}")) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for store in ["memory", "sled"] {
        runtime.block_on(story(store));
    }
}

#[test]
fn a_disk_that_fills_up_refuses_identities_and_goes_on_when_there_is_room() {
    apart("a_disk_that_fills_up_refuses_identities_and_goes_on_when_there_is_room", |store| async move {
        for left_kib in LEFT_KIB {
            let mut scene = Scene::new(store);
            for _ in 0..3 {
                scene.must_issue().await;
            }
            let ballast = ballast(&scene.place.data(), left_kib);
            scene.must_be_ready();
            scene.fill().await;
            scene.must_not_be_ready();
            scene.must_be_whole();
            assert!(scene.server.log().contains("the disk is full"), "{}", scene.server.log());
            fs::remove_file(ballast).unwrap();
            scene.must_recover().await;
            scene.must_be_ready();
            let log = scene.server.log();
            assert!(log.contains("there is room on the disk again"), "{log}");
            let Scene { place, server, serials, door } = scene;
            server.kill();
            let scene = Scene { server: Server::start(&place), place, door, serials };
            scene.must_be_whole();
        }
    });
}

#[test]
fn on_a_full_disk_a_session_can_be_ended_and_a_server_can_start() {
    apart("on_a_full_disk_a_session_can_be_ended_and_a_server_can_start", |store| async move {
        let mut scene = Scene::new(store);
        let mut agent = IssuerClient::new(session_channel(&scene.place));
        let token = scene.place.issuer.token(now());
        let request = ExchangeRequest { token: token.clone(), csr: csr(&p256()).into(), profile: String::new() };
        let session = agent.exchange(request.clone()).await.unwrap().into_inner().session;
        let ballast = ballast(&scene.place.data(), 0);
        scene.fill().await;
        agent.end_session(EndSessionRequest { session, ..EndSessionRequest::default() }).await.unwrap();
        let ends = |place: &Place| {
            let ends = journal::records(place).into_iter().filter(|record| record["entry"]["kind"] == "session_ended");
            ends.count()
        };
        assert_eq!(ends(&scene.place), 1);
        let Scene { place, server, serials, door } = scene;
        server.kill();
        let mut server = Server::spawn(&place.config());
        // Ready or not: a record may still fit beside the reserve.
        server.wait_until(|| matches!(health(&place), (true, _)) || health(&place).1.contains("the store"));
        let mut scene = Scene { place, server, door, serials };
        scene.fill().await;
        scene.must_not_be_ready();
        let refused = agent.exchange(request).await;
        assert!(refused.is_err(), "the session was ended");
        scene.must_be_whole();
        fs::remove_file(ballast).unwrap();
        scene.must_recover().await;
        scene.must_be_whole();
        assert_eq!(ends(&scene.place), 1);
    });
}

#[test]
fn an_agent_serves_without_room_for_its_files_and_writes_them_when_there_is() {
    if !apart::inside("full_disk::an_agent_serves_without_room_for_its_files_and_writes_them_when_there_is") {
        return;
    }
    let place = Place::new();
    let _server = Server::start(&place);
    let (svids, state) = (place.file("svids"), place.file("state"));
    apart::mount_small(&svids, 64);
    apart::mount_small(&state, 64);

    let full = ballast(&state, 0);
    let (status, said) = Server::spawn_agent(&agent_config(&place)).wait();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("state") && said.contains("No space left"), "{said}");
    fs::remove_file(full).unwrap();
    assert_eq!(names(&state), ["lock"], "no half key is left");

    let full = ballast(&svids, 0);
    let mut agent = Server::spawn_agent(&agent_config(&place));
    agent.wait_until(|| fs::metadata(agent_log(&place)).is_ok_and(|_| log(&place).contains("files cannot be written")));
    assert!(log(&place).contains("No space left") && log(&place).contains("SVID received"), "{}", log(&place));
    assert_eq!(names(&svids), ["ballast"], "nothing is there by half");
    fs::remove_file(full).unwrap();
    agent.wait_until(|| svids.join("svid_key.pem").exists());
    assert!(fs::read_to_string(svids.join("svid_key.pem")).unwrap().ends_with("-----END PRIVATE KEY-----\n"));
}

fn agent_log(place: &Place) -> PathBuf {
    place.file("agent.log")
}

fn log(place: &Place) -> String {
    fs::read_to_string(agent_log(place)).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        folder.read_dir().unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_keyring_can_be_saved_on_a_full_disk_and_is_never_half_there() {
    if !apart::inside("full_disk::a_keyring_can_be_saved_on_a_full_disk_and_is_never_half_there") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("small");
    apart::mount_small(&folder, 256);
    let day = Duration::from_secs(86_400);
    let domain = TrustDomain::parse("ci.example.org").unwrap();
    let plan = KeyPlan { root: day * 1000, intermediate: day, ..KeyPlan::DEFAULT };
    let file = |name: &str| KeyringFile::new(folder.join(name), SealingKey::from_bytes(&[7; 32]).unwrap());
    let kept = file("keyring.json");
    let keyring = open_keyring(&kept, &domain, &plan, (now(), &Random::system()), false).await.unwrap();
    let full = ballast(&folder, 0);
    for sequence in 5..9 {
        let mut next = keyring.clone();
        next.sequence = sequence;
        kept.save(&next).unwrap();
        assert_eq!(kept.load(&domain).unwrap().unwrap().sequence, sequence);
    }
    // What the spare gave is taken too, and another keyring has none.
    let fuller = folder.join("more");
    fs::rename(&full, &fuller).unwrap();
    ballast(&folder, 0);
    let refused = file("other.json").save(&keyring).unwrap_err();
    assert!(std::error::Error::source(&refused).unwrap().to_string().contains("No space left"), "{refused:?}");
    assert!(!folder.join("other.json").exists());
    assert_eq!(kept.load(&domain).unwrap().unwrap().sequence, 8);
}

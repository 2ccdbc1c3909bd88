//! A whole life on real time: a job that is renewed a dozen times while its software connects without a pause, and its end.

use crate::consumer::{AGAIN_AFTER, Running, Sessions, Setting};
use crate::nginx::Nginx;
use crate::place::free_port;
use crate::visitors::{OpenSsl, Program, Visitor, serial};
use crate::world::{Agent, World};
use spiffe::WorkloadApiClient;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Seconds, so that a dozen renewals fit into a test.
const TTL: Duration = Duration::from_secs(6);
const RENEWALS: usize = 12;
/// How often each visitor connects.
const PAUSE: Duration = Duration::from_millis(200);
/// A dozen renewals take a dozen times two thirds of an SVID's lifetime at most; a busy machine may need more.
const LIFE: Duration = Duration::from_secs(150);
/// Certificates and clocks of this kind count whole ones.
const A_SECOND: Duration = Duration::from_secs(1);

/// nginx with an agent of its own, which renews and reloads it.
struct Service {
    address: String,
    running: Running,
    _agent: Agent,
}

impl Service {
    fn start(world: &World) -> Self {
        let own = world.place.file("nginx");
        fs::create_dir(&own).unwrap();
        let port = free_port();
        let whole = Nginx::whole(&own).display().to_string();
        let agent = world.agent("service", &world.job(900, "900"), &["nginx", "-c", &whole, "-s", "reload"]);
        let setting = Setting { folder: own, files: agent.files.clone(), port, sessions: Sessions::Off };
        let running = Running::start(&Nginx::AsItComes, &setting);
        Self { address: format!("127.0.0.1:{port}"), running, _agent: agent }
    }
}

/// Connects until it is told to stop: how often, with how many SVIDs, and every no.
fn keep_visiting(
    visitor: &mut dyn Visitor,
    address: &str,
    over: &AtomicBool,
) -> (usize, BTreeSet<String>, Vec<String>) {
    let (mut visits, mut serials, mut refusals) = (0, BTreeSet::new(), Vec::new());
    while !over.load(Ordering::SeqCst) {
        match visitor.visit(address) {
            Ok(serial) => drop(serials.insert(serial)),
            Err(why) => refusals.push(why),
        }
        visits += 1;
        thread::sleep(PAUSE);
    }
    (visits, serials, refusals)
}

/// Waits for an SVID that nobody has seen yet.
fn next_svid(files: &Path) {
    let before = serial(&files.join("svid.pem"));
    let deadline = Instant::now() + LIFE;
    loop {
        let now = serial(&files.join("svid.pem"));
        if now.is_ok() && now != before {
            return;
        }
        assert!(Instant::now() < deadline, "no renewal");
        thread::sleep(AGAIN_AFTER);
    }
}

/// What somebody who has copied an SVID and its key has.
fn copied(files: &Path, place: PathBuf) -> OpenSsl {
    fs::create_dir(&place).unwrap();
    let state = fs::canonicalize(files.join("..data")).unwrap();
    for name in ["svid.pem", "svid_key.pem", "svid_bundle.pem"] {
        fs::copy(state.join(name), place.join(name)).unwrap();
    }
    OpenSsl { files: place }
}

fn eventually(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        thread::sleep(AGAIN_AFTER);
    }
}

async fn serves_nothing(agent: &Agent) {
    let client = WorkloadApiClient::connect_to(format!("unix://{}", agent.socket.display())).await.unwrap();
    assert!(client.fetch_x509_svid().await.is_err(), "the socket serves an SVID");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_never_without_an_svid_until_gitlab_says_that_it_is_over() {
    let world = World::start(TTL);
    let service = Service::start(&world);
    let job = world.job(1, "574");
    let agent = world.agent("job", &job, &[]);
    let mut session = world.session(&job).await;
    let mut visitors: [Box<dyn Visitor>; 3] = [
        Box::new(OpenSsl { files: agent.files.clone() }),
        Box::new(Program::go_spiffe(&agent.socket)),
        Box::new(Program::py_spiffe(&agent.socket)),
    ];
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let visits: Vec<_> = visitors
            .iter_mut()
            .map(|visitor| {
                let (address, over) = (&service.address, &over);
                scope.spawn(move || (visitor.name(), keep_visiting(&mut **visitor, address, over)))
            })
            .collect();
        let (mut seen, deadline) = (BTreeSet::new(), Instant::now() + LIFE);
        while seen.len() <= RENEWALS && Instant::now() < deadline {
            seen.extend(serial(&agent.files.join("svid.pem")));
            thread::sleep(AGAIN_AFTER);
        }
        over.store(true, Ordering::SeqCst);
        for visit in visits {
            let (name, (visits, serials, refusals)) = visit.join().unwrap();
            println!("{name}: {visits} connections, {} SVIDs", serials.len());
            assert!(refusals.is_empty(), "{name}: {refusals:#?}\n{}", service.running.log());
            assert!(serials.len() >= RENEWALS, "{name} saw {} SVIDs only", serials.len());
        }
    });
    assert_eq!(session.renew().await, Ok(()));

    // The last SVID is fresh, so that it cannot be its age for which it is refused.
    next_svid(&agent.files);
    let mut thief = copied(&agent.files, world.place.file("copied"));
    assert_eq!(thief.visit(&service.address).err(), None);
    let told = Instant::now();
    world.tell_the_end_of(&job);
    eventually("the agent's files go", TTL, || !agent.files.join("svid_key.pem").exists());
    serves_nothing(&agent).await;
    let served_nothing = told.elapsed();
    assert_eq!(session.renew().await, Err("session_ended".to_owned()));
    eventually("the copied SVID is refused", TTL, || thief.visit(&service.address).is_err());
    println!("after the webhook: {served_nothing:?} until nothing was served, {:?} until refused", told.elapsed());
    assert!(service.running.log().contains("certificate revoked"), "{}", service.running.log());
    for visitor in &mut visitors {
        assert!(visitor.visit(&service.address).is_err(), "{} goes on", visitor.name());
    }
}

/// Longer than an answer of GitLab's is shared, so that each renewal asks.
const SLOW_TTL: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_nobody_says_is_over_has_no_identity_once_its_last_svid_has_run_out() {
    let world = World::start(SLOW_TTL);
    let service = Service::start(&world);
    let job = world.job(1, "574");
    let agent = world.agent("job", &job, &[]);
    let mut session = world.session(&job).await;
    next_svid(&agent.files);
    let mut thief = copied(&agent.files, world.place.file("copied"));
    assert_eq!(thief.visit(&service.address).err(), None);
    let over = Instant::now();
    world.end(&job);
    eventually("the agent's files go", SLOW_TTL, || !agent.files.join("svid_key.pem").exists());
    serves_nothing(&agent).await;
    assert_eq!(session.renew().await, Err("session_ended".to_owned()));
    eventually("the copied SVID is refused", SLOW_TTL.saturating_sub(over.elapsed()) + A_SECOND, || {
        thief.visit(&service.address).is_err()
    });
}

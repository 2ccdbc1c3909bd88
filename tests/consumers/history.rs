//! A whole life on real time: a job that is renewed a dozen times while its software connects without a pause, and its end.

use crate::consumer::{AGAIN_AFTER, Running, Sessions, Setting};
use crate::nginx::Nginx;
use crate::place::free_port;
use crate::visitors::{OpenSsl, Program, Visitor, life_left, serial};
use crate::world::{Agent, Job, SERVICE, World};
use spiffe::WorkloadApiClient;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Seconds, so that a dozen renewals fit into a test.
const TTL: Duration = Duration::from_secs(6);
const RENEWALS: usize = 12;
/// So long that none is renewed before a test gives up waiting.
const LONG_TTL: Duration = Duration::from_secs(1800);
const JOB: Job = Job { number: 1, pipeline: "574" };
/// How often each visitor connects.
const PAUSE: Duration = Duration::from_millis(200);
/// A dozen renewals take less than a minute; a busy machine may need more.
const LIFE: Duration = Duration::from_secs(150);
/// Certificates and clocks of this kind count whole ones.
const A_SECOND: Duration = Duration::from_secs(1);

/// nginx with an agent of its own, which renews and reloads it.
struct Service {
    address: String,
    files: PathBuf,
    running: Running,
    _agent: Agent,
}

impl Service {
    fn start(world: &World) -> Self {
        let own = world.place.file("nginx");
        fs::create_dir(&own).unwrap();
        let port = free_port();
        let whole = Nginx::whole(&own).display().to_string();
        let agent = world.agent("service", &SERVICE, &["nginx", "-c", &whole, "-s", "reload"]);
        let setting = Setting { folder: own, files: agent.files.clone(), port, sessions: Sessions::Off };
        let running = Running::start(&Nginx::AsItComes, &setting);
        Self { address: format!("127.0.0.1:{port}"), files: agent.files.clone(), running, _agent: agent }
    }
}

/// Connects until it has seen so many renewals: how often, with how many SVIDs, and every no.
fn keep_visiting(visitor: &mut dyn Visitor, address: &str) -> (usize, BTreeSet<String>, Vec<String>) {
    let (mut visits, mut serials, mut refusals) = (0, BTreeSet::new(), Vec::new());
    let deadline = Instant::now() + LIFE;
    while serials.len() <= RENEWALS && Instant::now() < deadline {
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
pub(crate) fn copied(files: &Path, place: PathBuf) -> OpenSsl {
    fs::create_dir(&place).unwrap();
    let state = fs::canonicalize(files.join("..data")).unwrap();
    for name in ["svid.pem", "svid_key.pem", "svid_bundle.pem"] {
        fs::copy(state.join(name), place.join(name)).unwrap();
    }
    OpenSsl { files: place }
}

pub(crate) fn eventually(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
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
    let agent = world.agent("job", &JOB, &[]);
    let mut session = world.session(&JOB).await;
    let mut visitors: [Box<dyn Visitor>; 3] = [
        Box::new(OpenSsl { files: agent.files.clone() }),
        Box::new(Program::go_spiffe(&agent.socket)),
        Box::new(Program::py_spiffe(&agent.socket)),
    ];
    thread::scope(|scope| {
        let visit = |visitor: &mut Box<dyn Visitor>| (visitor.name(), keep_visiting(&mut **visitor, &service.address));
        let all: Vec<_> = visitors.iter_mut().map(|visitor| scope.spawn(move || visit(visitor))).collect();
        for visits in all {
            let (name, (visits, serials, refusals)) = visits.join().unwrap();
            println!("{name}: {visits} connections, {} SVIDs", serials.len());
            assert!(refusals.is_empty(), "{name}: {refusals:#?}\n{}", service.running.log());
            assert!(serials.len() > RENEWALS, "{name} saw {} SVIDs only", serials.len());
        }
    });
    assert_eq!(session.renew().await, Ok(()));

    // The last SVIDs are not renewed, and do not run out, while anybody waits here: nothing but the word of their end can
    // take them away, and nothing but a list that is sent can tell the service.
    world.let_svids_live_for(LONG_TTL);
    for files in [&agent.files, &service.files] {
        eventually("long SVIDs", LIFE, || life_left(&files.join("svid.pem")) > LIFE * 4);
    }
    let mut thief = copied(&agent.files, world.place.file("copied"));
    assert_eq!(thief.visit(&service.address).err(), None);
    let told = Instant::now();
    world.tell_the_end_of(&JOB);
    eventually("the agent's files go", LIFE, || !agent.files.join("svid_key.pem").exists());
    serves_nothing(&agent).await;
    let served_nothing = told.elapsed();
    assert_eq!(session.renew().await, Err("session_ended".to_owned()));
    eventually("the copied SVID is refused", LIFE, || thief.visit(&service.address).is_err());
    println!("after the webhook: {served_nothing:?} until nothing was served, {:?} until refused", told.elapsed());
    assert!(service.running.log().contains("certificate revoked"), "{}", service.running.log());
    // A worker of before the reload may still take a connection.
    for visitor in &mut visitors {
        eventually(visitor.name(), LIFE, || visitor.visit(&service.address).is_err());
    }
}

/// Longer than an answer of GitLab's is shared, so that each renewal asks.
const SLOW_TTL: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_nobody_says_is_over_has_no_identity_once_its_last_svid_has_run_out() {
    let world = World::start(SLOW_TTL);
    let service = Service::start(&world);
    let agent = world.agent("job", &JOB, &[]);
    let mut session = world.session(&JOB).await;
    next_svid(&agent.files);
    let mut thief = copied(&agent.files, world.place.file("copied"));
    assert_eq!(thief.visit(&service.address).err(), None);
    let over = Instant::now();
    world.end(&JOB);
    eventually("the agent's files go", SLOW_TTL, || !agent.files.join("svid_key.pem").exists());
    serves_nothing(&agent).await;
    assert_eq!(session.renew().await, Err("session_ended".to_owned()));
    eventually("the copied SVID is refused", SLOW_TTL.saturating_sub(over.elapsed()) + A_SECOND, || {
        thief.visit(&service.address).is_err()
    });
}

//! Our keys change, by the commands that operators type, while programs in two languages call services in two languages without
//! a pause: not one call fails but those of a thief, and not before the revocation that is meant to stop them.
//!
//! `LANYARD_KEY_ROUNDS=20` changes keys for longer.

use crate::consumer::{AGAIN_AFTER, Running, source};
use crate::history::{copied, eventually};
use crate::installed::installed;
use crate::place::free_port;
use crate::server::{lanyard, words};
use crate::visitors::{Program, Visitor, life_left};
use crate::world::{Agent, Job, World};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Seconds, so that SVIDs follow a new key while a test waits; enough of them that a machine which stands still for some loses none.
const TTL: Duration = Duration::from_secs(10);
/// So long that only a taint renews it.
const LONG_TTL: Duration = Duration::from_secs(1800);
/// A new key waits for its holders, and `propagation` and a ttl besides.
pub(crate) const KEYS: &str = "[keys]\nrotation = \"by hand\"\nrefresh_hint = \"1s\"\npropagation = \"2s\"\n";
/// Nothing here should take so long.
const LIMIT: Duration = Duration::from_secs(60);

const CALLER: Job = Job { number: 1, pipeline: "1" };
const GO: Job = Job { number: 2, pipeline: "2" };
const PYTHON: Job = Job { number: 3, pipeline: "3" };

/// A server whose library asks the Workload API, and the agent that it asks.
struct Service {
    address: String,
    agent: Agent,
    running: Running,
}

impl Service {
    fn go(world: &World) -> Self {
        Self::start(world, "go", &GO, |address| {
            let mut command = Command::new(installed("LANYARD_TEST_GO_CONSUMER"));
            command.args(["source", "no-sessions", address, "-"]);
            command
        })
    }

    fn python(world: &World) -> Self {
        Self::start(world, "python", &PYTHON, |address| {
            let mut command = Command::new(installed("LANYARD_TEST_PYTHON"));
            command.arg(source("tests/py/service.py")).arg(address);
            command
        })
    }

    fn start(world: &World, name: &str, job: &Job, command: impl FnOnce(&str) -> Command) -> Self {
        let (agent, port, folder) = (world.agent(name, job, &[]), free_port(), world.place.file(format!("{name}-log")));
        fs::create_dir(&folder).unwrap();
        let address = format!("127.0.0.1:{port}");
        let mut command = command(&address);
        command.env("SPIFFE_ENDPOINT_SOCKET", format!("unix://{}", agent.socket.display()));
        let running = Running::spawn(name, command, Signal::TERM, &folder, port);
        Self { address, agent, running }
    }
}

/// Calls of all to all.
#[derive(Default)]
pub(crate) struct Calls {
    pub(crate) made: AtomicUsize,
    failed: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl Calls {
    fn keep_making(&self, caller: &mut dyn Visitor, services: &[Service]) {
        let mut turn = services.iter().cycle();
        self.keep_calling(|| {
            let Service { address, running, .. } = turn.next().unwrap();
            caller.visit(address).map_err(|why| format!("{} at {address}: {why}\n{}", caller.name(), running.log()))
        });
    }

    /// Again and again, until it is over.
    pub(crate) fn keep_calling<T>(&self, mut call: impl FnMut() -> Result<T, String>) {
        while !self.over.load(Ordering::SeqCst) {
            self.failed.lock().unwrap().extend(call().err());
            self.made.fetch_add(1, Ordering::SeqCst);
            thread::sleep(AGAIN_AFTER);
        }
    }

    /// Everybody has called everybody, and nothing failed so far.
    pub(crate) fn go_well(&self, after: &str) {
        let seen = self.made.load(Ordering::SeqCst);
        eventually("calls", LIMIT, || self.made.load(Ordering::SeqCst) >= seen + 8);
        assert_eq!(*self.failed.lock().unwrap(), [""; 0], "after {after}");
    }
}

/// An operator at work.
pub(crate) struct Operator<'a> {
    pub(crate) world: &'a World,
    pub(crate) calls: &'a Calls,
}

impl Operator<'_> {
    pub(crate) fn types(&self, arguments: &[&str]) -> Result<Value, String> {
        let mut command = lanyard();
        command.arg("authority").args(arguments).arg("--json");
        let output = command.env("LANYARD_ADMIN_SOCKET", self.world.place.data().join("admin.sock")).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        // A command that stays tells more than once.
        let first = told.lines().next().map(|line| serde_json::from_str(line).unwrap());
        first.filter(|_| output.status.success()).ok_or_else(|| words(&output))
    }

    /// The key that signs.
    pub(crate) fn active(&self, kind: &str) -> String {
        let listed = self.types(&["list", "--kind", kind]).unwrap();
        let is_active = |key: &&Value| key["state"] == "active" && key["kind"] == kind;
        listed["keys"].as_array().unwrap().iter().find(is_active).unwrap()["key_id"].as_str().unwrap().to_owned()
    }

    fn live_on(&self, key: &str) -> u64 {
        let listed = self.types(&["list"]).unwrap();
        let found = listed["keys"].as_array().unwrap().iter().find(|one| one["key_id"] == key).cloned();
        found.map_or(0, |found| found["identities"].as_u64().unwrap())
    }

    fn until_nobody_is_on(&self, key: &str) {
        eventually("all SVIDs follow", LIMIT, || self.live_on(key) == 0);
    }

    pub(crate) fn changes_the_intermediate(&self) {
        let former = self.active("x509-intermediate");
        self.types(&["prepare", "--kind", "x509-intermediate"]).unwrap();
        let activate = ["activate", "--kind", "x509-intermediate"];
        eventually("its list is with everybody", LIMIT, || self.types(&activate).is_ok());
        self.until_nobody_is_on(&former);
        self.calls.go_well("another intermediate");
    }

    /// As the manual says, without force; the new root.
    pub(crate) fn changes_the_root(&self) -> String {
        let former = self.active("x509-root");
        let new = self.types(&["prepare"]).unwrap()["key_id"].as_str().unwrap().to_owned();
        assert!(self.types(&["activate"]).unwrap_err().contains("not_safe_yet"));
        self.calls.go_well("a prepared root");
        eventually("the gate opens", LIMIT, || self.types(&["activate"]).is_ok());
        self.until_nobody_is_on(&former);
        self.calls.go_well("another root");
        new
    }

    fn goes_back(&self) {
        let left = self.active("x509-root");
        self.types(&["rollback"]).unwrap();
        self.until_nobody_is_on(&left);
        self.calls.go_well("a rollback");
    }

    pub(crate) fn takes_out(&self, key: &str) {
        self.types(&["taint", key, "--reason", "a drill"]).unwrap();
        self.calls.go_well("a taint");
        self.types(&["revoke", key]).unwrap();
    }
}

#[test]
fn no_call_fails_while_intermediate_and_root_change_are_changed_back_tainted_and_revoked() {
    let rounds = std::env::var("LANYARD_KEY_ROUNDS").map_or(1, |text| text.parse().unwrap());
    let world = World::with_keys(TTL, KEYS);
    let services = [Service::go(&world), Service::python(&world)];
    let caller = world.agent("caller", &CALLER, &[]);
    let mut callers: [Box<dyn Visitor>; 2] =
        [Box::new(Program::go_spiffe(&caller.socket)), Box::new(Program::py_spiffe(&caller.socket))];
    let calls = Calls::default();
    let operator = Operator { world: &world, calls: &calls };
    thread::scope(|scope| {
        for caller in &mut callers {
            let (calls, services) = (&calls, &services);
            scope.spawn(move || calls.keep_making(&mut **caller, services));
        }
        // Callers end with whatever ends this.
        let _over = Over(&calls);
        calls.go_well("the start");
        for round in 1..=rounds {
            operator.changes_the_intermediate();
            let new = operator.changes_the_root();
            operator.goes_back();
            if round < rounds {
                operator.takes_out(&new);
            }
        }
        a_stolen_root_is_replaced(&operator, &services, &caller);
    });
    println!("{} calls in all", calls.made.load(Ordering::SeqCst));
}

/// SVIDs that nothing but a taint renews are under the root that is stolen, and so is the thief's.
fn a_stolen_root_is_replaced(operator: &Operator<'_>, services: &[Service], caller: &Agent) {
    let stolen = operator.active("x509-root");
    operator.world.let_svids_live_for(LONG_TTL);
    for agent in services.iter().map(|service| &service.agent).chain([caller]) {
        eventually("long SVIDs", LIMIT, || life_left(&agent.files.join("svid.pem")) > LONG_TTL / 2);
    }
    let mut thief = copied(&caller.files, operator.world.place.file("copied"));
    operator.types(&["rollback"]).unwrap();
    assert!(operator.live_on(&stolen) >= 3);
    operator.types(&["taint", &stolen, "--reason", "stolen"]).unwrap();
    assert_eq!(operator.live_on(&stolen), 0);
    operator.calls.go_well("a taint");
    for service in services {
        assert_eq!(thief.visit(&service.address).err(), None, "nothing was taken back yet");
    }
    operator.types(&["revoke", &stolen]).unwrap();
    for service in services {
        eventually("the thief is refused", LIMIT, || thief.visit(&service.address).is_err());
    }
    operator.calls.go_well("a revocation");
}

/// Ends the callers when it goes.
pub(crate) struct Over<'a>(pub(crate) &'a Calls);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
    }
}

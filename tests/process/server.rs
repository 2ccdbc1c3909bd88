//! One run of `lanyard server` (or of an agent), and the commands that look at what it left. Ended by its own process id, whatever happens.

use crate::place::Place;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A start on a small folder takes some tens of milliseconds; a busy machine may need many times that.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// The server's own drain is 10 s.
const ENDED_WITHIN: Duration = Duration::from_secs(20);
/// How often the world is looked at again.
const AGAIN_AFTER: Duration = Duration::from_millis(5);

/// A running process.
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts a server and waits until it is ready.
    pub(crate) fn start(place: &Place) -> Self {
        let mut server = Self::spawn(&place.config());
        server.wait_until_ready(place);
        server
    }

    /// Starts a server and waits for nothing.
    pub(crate) fn spawn(config: &Path) -> Self {
        Self::spawn_daemon("server", config)
    }

    /// Starts an agent and waits for nothing.
    pub(crate) fn spawn_agent(config: &Path) -> Self {
        Self::spawn_daemon("agent", config)
    }

    /// Starts a server or an agent that tells all it can, one JSON object a line, and waits for nothing.
    pub(crate) fn spawn_talkative(name: &str, config: &Path) -> Self {
        Self::spawn_with(&["--log", "trace", "--log-format", "json", name], config)
    }

    fn spawn_daemon(name: &str, config: &Path) -> Self {
        Self::spawn_with(&[name], config)
    }

    fn spawn_with(arguments: &[&str], config: &Path) -> Self {
        Self::run(lanyard().args(arguments), config)
    }

    /// Runs a command on a configuration; its log is beside that.
    pub(crate) fn run(command: &mut Command, config: &Path) -> Self {
        let log = config.with_extension("log");
        let child = command
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    pub(crate) fn wait_until_ready(&mut self, place: &Place) {
        self.wait_until(|| is_ready(place.health_port));
    }

    /// Waits for something that this process should do soon.
    pub(crate) fn wait_until(&mut self, done: impl Fn() -> bool) {
        let deadline = Instant::now() + READY_WITHIN;
        while !done() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("ended with {status} instead of getting ready:\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "not ready in time:\n{}", self.log());
            thread::sleep(AGAIN_AFTER);
        }
    }

    /// SIGKILL: no word to anybody.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM: asks it to end, and does not wait.
    pub(crate) fn ask_to_end(&self) {
        // The standard library can only kill, and this repository has no unsafe code.
        let asked = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().unwrap();
        assert!(asked.success());
    }

    /// Waits until it has ended by itself: its status, and everything that it said.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + ENDED_WITHIN;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.log());
            }
            assert!(Instant::now() < deadline, "does not end:\n{}", self.log());
            thread::sleep(AGAIN_AFTER);
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that has ended already cannot be killed; that is as good.
        let _dead = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// The binary (`LANYARD_TEST_PROGRAM` names another one, built elsewhere), without whatever environment the tests run in.
pub(crate) fn lanyard() -> Command {
    let built = std::env::var_os("LANYARD_TEST_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_lanyard").into());
    let mut command = Command::new(built);
    let inherited = std::env::vars_os().map(|(name, _)| name);
    for name in inherited.filter(|name| name.to_string_lossy().starts_with("LANYARD_")) {
        command.env_remove(name);
    }
    command
}

/// `lanyard audit verify` over a place's journal.
pub(crate) fn audit_verify(place: &Place) -> Output {
    lanyard().args(["audit", "verify", "--data-dir"]).arg(place.data()).output().unwrap()
}

/// What a command said, for a person.
pub(crate) fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The plain port says 200 once everything is open.
fn is_ready(port: u16) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer.starts_with("HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}

//! What a consumer is to these trials: a real server that is started on its own configuration, and told of new files.

use crate::dialogue::Dialogue;
use crate::page;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Servers start in tens of milliseconds; a JVM on a busy machine needs a thousand times that.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Who has not ended by then is killed.
const ENDED_WITHIN: Duration = Duration::from_secs(10);
pub(crate) const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// How a consumer comes to know what its files say now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Learns {
    /// It watches them, or reads them at each handshake.
    Alone,
    /// It has no use for CRLs.
    Never,
    /// By a signal or a command.
    Reload,
    /// By a new process only.
    Restart,
}

/// Whether clients may come back to a session without showing their certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sessions {
    /// As the software comes.
    AsItComes,
    /// Where it can be switched off, it is.
    Off,
}

/// One consumer: a row of the table.
pub(crate) trait Consumer: Sync {
    fn name(&self) -> &'static str;
    fn dialogue(&self) -> Dialogue;
    fn learns(&self) -> Learns;
    /// Writes what it needs into its folder, and says how it is started.
    fn prepare(&self, setting: &Setting) -> Command;
    /// Tells a running one of new files, where `learns` says that it wants to be told.
    fn reload(&self, _setting: &Setting, _running: &Running) {}
    /// What ends it without waiting for its clients.
    fn stop(&self) -> Signal {
        Signal::TERM
    }
    /// Another user than root, where it refuses to be root's.
    fn user(&self) -> Option<u32> {
        None
    }
    /// How long sessions last where they cannot be switched off.
    fn sessions_last(&self) -> Duration {
        Duration::ZERO
    }
    /// Whether it speaks with several clients at a time.
    fn serves_many(&self) -> bool {
        true
    }
}

/// Where one run of a consumer takes place.
pub(crate) struct Setting {
    /// Its own.
    pub(crate) folder: PathBuf,
    /// Its agent's.
    pub(crate) files: PathBuf,
    pub(crate) port: u16,
    pub(crate) sessions: Sessions,
}

impl Setting {
    /// A configuration as the documentation shows it, with this setting's places, put into the folder.
    pub(crate) fn write(&self, name: &str) -> PathBuf {
        let file = self.folder.join(name);
        fs::write(&file, self.text(name)).unwrap();
        file
    }

    /// The same as a text.
    pub(crate) fn text(&self, name: &str) -> String {
        page::block(name)
            .lines()
            .filter(|line| self.sessions == Sessions::Off || !line.ends_with("# no sessions"))
            .map(|line| {
                line.replace("/run/lanyard/files", &self.files.display().to_string())
                    .replace("/etc/lanyard/consumer", &self.folder.display().to_string())
                    .replace("8443", &self.port.to_string())
                    + "\n"
            })
            .collect()
    }
}

/// A consumer's process. Ended by its own id, whatever happens.
pub(crate) struct Running {
    child: Child,
    stop: Signal,
    log: PathBuf,
}

impl Running {
    /// Starts a consumer on its setting.
    pub(crate) fn start(consumer: &dyn Consumer, setting: &Setting) -> Self {
        let command = consumer.prepare(setting);
        Self::spawn(consumer.name(), command, consumer.stop(), &setting.folder, setting.port)
    }

    /// Runs a command, with its log in a folder, and waits until it listens.
    pub(crate) fn spawn(name: &str, mut command: Command, stop: Signal, folder: &Path, port: u16) -> Self {
        let log = folder.join("log");
        let said = File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}; `tests/run` installs it"));
        let mut running = Self { child, stop, log };
        let deadline = Instant::now() + READY_WITHIN;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = running.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{name} does not start:\n{}", running.log());
            thread::sleep(AGAIN_AFTER);
        }
        running
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Runs what makes it start new workers, and waits until those there were are gone: they listen to their last.
    pub(crate) fn replace_workers(&self, tell: impl FnOnce()) {
        let before = self.workers();
        tell();
        let deadline = Instant::now() + READY_WITHIN;
        while self.workers().iter().any(|worker| before.contains(worker)) {
            assert!(Instant::now() < deadline, "the workers stay:\n{}", self.log());
            thread::sleep(AGAIN_AFTER);
        }
    }

    fn workers(&self) -> Vec<String> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.split_whitespace().map(str::to_owned).collect()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if kill_process(Pid::from_child(&self.child), self.stop).is_ok() {
            let deadline = Instant::now() + ENDED_WITHIN;
            while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
                thread::sleep(AGAIN_AFTER);
            }
        }
        // One that has ended already cannot be killed; that is as good.
        let _dead = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// Runs a command to its good end.
pub(crate) fn run(command: &mut Command) {
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// Below the root of this repository.
pub(crate) fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

//! A consumer on trial: whom it lets in, when it learns, and what an identity leaves behind at it.

use crate::client::{Client, Connection, Refused, Svid};
use crate::consumer::{AGAIN_AFTER, Consumer, Learns, Running, Sessions, Setting};
use crate::place::free_port;
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use std::fmt;
use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What comes by itself has come by then.
const SOON: Duration = Duration::from_secs(20);
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A consumer at work on an agent's files.
pub(crate) struct Trial<'a> {
    consumer: &'a dyn Consumer,
    _folder: TempDir,
    setting: Setting,
    running: Option<Running>,
}

impl<'a> Trial<'a> {
    pub(crate) fn begin(consumer: &'a dyn Consumer, files: &Path, sessions: Sessions) -> Self {
        let folder = tempfile::Builder::new().prefix("lanyard").tempdir_in("/tmp").unwrap();
        chown(folder.path(), consumer.user(), None).unwrap();
        let setting =
            Setting { folder: folder.path().to_owned(), files: files.to_owned(), port: free_port(), sessions };
        let mut trial = Self { consumer, _folder: folder, setting, running: None };
        trial.restart();
        trial
    }

    pub(crate) fn restart(&mut self) {
        drop(self.running.take());
        self.hand_over();
        self.running = Some(Running::start(self.consumer, &self.setting));
    }

    /// Its agent would be of its user, and so would the key.
    fn hand_over(&self) {
        let Some(user) = self.consumer.user() else { return };
        let key = fs::canonicalize(self.setting.files.join("svid_key.pem")).unwrap();
        chown(key, Some(user), None).unwrap();
    }

    pub(crate) fn clients(&self, svid: &Svid) -> [Client; 2] {
        VERSIONS.map(|version| Client::new(svid, &self.setting.files.join("svid_bundle.pem"), version))
    }

    pub(crate) fn visit_with(&self, client: &Client) -> Result<Connection, Refused> {
        client.visit(self.setting.port, self.consumer.dialogue())
    }

    pub(crate) fn visit(&self, svid: &Svid) -> Result<Connection, Refused> {
        let [_, newest] = self.clients(svid);
        self.visit_with(&newest)
    }

    pub(crate) fn lets_in(&self, svid: &Svid) {
        for client in self.clients(svid) {
            if let Err(Refused { why }) = self.visit_with(&client) {
                panic!("{} does not let in who is in good standing: {why}\n{}", self.consumer.name(), self.log());
            }
        }
    }

    pub(crate) fn refuses(&self, svid: &Svid) {
        for client in self.clients(svid) {
            assert!(self.visit_with(&client).is_err(), "{} lets in who is over", self.consumer.name());
        }
    }

    /// Shows that it learns as it says, and no earlier: in the table's words.
    pub(crate) fn learns_of_the_end_of(&mut self, svid: &Svid) -> &'static str {
        let learns = self.consumer.learns();
        if learns != Learns::Alone {
            self.lets_in(svid);
        }
        match learns {
            Learns::Alone => {}
            Learns::Never => return "no",
            Learns::Reload => self.reload(),
            Learns::Restart => self.restart(),
        }
        let deadline = Instant::now() + SOON;
        while self.visit(svid).is_ok() {
            assert!(Instant::now() < deadline, "{} lets in who is over:\n{}", self.consumer.name(), self.log());
            thread::sleep(AGAIN_AFTER);
        }
        self.refuses(svid);
        match learns {
            Learns::Alone => "yes, by itself",
            Learns::Never => "no",
            Learns::Reload => "yes, after a reload",
            Learns::Restart => "yes, after a restart",
        }
    }

    fn reload(&self) {
        self.hand_over();
        self.consumer.reload(&self.setting, self.running.as_ref().unwrap());
    }

    fn log(&self) -> String {
        self.running.as_ref().unwrap().log()
    }
}

/// What an identity leaves behind at a consumer: a connection that is open, and sessions to come back to.
pub(crate) struct Left {
    open: Option<Connection>,
    sessions: Vec<Client>,
}

impl Left {
    pub(crate) fn behind(trial: &Trial<'_>, svid: &Svid) -> Self {
        let comes_back = |client: &Client| trial.visit_with(client).is_ok_and(|visit| visit.is_resumed());
        let mut sessions = Vec::new();
        for client in trial.clients(svid) {
            let was_let_in = trial.visit_with(&client).is_ok();
            if was_let_in && comes_back(&client) {
                sessions.push(client);
            }
        }
        let open = if trial.consumer.serves_many() { trial.visit(svid).ok() } else { None };
        Self { open, sessions }
    }

    /// Of the connection, and of the sessions together: one that survives is one too many.
    pub(crate) fn fates(self, trial: &Trial<'_>) -> [Fate; 2] {
        let fate = |survives| if survives { Fate::Survives } else { Fate::Ends };
        let open = self.open.map_or(Fate::None, |mut open| fate(open.lives_on()));
        let resumed = |client: &Client| trial.visit_with(client).is_ok_and(|visit| visit.is_resumed());
        let sessions = if self.sessions.is_empty() { Fate::None } else { fate(self.sessions.iter().any(resumed)) };
        [open, sessions]
    }
}

/// What becomes of something that began while the SVID was good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    Ends,
    /// There was nothing of the kind.
    None,
    Survives,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ends => "ends",
            Self::None => "none",
            Self::Survives => "**lives on**",
        })
    }
}

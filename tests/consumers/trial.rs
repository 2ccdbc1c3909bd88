//! The trial of a consumer: what it lets in before and after an identity's end, and what outlives that end.

use crate::authority::{Authority, Crls, Files, HOUR, Svid};
use crate::client::{Client, Connection, Refused};
use crate::consumer::{AGAIN_AFTER, Consumer, Learns, Running, Sessions, Setting};
use crate::place::free_port;
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use time::OffsetDateTime;

/// What comes by itself has come by then.
const SOON: Duration = Duration::from_secs(20);
/// The first lifetime that is tried where an SVID has to run out; doubled until there was time enough to use it.
const BRIEF: Duration = Duration::from_secs(4);
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// What becomes of something that began while the SVID was good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
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

/// An authority, a consumer's files and its process.
struct Trial<'a> {
    consumer: &'a dyn Consumer,
    authority: Authority,
    folder: TempDir,
    files: Files,
    setting: Setting,
    running: Option<Running>,
}

/// Tries all of it, and holds what was found against the documentation's table.
pub(crate) fn hold(consumer: &dyn Consumer) {
    crate::page::hold_row(consumer.name(), &[ended(consumer), with_odd_crls(consumer), run_out(consumer)].concat());
}

/// An identity ends, and a CRL says so.
fn ended(consumer: &dyn Consumer) -> Vec<String> {
    let mut trial = Trial::begin(consumer, Sessions::AsItComes);
    let (over, other) = (trial.svid("over", HOUR), trial.svid("other", HOUR));
    trial.lets_in(&other);
    let left = Left::behind(&trial, &over);
    trial.files.publish(&trial.authority, &[&over], Crls::Complete);
    let learns = trial.learns_of_the_end_of(&over);
    trial.lets_in(&other);
    let [open, resumed] = left.fates(&trial);
    if consumer.learns() == Learns::Never {
        trial.restart();
        trial.lets_in(&over);
    }
    vec![learns.to_owned(), open.to_string(), resumed.to_string()]
}

/// Nobody comes back to a session where the page's lines switch that off; and what CRLs that we would never write do to
/// somebody who has done nothing.
fn with_odd_crls(consumer: &dyn Consumer) -> Vec<String> {
    let mut trial = Trial::begin(consumer, Sessions::Off);
    let other = trial.svid("other", HOUR);
    for client in trial.clients(&other) {
        trial.visit_with(&client).unwrap();
        thread::sleep(consumer.sessions_last());
        let again = trial.visit_with(&client).unwrap();
        assert!(!again.is_resumed(), "{}: sessions are switched off", consumer.name());
    }
    let mut verdict = |crls| {
        trial.files.publish(&trial.authority, &[], crls);
        trial.restart();
        if trial.visit(&other).is_ok() { "lets in" } else { "**refuses everybody**" }.to_owned()
    };
    vec![verdict(Crls::OfLeavesOnly), verdict(Crls::Stale)]
}

/// An SVID runs out, and nobody says anything.
fn run_out(consumer: &dyn Consumer) -> Vec<String> {
    let trial = Trial::begin(consumer, Sessions::AsItComes);
    let mut lifetime = BRIEF;
    let (svid, left) = loop {
        let svid = trial.svid("brief", lifetime);
        let left = Left::behind(&trial, &svid);
        if OffsetDateTime::now_utc() < svid.not_after {
            break (svid, left);
        }
        lifetime *= 2;
    };
    // Certificates and clocks of this kind count whole seconds.
    let wait = svid.not_after + Duration::from_secs(2) - OffsetDateTime::now_utc();
    thread::sleep(wait.try_into().unwrap());
    trial.refuses(&svid);
    left.fates(&trial).map(|fate| fate.to_string()).to_vec()
}

impl<'a> Trial<'a> {
    fn begin(consumer: &'a dyn Consumer, sessions: Sessions) -> Self {
        let folder = tempfile::Builder::new().prefix("lanyard").tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let (authority, own) = (Authority::new(), folder.path().join("consumer"));
        fs::create_dir(&own).unwrap();
        std::os::unix::fs::chown(&own, consumer.user(), None).unwrap();
        let files = Files::new(&authority, &folder.path().join("files"), consumer.user());
        let setting = Setting { folder: own, files: files.folder.clone(), port: free_port(), sessions };
        let running = Some(Running::start(consumer, &setting));
        Self { consumer, authority, folder, files, setting, running }
    }

    fn svid(&self, job: &str, lifetime: Duration) -> Svid {
        self.authority.issue(self.folder.path(), job, lifetime)
    }

    fn clients(&self, svid: &Svid) -> [Client; 2] {
        VERSIONS.map(|version| Client::new(svid, &self.files.folder.join("svid_bundle.pem"), version))
    }

    fn visit_with(&self, client: &Client) -> Result<Connection, Refused> {
        client.visit(self.setting.port, self.consumer.dialogue())
    }

    fn visit(&self, svid: &Svid) -> Result<Connection, Refused> {
        let [_, newest] = self.clients(svid);
        self.visit_with(&newest)
    }

    fn lets_in(&self, svid: &Svid) {
        for client in self.clients(svid) {
            let visit = self.visit_with(&client);
            if let Err(Refused { why }) = visit {
                panic!("{} lets nobody in: {why}\n{}", self.consumer.name(), self.log());
            }
        }
    }

    fn refuses(&self, svid: &Svid) {
        for client in self.clients(svid) {
            assert!(self.visit_with(&client).is_err(), "{} lets in who is over", self.consumer.name());
        }
    }

    fn restart(&mut self) {
        drop(self.running.take());
        self.running = Some(Running::start(self.consumer, &self.setting));
    }

    /// Shows that it learns as it says, and no earlier: in the table's words.
    fn learns_of_the_end_of(&mut self, svid: &Svid) -> &'static str {
        let learns = self.consumer.learns();
        if learns != Learns::Alone {
            self.lets_in(svid);
        }
        match learns {
            Learns::Alone => {}
            Learns::Reload => self.consumer.reload(&self.setting, self.running.as_ref().unwrap()),
            Learns::Never => return "no",
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
            Learns::Reload => "yes, after a reload",
            Learns::Never => "no",
            Learns::Restart => "yes, after a restart",
        }
    }

    fn log(&self) -> String {
        self.running.as_ref().unwrap().log()
    }
}

/// What an identity leaves behind at a consumer: a connection that is open, and sessions to come back to.
struct Left {
    open: Option<Connection>,
    sessions: Vec<Client>,
}

impl Left {
    fn behind(trial: &Trial<'_>, svid: &Svid) -> Self {
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
    fn fates(self, trial: &Trial<'_>) -> [Fate; 2] {
        let fate = |survives| if survives { Fate::Survives } else { Fate::Ends };
        let open = self.open.map_or(Fate::None, |mut open| fate(open.lives_on()));
        let resumed = |client: &Client| trial.visit_with(client).is_ok_and(|visit| visit.is_resumed());
        let sessions = if self.sessions.is_empty() { Fate::None } else { fate(self.sessions.iter().any(resumed)) };
        [open, sessions]
    }
}

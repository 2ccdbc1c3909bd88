//! Joins the agent's parts, starts and stops its tasks: the only place in this room that starts any, but for those of
//! the doors' connections and, on a host, each job's renewer.

use super::crls::{self, CrlsWatch, Gatherer};
use super::desk::{Desk, Job, Users};
use super::ears::{Ears, Hearing};
use super::file_output::FileOutput;
use super::host::{Host, HostError};
use super::jobs::Tools;
use super::keeper::Keeper;
use super::kept::Whose;
use super::lasting_socket::LastingSocket;
use super::limits::{LOGINS_MAX, LOGINS_OF_HOST_MAX, LOGINS_OF_ONE_MAX};
use super::link::ServerLink;
use super::login_door::{self, AgentHandle};
use super::metrics_port::MetricsPort;
use super::order::Order;
use super::own_program::{self, OwnProgramError};
use super::places::Places;
use super::renewer::Renewer;
use super::sds::{Sds, SecretNames};
use super::session_file::{SessionFile, SessionFileError, Sharing, own_uid};
use super::shown::Shown;
use super::socket::{SocketError, SocketFile, bind};
use super::token_source::TokenSource;
use super::turned_away::TurnedAway;
use super::workload_api::Callers;
use super::workload_door::WorkloadDoor;
use crate::clock::Clock;
use crate::crypto::Random;
use crate::telemetry::{AgentMetrics, Shutdown};
use crate::tls::{ServerTrust, SessionCertificate, TlsClient, TlsError};
use crate::wire::{ServerUrl, channel};
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio_stream::wrappers::UnixListenerStream;

/// Doors close within this time, or are closed: the goodbye to the server, and a little.
const CLOSE_WITHIN: Duration = Duration::from_secs(6);

/// Connecting takes write permission on the socket, and a job's uid is not known before (EP-19).
pub const MODE_EVERYBODY: u32 = 0o777;

/// For the sockets of `exec` and `dev`, whose callers are of one uid.
pub const MODE_OWNER: u32 = 0o700;

/// What being told to stop means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnStop {
    /// The job is over: a pod's agent ends with its job.
    EndSession,
    /// Another run goes on: the next `exec` of the job, or this agent again.
    KeepSession,
}

/// How an agent is to run.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// The server's issuer port.
    pub server: ServerUrl,
    /// What makes us believe that it is the server.
    pub trust: ServerTrust,
    /// Where workloads ask; an absolute path.
    pub workload_socket: PathBuf,
    /// Where proxies ask besides, such as Istio's; a path that they may delete.
    pub sds_socket: Option<PathBuf>,
    /// The names of their secrets.
    pub secrets: SecretNames,
    /// Where jobs log in; none when nobody does.
    pub agent_socket: Option<PathBuf>,
    /// Where Prometheus reads numbers, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// Where the program is put for jobs to call, if anywhere; an absolute path.
    pub program: Option<PathBuf>,
    /// The mode of the sockets.
    pub socket_mode: u32,
    /// Who may ask on them, and which job they are.
    pub callers: Callers,
    /// Where the session key is kept; a tmpfs.
    pub state_dir: PathBuf,
    /// Where tokens come from, besides logins; of no use where callers are of many jobs, as are files.
    pub token: TokenSource,
    /// Where the runner's own token is, if it has an identity of its own for the time when no job has one.
    pub runner: Option<PathBuf>,
    /// Where files go, if any.
    pub files: Option<FileOutput>,
    /// What becomes of the session when the agent is told to stop.
    pub on_stop: OnStop,
}

/// Why an agent cannot start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The server's address.
    #[error("the server's address cannot be used")]
    Address(#[from] tonic::transport::Error),
    /// A part ended by itself.
    #[error("{0} ended by itself")]
    Ended(&'static str),
    /// Jobs cannot be told apart.
    #[error("mode host cannot be had here")]
    Host(#[from] HostError),
    /// The port for metrics.
    #[error("the metrics port {address} cannot be had")]
    Metrics {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A part broke.
    #[error("a part of the agent broke")]
    Part(#[from] JoinError),
    /// The program for jobs to call.
    #[error(transparent)]
    Program(#[from] OwnProgramError),
    /// The session key.
    #[error(transparent)]
    SessionFile(#[from] SessionFileError),
    /// A socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// What the handshake needs.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// An agent that is ready to run: its sockets exist, and wait.
pub struct Agent {
    desk: Desk,
    work: Work,
    hearing: Hearing,
    workload: (UnixListener, SocketFile),
    proxies: Option<LastingSocket>,
    secrets: Sds,
    door: Option<(UnixListener, SocketFile)>,
    metrics: Option<MetricsPort>,
    clock: Arc<dyn Clock>,
}

/// What is done behind the sockets.
enum Work {
    Host(Box<Host>),
    OneJob(Box<OneJob>),
}

/// The parts of an agent that serves one job.
struct OneJob {
    shown: Shown,
    job: Bearer,
    runner: Option<Bearer>,
    files: Option<(FileOutput, CrlsWatch)>,
}

/// Whoever has an identity, and where its tokens come from.
struct Bearer {
    renewer: Renewer,
    orders: (AgentHandle, mpsc::Receiver<Order>),
    token: TokenSource,
    on_stop: OnStop,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Agent({})", self.workload.1.0.display())
    }
}

impl Agent {
    /// Opens the session key's file and the sockets; talks to nobody yet. Needs a runtime around it.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub fn build(settings: AgentSettings, clock: Arc<dyn Clock>, random: &Random) -> Result<Self, AgentError> {
        let sharing = match (settings.on_stop, &settings.callers) {
            (OnStop::EndSession, _) | (OnStop::KeepSession, Callers::Jobs(_)) => Sharing::Alone,
            (OnStop::KeepSession, Callers::Any | Callers::OwnUid | Callers::Uids(_)) => Sharing::WithOthers,
        };
        // Before the sockets: a second agent of one configuration is told the true reason.
        let file = SessionFile::open(&settings.state_dir, sharing, random)?;
        // Whoever finds a socket finds the program too.
        if let Some(path) = &settings.program {
            own_program::provide(path, random)?;
        }
        let workload = bound(settings.workload_socket.clone(), settings.socket_mode)?;
        let door = settings.agent_socket.clone().map(|path| bound(path, settings.socket_mode)).transpose()?;
        let (mode, numbers) = (settings.socket_mode, AgentMetrics::default());
        let proxies =
            settings.sds_socket.clone().map(|path| LastingSocket::bind((path, mode), random.clone(), numbers.clone()));
        let proxies = proxies.transpose()?;
        let certificate = SessionCertificate::of(file.key(), random, clock.now())?;
        let tls = TlsClient::new(&settings.trust, Some(&certificate), &["h2"])?;
        let link = ServerLink::new(channel(&settings.server, tls)?);
        let wanted = settings.secrets.crl || settings.files.as_ref().is_some_and(|files| files.crl);
        let (gatherer, crls) = wanted.then(Gatherer::pair).unzip();
        let crls = crls.unwrap_or_else(crls::unwanted);
        let metrics = settings.metrics.map(|address| {
            let port = MetricsPort::bind(address, numbers.clone());
            port.map_err(|source| AgentError::Metrics { address, source })
        });
        let metrics = metrics.transpose()?;
        let secrets = Sds::new(settings.secrets.clone(), crls.clone(), numbers.clone());
        let turned_away = TurnedAway::new(Arc::clone(&clock), numbers);
        let (ears, hearing) = Ears::pair(link.clone(), (Arc::clone(&clock), random.clone()), gatherer);
        let (file, random) = (Arc::new(Mutex::new(file)), random.clone());
        let tools = Tools { link, ears, file, clock: Arc::clone(&clock), random };
        let only: Users = match &settings.callers {
            Callers::Any | Callers::Jobs(_) => None,
            Callers::OwnUid => Some(BTreeSet::from([own_uid()?])),
            Callers::Uids(uids) => Some(uids.clone()),
        };
        let (desk, work) = match settings.callers {
            Callers::Jobs(host) => {
                let host = host.open(tools)?;
                (Desk::host(host.jobs.clone(), turned_away), Work::Host(Box::new(host)))
            }
            Callers::Any | Callers::OwnUid | Callers::Uids(_) => one_job(settings, &tools, crls, (only, turned_away)),
        };
        Ok(Self { desk, work, hearing, workload, proxies, secrets, door, metrics, clock })
    }

    /// Logs in and out from inside this process; none where each caller is of a job of its own.
    pub fn handle(&self) -> Option<AgentHandle> {
        self.desk.handle()
    }

    /// Serves until shutdown: open streams then end with `Unavailable`.
    ///
    /// # Errors
    /// `Part` or `Ended` when a part did not last until then.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), AgentError> {
        let Self { desk, work, hearing, workload, proxies, secrets, door, metrics, clock } = self;
        let (workload, workload_file) = workload;
        let logins = door.as_ref().map(|(_, file)| file.0.display().to_string());
        let mut parts: JoinSet<&'static str> = JoinSet::new();
        let workloads = WorkloadDoor::new(desk.clone(), secrets, Arc::clone(&clock));
        if let Some(proxies) = proxies {
            tracing::info!(path = %proxies.path().display(), "serving secrets to proxies");
            parts.spawn(workloads.clone().serve(proxies, shutdown.clone()));
        }
        parts.spawn(workloads.serve(UnixListenerStream::new(workload), shutdown.clone()));
        let _door_file = door.map(|(listener, file)| {
            parts.spawn(serve_logins(listener, desk.clone(), shutdown.clone()));
            file
        });
        if let Some(metrics) = metrics {
            parts.spawn(metrics.serve(shutdown.clone()));
        }
        let stop = shutdown.clone();
        parts.spawn(async move {
            hearing.run(stop).await;
            "the part that listens to the server"
        });
        match work {
            Work::Host(host) => {
                let (Host { jobs, begun, tools }, stop) = (*host, shutdown.clone());
                parts.spawn(async move {
                    jobs.run(tools, begun, stop).await;
                    "the jobs"
                });
            }
            Work::OneJob(one) => one.start(&mut parts, &clock, &shutdown),
        }
        tracing::info!(workload = %workload_file.0.display(), agent = logins, "serving");
        tokio::select! {
            () = shutdown.wait() => {}
            Some(ended) = parts.join_next() => if !shutdown.is_due() { return Err(AgentError::Ended(ended?)) },
        }
        desk.stop();
        let closed = async { while parts.join_next().await.is_some() {} };
        if tokio::time::timeout(CLOSE_WITHIN, closed).await.is_err() {
            tracing::debug!("some connections did not close in time");
        }
        Ok(())
    }
}

impl OneJob {
    fn start(self, parts: &mut JoinSet<&'static str>, clock: &Arc<dyn Clock>, shutdown: &Shutdown) {
        let Self { shown, job, runner, files } = self;
        if let Some((files, crls)) = files {
            files.warn_of_disk();
            let (clock, on_stop, stop) = (Arc::clone(clock), job.on_stop, shutdown.clone());
            parts.spawn(async move {
                files.run((shown, crls), clock, on_stop, stop).await;
                "the file output"
            });
        }
        job.start(parts, clock, shutdown);
        if let Some(runner) = runner {
            runner.start(parts, clock, shutdown);
        }
    }
}

impl Bearer {
    fn new(tools: &Tools, (whose, keeper): (Whose, &Arc<Keeper>), token: TokenSource, on_stop: OnStop) -> Self {
        let (renewer, orders) = (tools.renewer(whose, Arc::clone(keeper)), AgentHandle::pair());
        Self { renewer, orders, token, on_stop }
    }

    fn start(self, parts: &mut JoinSet<&'static str>, clock: &Arc<dyn Clock>, shutdown: &Shutdown) {
        let Self { renewer, orders: (handle, orders), token, on_stop } = self;
        let (clock, stop) = (Arc::clone(clock), shutdown.clone());
        parts.spawn(async move {
            token.run(handle.0, clock, stop).await;
            "the token source"
        });
        let stop = shutdown.clone();
        parts.spawn(async move {
            renewer.run(orders, on_stop, stop).await;
            "the renewer"
        });
    }
}

/// The parts for an agent whose callers are all of one job, or turned away.
fn one_job(
    settings: AgentSettings,
    tools: &Tools,
    crls: CrlsWatch,
    (only, turned_away): (Users, TurnedAway),
) -> (Desk, Work) {
    let AgentSettings { token, runner, files, on_stop, .. } = settings;
    let (keeper, runners) = (Arc::<Keeper>::default(), Arc::<Keeper>::default());
    let shown = Shown::new(keeper.watch(), runner.is_some().then(|| runners.watch()));
    let one = Bearer::new(tools, (Whose::OnlyJob, &keeper), token, on_stop);
    // Its pod is what the server takes for its job: one that was ended could not log in again after a restart.
    let bearer = |token| Bearer::new(tools, (Whose::Runner, &runners), TokenSource::File(token), OnStop::KeepSession);
    let runner = runner.map(bearer);
    let job = Job::new(shown.clone(), (&tools.link, &tools.clock), one.orders.0.clone());
    let desk = Desk::one_job((job, keeper), only, turned_away);
    let files = files.map(|files| {
        let crls = if files.crl { crls } else { crls::unwanted() };
        (files, crls)
    });
    (desk, Work::OneJob(Box::new(OneJob { shown, job: one, runner, files })))
}

fn bound(path: PathBuf, mode: u32) -> Result<(UnixListener, SocketFile), SocketError> {
    let listener = bind(&path, mode)?;
    Ok((listener, SocketFile(path)))
}

async fn serve_logins(listener: UnixListener, desk: Desk, shutdown: Shutdown) -> &'static str {
    let most = if desk.is_host() { LOGINS_OF_HOST_MAX } else { LOGINS_MAX };
    login_door::serve(listener, desk, Places::new(most, LOGINS_OF_ONE_MAX), shutdown).await;
    "the agent's socket"
}

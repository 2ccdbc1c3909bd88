//! Joins the agent's parts, starts and stops its tasks: the only place in this room that starts any, but for those of
//! the doors' connections.

use super::any_authority::AnyAuthority;
use super::calls::CallsLayer;
use super::file_output::FileOutput;
use super::jwt_svids::JwtSvids;
use super::keeper::Keeper;
use super::limits::{
    CONNECTIONS_MAX, CONNECTIONS_OF_ONE_MAX, REQUEST_BYTES_MAX, RESET_STREAMS_MAX, REST_AFTER_ERROR, STREAMS_MAX,
};
use super::link::ServerLink;
use super::login_door::{self, AgentHandle};
use super::places::Places;
use super::reflection::with_reflection;
use super::renewer::{Order, Renewer};
use super::session_file::{SessionFile, SessionFileError, Sharing, own_uid};
use super::socket::{SocketError, SocketFile, bind};
use super::token_source::TokenSource;
use super::workload_api::{Admission, Callers, WorkloadApi, with_header};
use crate::clock::Clock;
use crate::crypto::Random;
use crate::telemetry::Shutdown;
use crate::tls::{ServerTrust, SessionCertificate, TlsClient, TlsError};
use crate::wire::workload::spiffe_workload_api_server::SpiffeWorkloadApiServer;
use crate::wire::{ServerUrl, channel, connections_of};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::{InterceptorLayer, Routes};

/// Doors close within this time, or are closed: the goodbye to the server, and a little.
const CLOSE_WITHIN: Duration = Duration::from_secs(6);

/// Logins that wait for the renewer.
const ORDERS_WAITING: usize = 16;

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

/// How an agent is to run. Mode `pod`: whoever is admitted is the job.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// The server's issuer port.
    pub server: ServerUrl,
    /// What makes us believe that it is the server.
    pub trust: ServerTrust,
    /// Where workloads ask; an absolute path.
    pub workload_socket: PathBuf,
    /// Where jobs log in; none when nobody does.
    pub agent_socket: Option<PathBuf>,
    /// The mode of both sockets.
    pub socket_mode: u32,
    /// Who may ask on them.
    pub callers: Callers,
    /// Where the session key is kept; a tmpfs.
    pub state_dir: PathBuf,
    /// Where tokens come from, besides logins.
    pub token: TokenSource,
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
    /// A part broke.
    #[error("a part of the agent broke")]
    Part(#[from] JoinError),
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
    keeper: Arc<Keeper>,
    renewer: Renewer,
    orders: mpsc::Receiver<Order>,
    handle: AgentHandle,
    workload: (UnixListener, SocketFile),
    door: Option<(UnixListener, SocketFile)>,
    admission: Admission,
    jwt_svids: Arc<JwtSvids>,
    token: TokenSource,
    files: Option<FileOutput>,
    on_stop: OnStop,
    clock: Arc<dyn Clock>,
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
        let admission = Admission { callers: settings.callers, own_uid: own_uid()? };
        let sharing = match settings.on_stop {
            OnStop::EndSession => Sharing::Alone,
            OnStop::KeepSession => Sharing::WithOthers,
        };
        // Before the sockets: a second agent of one configuration is told the true reason.
        let file = SessionFile::open(&settings.state_dir, sharing, random)?;
        let workload = bound(settings.workload_socket, settings.socket_mode)?;
        let door = settings.agent_socket.map(|path| bound(path, settings.socket_mode)).transpose()?;
        let certificate = SessionCertificate::of(file.key(), random, clock.now())?;
        let tls = TlsClient::new(&settings.trust, Some(&certificate), &["h2"])?;
        let link = ServerLink::new(channel(&settings.server, tls)?);
        let keeper = Arc::new(Keeper::new());
        let jwt_svids = Arc::new(JwtSvids::new(link.clone(), Arc::clone(&clock)));
        let renewer = Renewer::new(link, file, Arc::clone(&keeper), Arc::clone(&clock), random.clone());
        let (handle, orders) = mpsc::channel(ORDERS_WAITING);
        Ok(Self {
            keeper,
            renewer,
            orders,
            handle: AgentHandle(handle),
            workload,
            door,
            admission,
            jwt_svids,
            token: settings.token,
            files: settings.files,
            on_stop: settings.on_stop,
            clock,
        })
    }

    /// Logs in and out from inside this process.
    pub fn handle(&self) -> AgentHandle {
        self.handle.clone()
    }

    /// Serves until shutdown: open streams then end with `Unavailable`.
    ///
    /// # Errors
    /// `Part` or `Ended` when a part did not last until then.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), AgentError> {
        let Self {
            keeper,
            renewer,
            orders,
            handle,
            workload,
            door,
            admission,
            jwt_svids,
            token,
            files,
            on_stop,
            clock,
        } = self;
        let (workload, workload_file) = workload;
        tracing::info!(
            workload = %workload_file.0.display(), agent = door.as_ref().map(|(_, file)| file.0.display().to_string()), "serving"
        );
        let mut parts: JoinSet<&'static str> = JoinSet::new();
        let api = WorkloadApi { keeper: keeper.watch(), jwt_svids, clock: Arc::clone(&clock) };
        let stop = shutdown.clone();
        parts.spawn(serve_workloads(workload, api, admission, stop, Arc::clone(&clock)));
        if let Some(files) = files {
            let (watch, clock, stop) = (keeper.watch(), Arc::clone(&clock), shutdown.clone());
            parts.spawn(async move {
                files.run(watch, clock, on_stop, stop).await;
                "the file output"
            });
        }
        let _door_file = door.map(|(listener, file)| {
            let (agent, stop) = (handle.clone(), shutdown.clone());
            parts.spawn(serve_logins(listener, agent, admission, stop));
            file
        });
        let stop = shutdown.clone();
        parts.spawn(async move {
            token.run(handle.0, clock, stop).await;
            "the token source"
        });
        let stop = shutdown.clone();
        parts.spawn(async move {
            renewer.run(orders, on_stop, stop).await;
            "the renewer"
        });
        tokio::select! {
            () = shutdown.wait() => {}
            Some(ended) = parts.join_next() => if !shutdown.is_due() { return Err(AgentError::Ended(ended?)) },
        }
        keeper.stop();
        let closed = async { while parts.join_next().await.is_some() {} };
        if tokio::time::timeout(CLOSE_WITHIN, closed).await.is_err() {
            tracing::debug!("some connections did not close in time");
        }
        Ok(())
    }
}

fn bound(path: PathBuf, mode: u32) -> Result<(UnixListener, SocketFile), SocketError> {
    let listener = bind(&path, mode)?;
    Ok((listener, SocketFile(path)))
}

async fn serve_workloads(
    listener: UnixListener,
    api: WorkloadApi,
    admission: Admission,
    shutdown: Shutdown,
    clock: Arc<dyn Clock>,
) -> &'static str {
    let service = SpiffeWorkloadApiServer::new(api).max_decoding_message_size(REQUEST_BYTES_MAX);
    let admitted = tower::ServiceBuilder::new()
        .layer(InterceptorLayer::new(with_header))
        .layer(InterceptorLayer::new(admission))
        .service(service);
    let routes = match with_reflection(Routes::new(admitted), admission) {
        Ok(routes) => routes,
        Err(error) => return logged("the Workload API's reflection", Err(error)),
    };
    let most = connections_of(CONNECTIONS_MAX);
    let places = Places::new(most, CONNECTIONS_OF_ONE_MAX.min(most.div_ceil(2)));
    // Whoever comes when all places are taken waits in the system's queue.
    let connections = UnixListenerStream::new(listener).then(move |accepted| {
        let (places, clock) = (places.clone(), Arc::clone(&clock));
        async move { seated(accepted, &places, clock).await }
    });
    let connections = connections.filter_map(Result::transpose);
    let served = tonic::transport::Server::builder()
        .layer(CallsLayer::default())
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESET_STREAMS_MAX))
        .add_routes(routes)
        .serve_with_incoming_shutdown(connections, async move { shutdown.wait().await })
        .await;
    logged("the Workload API", served)
}

/// A connection at its place. The library would accept again at once, and tell nobody, however often that fails.
async fn seated(
    accepted: io::Result<UnixStream>,
    places: &Places,
    clock: Arc<dyn Clock>,
) -> io::Result<Option<AnyAuthority>> {
    let stream = match accepted {
        Ok(stream) => stream,
        Err(error) => {
            tracing::warn!(%error, "a connection to the Workload API could not be accepted");
            tokio::time::sleep(REST_AFTER_ERROR).await;
            return Ok(None);
        }
    };
    let share = places.share().await.map_err(io::Error::other)?;
    Ok(places.seat(&stream, share).map(|place| AnyAuthority::new(stream, place, clock)))
}

async fn serve_logins(
    listener: UnixListener,
    agent: AgentHandle,
    admission: Admission,
    shutdown: Shutdown,
) -> &'static str {
    login_door::serve(listener, agent, admission, shutdown).await;
    "the agent's socket"
}

fn logged<E: std::fmt::Display>(part: &'static str, served: Result<(), E>) -> &'static str {
    if let Err(error) = served {
        tracing::error!(%error, "{part} cannot be served");
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use tokio::time::Instant;

    #[tokio::test]
    async fn an_accept_that_fails_is_not_tried_again_at_once() {
        let began = Instant::now();
        let too_many_files = io::Error::from(rustix::io::Errno::MFILE);
        let seated = seated(Err(too_many_files), &Places::new(1, 1), Arc::new(SystemClock)).await;
        assert!(seated.unwrap().is_none());
        assert!(began.elapsed() >= REST_AFTER_ERROR);
    }
}

//! Joins the parts of a dev run: what does not wait for each other goes side by side.

use super::files::{AUDIENCE, Places};
use super::gitlab::Gitlab;
use super::keys::{GitlabKeys, tls_authority};
use super::workload::first_svid;
use super::{DevError, DevFolder, Report, job, jobs};
use crate::agent::{Agent, AgentSettings, Callers, MODE_OWNER, OnStop, SecretNames, TokenSource};
use crate::clock::Clock;
use crate::config::{Environment, load_server};
use crate::crypto::Random;
use crate::discovery::HttpsFetch;
use crate::server::{Server, World};
use crate::telemetry::{Shutdown, ShutdownTrigger};
use crate::tls::ServerTrust;
use std::path::Path;
use std::sync::Arc;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

/// A dev run whose first SVID came over the real socket.
#[derive(Debug)]
pub struct RunningDev {
    /// What it found out.
    pub report: Report,
    folder: Arc<DevFolder>,
    parts: Parts,
}

/// The tasks of a run, and what stops them: clients before those they talk to.
#[derive(Debug, Default)]
struct Parts {
    agent: Crew,
    others: Crew,
}

/// Tasks that stop together.
#[derive(Debug)]
struct Crew {
    trigger: ShutdownTrigger,
    shutdown: Shutdown,
    tasks: JoinSet<Result<(), DevError>>,
}

impl RunningDev {
    /// Starts everything in a folder and waits for the first SVID.
    ///
    /// # Errors
    /// See [`DevError`].
    pub async fn start(path: &Path, environment: &dyn Environment, clock: Arc<dyn Clock>) -> Result<Self, DevError> {
        let began_at = clock.now();
        let folder = Arc::new(DevFolder::claim(path)?);
        let places = Places::choose(&folder)?;
        let mut parts = Parts::default();
        let listener = TcpListener::bind(("127.0.0.1", places.gitlab_port())).await.map_err(DevError::Port)?;
        let authority = tls_authority(&folder, &Random::system(), clock.now())?;
        let api_token = jobs::api_token(&folder, &Random::system())?;
        places.write_settings(&folder)?;
        let (gitlab_keys, server) = tokio::join!(keys_of(&folder), parts.start_server(&places, environment, &clock));
        let keys = gitlab_keys?;
        let gitlab =
            Gitlab::open(authority, &keys, (&places.gitlab, listener), &*clock)?.showing_jobs(&folder, api_token);
        parts.serve_gitlab(gitlab);
        server?;

        let token = job::claims_of_a_new_job(&places.gitlab, AUDIENCE, &[], &Random::system(), clock.now());
        jobs::forget_old(&folder, clock.now())?;
        jobs::remember(&folder, &token)?;
        let session_ends_at = token.get("exp").and_then(serde_json::Value::as_i64).unwrap_or_default();
        let session_ends_at = OffsetDateTime::from_unix_timestamp(session_ends_at).unwrap_or(began_at);
        parts.start_agent(&folder, &places, keys.sign(&token)?, &clock).await?;
        let svid = first_svid(&places.workload_socket).await?;
        let took = clock.now() - began_at;
        places.write_env(&folder)?;
        let mut report = Report::of(&svid, session_ends_at, &places, folder.place("dev.env"))?;
        report.milliseconds = took.whole_milliseconds();
        Ok(Self { report, folder, parts })
    }

    /// Stays until it is told to stop, or a part ends by itself.
    ///
    /// # Errors
    /// Why a part ended.
    pub async fn until_stopped(mut self, stop: impl Future<Output = ()>) -> Result<(), DevError> {
        let ended = tokio::select! {
            () = stop => Ok(()),
            ended = self.parts.agent.ended() => ended,
            ended = self.parts.others.ended() => ended,
        };
        // Whoever looks for this file looks for a run that is ready.
        self.folder.remove("dev.env")?;
        self.stop().await;
        ended
    }

    /// Stops at once, and leaves `dev.env` for whoever goes on with the folder.
    pub async fn stop(self) {
        let Parts { agent, others } = self.parts;
        for mut crew in [agent, others] {
            crew.trigger.pull();
            while crew.tasks.join_next().await.is_some() {}
        }
    }
}

impl Parts {
    /// Returns when its doors listen.
    async fn start_server(
        &mut self,
        places: &Places,
        environment: &dyn Environment,
        clock: &Arc<dyn Clock>,
    ) -> Result<(), DevError> {
        let settings = load_server(&places.config, environment).map_err(DevError::Settings)?;
        let shutdown = self.others.shutdown.clone();
        let fetch = Arc::new(HttpsFetch::new(None).map_err(DevError::Https)?);
        let world = World { clock: Arc::clone(clock), random: Random::system(), fetch };
        let server = Box::pin(Server::start(&settings, world, shutdown)).await?;
        self.others.tasks.spawn(async move { Ok(server.run().await?) });
        Ok(())
    }

    fn serve_gitlab(&mut self, gitlab: Gitlab) {
        let shutdown = self.others.shutdown.clone();
        self.others.tasks.spawn(async move {
            gitlab.serve(shutdown).await;
            Ok(())
        });
    }

    /// Returns when the agent holds its first SVID.
    async fn start_agent(
        &mut self,
        folder: &DevFolder,
        places: &Places,
        token: String,
        clock: &Arc<dyn Clock>,
    ) -> Result<(), DevError> {
        let ca = std::fs::read(&places.server_ca).map_err(DevError::file(&places.server_ca))?;
        let settings = AgentSettings {
            server: places.server.parse()?,
            trust: ServerTrust::from_pem(&ca, &places.server_ca.to_string_lossy())?,
            workload_socket: places.workload_socket.clone(),
            sds_socket: None,
            secrets: SecretNames::default(),
            agent_socket: Some(places.agent_socket.clone()),
            metrics: None,
            program: None,
            socket_mode: MODE_OWNER,
            callers: Callers::OwnUid,
            state_dir: folder.place("agent"),
            token: TokenSource::Login,
            runner: None,
            files: None,
            on_stop: OnStop::EndSession,
        };
        let agent = Agent::build(settings, Arc::clone(clock), &Random::system())?;
        let (handle, shutdown) = (agent.handle().ok_or(DevError::Ended)?, self.agent.shutdown.clone());
        self.agent.tasks.spawn(async move { Ok(Box::pin(agent.run(shutdown)).await?) });
        handle.login(Zeroizing::new(token)).await?;
        Ok(())
    }
}

impl Default for Crew {
    fn default() -> Self {
        let (trigger, shutdown) = Shutdown::pair();
        Self { trigger, shutdown, tasks: JoinSet::new() }
    }
}

impl Crew {
    async fn ended(&mut self) -> Result<(), DevError> {
        match self.tasks.join_next().await {
            Some(Ok(Err(error))) => Err(error),
            Some(_) | None => Err(DevError::Ended),
        }
    }
}

/// Two new RSA keys take a while, on a thread that serves nobody.
async fn keys_of(folder: &Arc<DevFolder>) -> Result<GitlabKeys, DevError> {
    let folder = Arc::clone(folder);
    tokio::task::spawn_blocking(move || GitlabKeys::of(&folder)).await.unwrap_or(Err(DevError::Ended))
}

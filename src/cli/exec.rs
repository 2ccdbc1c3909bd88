//! `lanyard exec`: an identity for one command, from the running agent or from one of its own.

use super::credentials::{CredentialArgs, Credentials, OwnFolder};
use super::failure::{WrongUsage, plain};
use super::login::{self, Answer, TokenArgs};
use super::remote::ServerArgs;
use super::render;
use super::unserved::{Unserved, last_reason, not_believed};
use crate::agent::{Agent, AgentError, AgentHandle, AgentSettings, Callers, LoggedOut, MODE_EVERYBODY, MODE_OWNER};
use crate::agent::{OnStop, SecretNames, Setback, TokenSource, remove_session_key, remove_unused_session_key};
use crate::clock::SystemClock;
use crate::config::{Environment as _, SystemEnvironment};
use crate::crypto::{Digest, Random};
use crate::telemetry::{Shutdown, chain};
use crate::wire::WorkloadAddress;
use crate::wire::lanyard::JobEnd;
use anyhow::Context;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::sync::watch;
use zeroize::Zeroizing;

/// How workloads find their socket (SPIFFE Workload Endpoint §4).
const ENDPOINT: &str = "SPIFFE_ENDPOINT_SOCKET";

/// What the file's name leaves of a socket path's 107 bytes.
const FOLDER_BYTES_MAX: usize = 95;

/// A command that is not there, as shells say it.
const NOT_FOUND: u8 = 127;
/// And one that is there and cannot be run.
const NOT_RUNNABLE: u8 = 126;

/// Runs a command with an identity of its own; exit code and signals are the command's
///
/// 127 says that there is no such command, 126 that it cannot be run. Where --server is given, the agent that a variable
/// names is left alone.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The variable that holds the job's token
    #[arg(long, default_value = "LANYARD_ID_TOKEN", value_name = "NAME")]
    token_env: String,
    /// A file that holds the job's token, in place of the variable
    #[arg(long, value_name = "FILE")]
    id_token_file: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
    // The variable is read by hand: a server that is typed counts for more.
    #[arg(
        long,
        value_name = "PATH",
        help = "The socket of a running agent, used if it answers [env: LANYARD_AGENT_SOCKET]"
    )]
    agent_socket: Option<PathBuf>,
    /// The Workload API of the running agent
    #[arg(long, env = ENDPOINT, value_name = "unix:PATH")]
    endpoint: Option<String>,
    /// How long to wait for the first SVID, in seconds
    #[arg(long, default_value_t = 120, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    wait: u64,
    /// Another user whose processes are the job too, such as a proxy's; may be given several times
    #[arg(long = "uid", value_name = "UID")]
    uids: Vec<u32>,
    #[command(flatten, next_help_heading = "Credentials for other people's software")]
    credentials: CredentialArgs,
    /// End the session when the command has ended, so that nobody can go on with it
    #[arg(long)]
    end: bool,
    /// The command
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs it.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let token = TokenArgs { token_env: args.token_env.clone(), token_file: args.id_token_file.clone() };
    let token = token.read_naming("--id-token-file")?;
    let signals = Signals::listen()?;
    match running_agent(&args).await? {
        Some((agent, endpoint)) => with_agent(&args, &agent, &endpoint, &token, signals).await,
        None => Box::pin(alone(&args, token, signals)).await,
    }
}

/// The sockets of a running agent, if both answer.
async fn running_agent(args: &Args) -> anyhow::Result<Option<(PathBuf, String)>> {
    let named = || SystemEnvironment.value("LANYARD_AGENT_SOCKET").filter(|_| !args.server.is_typed()).map(Into::into);
    let Some(agent) = args.agent_socket.clone().or_else(named) else { return Ok(None) };
    if !agent.is_absolute() {
        return Err(WrongUsage::new(format!("the agent's socket {} must be an absolute path", agent.display())).into());
    }
    if WorkloadAddress::Unix(agent.clone()).reach().await.is_err() {
        let agent = agent.display();
        tracing::warn!(
            "no agent at {agent}; this command gets a session of its own, and the agent cannot use this token any more"
        );
        return Ok(None);
    }
    let Some(endpoint) = args.endpoint.clone() else { return Ok(None) };
    let both = match endpoint.parse::<WorkloadAddress>() {
        Ok(address) => address.reach().await.is_ok(),
        Err(_wrong) => false,
    };
    Ok(both.then_some((agent, endpoint)))
}

async fn with_agent(
    args: &Args,
    agent: &Path,
    endpoint: &str,
    token: &str,
    mut signals: Signals,
) -> anyhow::Result<ExitCode> {
    if !args.uids.is_empty() {
        render::aside("the running agent's own settings say whose processes are the job; --uid adds nobody there");
    }
    match in_time(args, &mut signals, login::log_in(agent, token)).await {
        Ok(answer) => {
            if let Answer::Refused(problem) = answer? {
                return Ok(login::tell(&problem));
            }
        }
        Err(missed) => {
            let why = || "the agent goes on trying, and its log says why".to_owned();
            return Ok(missed.of("SVID", why).tell(&args.server));
        }
    }
    let code = carried_out(args, endpoint, signals).await?;
    if args.end {
        match login::log_out(agent, JobEnd::ExecEnd).await {
            Ok(Answer::Done(_)) => {}
            Ok(Answer::Refused(problem)) => render::aside(&problem.detail),
            Err(error) => tracing::error!(error = chain(&*error), "the agent did not hear the session's end"),
        }
    }
    Ok(code)
}

/// Something did not come while it could be waited for.
enum Missed {
    Late(u64),
    Stopped(ExitCode),
}

impl Missed {
    fn of(self, what: &'static str, why: impl FnOnce() -> String) -> Unserved {
        match self {
            Self::Late(seconds) => Unserved::Late { what, seconds, why: why() },
            Self::Stopped(code) => Unserved::Stopped(code),
        }
    }
}

/// Waits no longer than we may and as long as nobody stops us: the command then never starts.
async fn in_time<T>(args: &Args, signals: &mut Signals, wanted: impl Future<Output = T>) -> Result<T, Missed> {
    tokio::select! {
        biased;
        signal = signals.next() => Err(Missed::Stopped(ended_by(signal.as_raw()))),
        came = tokio::time::timeout(Duration::from_secs(args.wait), wanted) => {
            came.map_err(|_late| Missed::Late(args.wait))
        }
    }
}

/// Waits for the first SVID of an agent of our own.
async fn first_svid(
    args: &Args,
    signals: &mut Signals,
    (agent, token): (&AgentHandle, Zeroizing<String>),
) -> Result<(), Unserved> {
    let (told, setbacks): (watch::Sender<Option<Setback>>, _) = watch::channel(None);
    let login = async {
        tokio::select! {
            biased;
            outcome = agent.login_telling(token, told) => outcome.map(drop).map_err(Unserved::Refused),
            disbelief = not_believed(setbacks.clone()) => Err(disbelief),
        }
    };
    let came = in_time(args, signals, login).await;
    came.map_err(|missed| missed.of("SVID", || last_reason(&setbacks)))?
}

/// With an agent of our own, which lives as long as the command. Key and session stay for the job's next `exec`.
async fn alone(args: &Args, token: Zeroizing<String>, mut signals: Signals) -> anyhow::Result<ExitCode> {
    let random = Random::system();
    let socket_folder = socket_folder(&random)?;
    let (callers, socket_mode) = callers(&args.uids);
    if callers != Callers::OwnUid {
        socket_folder.let_others_pass()?;
    }
    let workload_socket = socket_folder.path().join("api.sock");
    let endpoint = format!("unix://{}", workload_socket.display());
    let state_dir = std::env::temp_dir().join(format!("lanyard-{}", Digest::of(token.as_bytes())));
    let settings = AgentSettings {
        server: args.server.url()?,
        trust: args.server.trust()?,
        workload_socket,
        sds_socket: None,
        secrets: SecretNames::default(),
        agent_socket: None,
        metrics: None,
        program: None,
        socket_mode,
        callers,
        state_dir: state_dir.clone(),
        token: TokenSource::Login,
        runner: None,
        files: None,
        on_stop: OnStop::KeepSession,
    };
    let agent = Agent::build(settings, Arc::new(SystemClock), &random)?;
    let handle = agent.handle().context("this agent is of no single job")?;
    let (trigger, shutdown) = Shutdown::pair();
    let work = async {
        // Dropped with this block, also on an early return: the agent stops with its command.
        let _stops_the_agent = trigger;
        if let Err(unserved) = first_svid(args, &mut signals, (&handle, token)).await {
            return Ok(Err(unserved));
        }
        let code = carried_out(args, &endpoint, signals).await?;
        if args.end {
            end(&handle, &state_dir).await;
        }
        anyhow::Ok(Ok(code))
    };
    // The agent lets go of the key's folder when it has ended.
    Ok(Box::pin(beside(agent.run(shutdown), work)).await?.unwrap_or_else(|unserved| {
        if unserved.is_refused()
            && let Err(error) = remove_unused_session_key(&state_dir)
        {
            tracing::warn!(error = chain(&error), "the session key, which is of no use, stays behind");
        }
        unserved.tell(&args.server)
    }))
}

/// Who is the job, and who may connect: which of those who do is of a user that was named is seen at each call.
fn callers(uids: &[u32]) -> (Callers, u32) {
    if uids.is_empty() {
        return (Callers::OwnUid, MODE_OWNER);
    }
    let all = uids.iter().copied().chain([geteuid().as_raw()]).collect();
    (Callers::Uids(all), MODE_EVERYBODY)
}

/// Ends the session for good: the key goes too, so that nobody can go on with it even where the server could not be told.
async fn end(agent: &AgentHandle, state_dir: &Path) {
    let told = agent.end(JobEnd::ExecEnd).await;
    let removed = remove_session_key(state_dir);
    let key = match &removed {
        Ok(()) => "its session key is removed, so that nobody can go on with it".to_owned(),
        Err(error) => format!("and its session key could not be removed: {}", chain(error)),
    };
    if matches!(told, LoggedOut::Told { .. }) {
        if removed.is_err() {
            render::aside(&format!("{told}, {key}"));
        }
        return;
    }
    render::aside(&format!("{told}; {key}; {}", told.ends_by_itself()));
}

/// Works beside the agent. An agent that fails takes the identity away, not the command, whose code stays ours.
async fn beside<T>(agent: impl Future<Output = Result<(), AgentError>>, work: impl Future<Output = T>) -> T {
    let agent = async {
        if let Err(error) = agent.await {
            tracing::error!(error = chain(&error), "the agent failed; nothing is renewed from here on");
        }
    };
    tokio::join!(agent, work).1
}

/// In the temporary folder; under `/tmp` where that one's path is too long for a socket (EP-17).
fn socket_folder(random: &Random) -> anyhow::Result<OwnFolder> {
    let base = std::env::temp_dir();
    let fits = base.as_os_str().len() <= FOLDER_BYTES_MAX - OwnFolder::NAME_BYTES && base.is_absolute();
    OwnFolder::within(if fits { &base } else { Path::new("/tmp") }, random)
}

/// Runs the command to its end: it finds the socket, and not the token. One that cannot be started has an end too.
async fn carried_out(args: &Args, endpoint: &str, mut signals: Signals) -> anyhow::Result<ExitCode> {
    let [program, arguments @ ..] = args.command.as_slice() else {
        return Err(WrongUsage::new("no command").into());
    };
    let mut command = Command::new(program);
    command.args(arguments).env(ENDPOINT, endpoint).env_remove(&args.token_env).kill_on_drop(true);
    let begun = in_time(args, &mut signals, Credentials::begin(&args.credentials, endpoint)).await;
    let mut credentials = match begun {
        Ok(had) => had?,
        Err(missed) => {
            let why = || "see the warnings above".to_owned();
            return Ok(missed.of("credentials", why).tell(&args.server));
        }
    };
    credentials.equip(&mut command);
    let ended = match command.spawn() {
        Ok(child) => tokio::select! {
            status = follow(child, signals) => Ok(code_of(status?)),
            never = credentials.keep_fresh() => match never {},
        },
        Err(error) => {
            render::aside(&format!("error: {} cannot be started: {}", program.display(), plain(&error)));
            let there = error.kind() != ErrorKind::NotFound;
            Ok(ExitCode::from(if there { NOT_RUNNABLE } else { NOT_FOUND }))
        }
    };
    credentials.end().await;
    ended
}

/// The signals that are meant for the command. Whoever listens before it starts loses none of them.
struct Signals {
    terminate: unix::Signal,
    hang_up: unix::Signal,
    interrupt: unix::Signal,
    quit: unix::Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.hang_up.recv() => Signal::HUP,
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.quit.recv() => Signal::QUIT,
        }
    }
}

/// Waits for the command, and hands it the signals, also those that came just before it started.
async fn follow(mut child: Child, mut signals: Signals) -> anyhow::Result<ExitStatus> {
    // The keys of a terminal reach the whole group, so the command has heard them already.
    let from_keys = std::io::stdin().is_terminal();
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    loop {
        let heard = tokio::select! {
            status = child.wait() => return Ok(status?),
            heard = signals.next() => heard,
        };
        let told = from_keys && (heard == Signal::INT || heard == Signal::QUIT);
        if let (Some(pid), false) = (pid, told)
            && let Err(error) = kill_process(pid, heard)
        {
            tracing::debug!(%error, ?heard, "the command was gone already");
        }
    }
}

/// The command's own code; 128 and the signal's number where a signal ended it, as shells do.
fn code_of(status: ExitStatus) -> ExitCode {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        (None, Some(signal)) => ended_by(signal),
        (None, None) => ExitCode::FAILURE,
    }
}

fn ended_by(signal: i32) -> ExitCode {
    ExitCode::from(u8::try_from(128 + signal).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::getpid;

    #[tokio::test]
    async fn a_signal_just_before_the_command_reaches_it() {
        let signals = Signals::listen().unwrap();
        kill_process(getpid(), Signal::HUP).unwrap();
        let child = Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
        let status = tokio::time::timeout(Duration::from_secs(20), follow(child, signals)).await.unwrap().unwrap();
        assert_eq!(status.signal(), Some(Signal::HUP.as_raw()));
    }

    #[tokio::test]
    async fn an_agent_that_fails_leaves_the_commands_code_alone() {
        let agent = async { Err(AgentError::Ended("the Workload API")) };
        let command = async { Command::new("sh").args(["-c", "sleep 0.1; exit 7"]).status().await.unwrap() };
        assert_eq!(beside(agent, command).await.code(), Some(7));
    }
}

//! What can be typed, and what its help says.

use super::failure::WrongUsage;
use super::{
    agent, audit, authority, backup, ban, bench, bundle, config, dev, directory, doctor, exec, explain, gitlab, health,
    init, login, pin, policy, render, server, session, store, svid,
};
use crate::telemetry::{Log, LogFormat, NotALogFilter, watch_panics};
use clap::{CommandFactory as _, Parser, Subcommand};
use std::process::ExitCode;
use tokio::runtime::{Builder, Runtime};

/// Gives every CI job a short-lived cryptographic identity that a service mesh understands.
///
/// A job's GitLab `id_token` and a key go in; an X.509-SVID whose SPIFFE ID names the project and the pipeline comes out,
/// and is served over the SPIFFE Workload API. To see one appear and understand it: lanyard dev
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "\
Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 not reachable.\n\
Scripts take --json: in a pipe a table is columns between tabs, without a head, and may get more columns.\n\
Commands find a server, an agent or an operators' socket through LANYARD_SERVER, LANYARD_SERVER_CA or\n\
LANYARD_SERVER_CA_SHA256, LANYARD_AGENT_SOCKET, LANYARD_ADMIN_SOCKET and SPIFFE_ENDPOINT_SOCKET;\n\
`lanyard dev` writes them into dev.env."
)]
pub struct Cli {
    /// What is logged to standard error: a level, or target=level pairs [default: info for daemons, warn for the rest]
    #[arg(long, global = true, env = "LANYARD_LOG", value_name = "FILTER", hide_env_values = true)]
    log: Option<String>,
    /// How a log line looks: human or json
    #[arg(
        long,
        global = true,
        env = "LANYARD_LOG_FORMAT",
        value_name = "FORMAT",
        default_value_t,
        hide_env_values = true
    )]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything in one process: a stand-in GitLab, server and agent; gets an SVID and explains it
    Dev(dev::Args),
    /// The first files of a real server: configuration, policy with cases, what agents and jobs need
    Init(init::Args),
    /// The CA service
    Server(server::Args),
    /// The daemon beside a runner: trades the job's token, serves the Workload API
    Agent(agent::Args),
    /// Hands the job's token to a running agent
    Login(login::Args),
    /// Ends the job's session at a running agent
    Logout(login::LogoutArgs),
    /// Runs a command with an identity of its own; exit code and signals are the command's
    Exec(exec::Args),
    /// Asks any Workload API socket for an SVID
    Svid(svid::Args),
    /// Why a token gets its identity, or none: each rule, each term wanted and got
    Explain(explain::Args),
    /// Checks rules before they are used
    Policy(policy::Args),
    /// Checks configuration before it is used
    Config(config::Args),
    /// Who has an identity now, and how it ends before its time
    Session(session::Args),
    /// Who gets no identity, whatever the policy says
    Ban(ban::Args),
    /// Our signing keys: what each step would do, and the steps
    Authority(authority::Args),
    /// Which project a path belongs to, where a name may have been used again
    Pin(pin::Args),
    /// Whose account of the directory is whose
    Directory(directory::Args),
    /// What a GitLab must be told of this server
    Gitlab(gitlab::Args),
    /// What others need to trust us
    Bundle(bundle::Args),
    /// The evidence: who got which identity, when, by which rule
    Audit(audit::Args),
    /// The data folder as one file, taken while the server runs; and back
    Backup(backup::Args),
    /// What a stopped server's store holds, moved elsewhere or mended after a restore
    Store(store::Args),
    /// Puts load on a server of your own, and says how fast it answers
    Bench(bench::Args),
    /// Whether a server is ready; says what it waits for
    Health(health::Args),
    /// Looks at what usually goes wrong, here, and says what to mend first
    Doctor(doctor::Args),
    /// Completions for a shell, to standard output
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
}

impl Cli {
    /// Does what was typed.
    ///
    /// # Errors
    /// Whatever a person should read.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        watch_panics(|_| {});
        let filter = self.log.as_deref().unwrap_or_else(|| self.command.log_filter()).parse();
        let filter = filter.map_err(|error: NotALogFilter| WrongUsage::new(error.to_string()))?;
        self.command.runtime()?.block_on(self.command.run(Log { format: self.log_format, filter }))
    }
}

impl Command {
    const fn log_filter(&self) -> &'static str {
        if self.is_daemon() {
            "info"
        } else if matches!(self, Self::Dev(_)) {
            // What it prints is for somebody who sees all this for the first time.
            "error"
        } else {
            "warn"
        }
    }

    const fn is_daemon(&self) -> bool {
        matches!(self, Self::Agent(_) | Self::Server(_))
    }

    /// A server uses every core, and so does a load on it; the others are small, and an agent's memory counts on each runner.
    fn runtime(&self) -> std::io::Result<Runtime> {
        if matches!(self, Self::Bench(_) | Self::Dev(_) | Self::Server(_)) {
            Builder::new_multi_thread().enable_all().build()
        } else {
            Builder::new_current_thread().enable_all().build()
        }
    }

    async fn run(self, log: Log) -> anyhow::Result<ExitCode> {
        // A server's configuration says where traces go, and what else is logged.
        if !matches!(self, Self::Server(_)) {
            log.install(None)?;
        }
        match self {
            Self::Dev(args) => Box::pin(dev::run(args)).await,
            Self::Init(args) => Box::pin(init::run(args)).await,
            Self::Server(args) => Box::pin(server::run(args, log)).await,
            Self::Agent(args) => Box::pin(agent::run(args)).await,
            Self::Login(args) => Box::pin(login::run(args)).await,
            Self::Logout(args) => Box::pin(login::run_logout(args)).await,
            Self::Exec(args) => Box::pin(exec::run(args)).await,
            Self::Svid(args) => Box::pin(svid::run(args)).await,
            Self::Explain(args) => Box::pin(explain::run(args)).await,
            Self::Policy(args) => Box::pin(policy::run(args)).await,
            Self::Config(args) => config::run(&args),
            Self::Session(args) => Box::pin(session::run(args)).await,
            Self::Ban(args) => Box::pin(ban::run(args)).await,
            Self::Authority(args) => Box::pin(authority::run(args)).await,
            Self::Pin(args) => Box::pin(pin::run(args)).await,
            Self::Directory(args) => Box::pin(directory::run(args)).await,
            Self::Gitlab(args) => Box::pin(gitlab::run(args)).await,
            Self::Bundle(args) => Box::pin(bundle::run(args)).await,
            Self::Audit(args) => Box::pin(audit::run(&args)).await,
            Self::Backup(args) => Box::pin(backup::run(args)).await,
            Self::Store(args) => Box::pin(store::run(args)).await,
            Self::Bench(args) => Box::pin(bench::run(args)).await,
            Self::Health(args) => Box::pin(health::run(args)).await,
            Self::Doctor(args) => Box::pin(doctor::run(args)).await,
            Self::Completions { shell } => render::completions(shell, &mut Cli::command()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// clap counts a variable as typed, and `dev.env` sets many.
    #[test]
    fn no_flag_that_excludes_another_is_read_from_a_variable_by_clap() {
        let mut commands = vec![Cli::command()];
        let mut exclusive = 0;
        while let Some(command) = commands.pop() {
            let pairs = command
                .get_arguments()
                .flat_map(|arg| command.get_arg_conflicts_with(arg).into_iter().map(move |other| [arg, other]));
            for pair in pairs {
                let names = pair.map(|arg| arg.get_id().as_str());
                assert!(pair.iter().all(|arg| arg.get_env().is_none()), "{names:?}");
                exclusive += 1;
            }
            commands.extend(command.get_subcommands().cloned());
        }
        assert!(exclusive > 3);
    }

    #[test]
    fn two_typed_flags_that_exclude_each_other_are_wrong_usage() {
        let typed = "lanyard health --config server.toml --address 127.0.0.1:8081";
        let error = Cli::try_parse_from(typed.split(' ')).unwrap_err();
        assert_eq!(error.kind(), clap::error::ErrorKind::ArgumentConflict);
    }

    #[test]
    fn what_can_be_typed_is_well_formed() {
        Cli::command().debug_assert();
    }
}

//! `lanyard config check`: every problem at once, in a server's file or an agent's.

use super::render;
use crate::config::{AnySettings, SystemEnvironment, check_data_dir, load_any};
use std::path::PathBuf;
use std::process::ExitCode;

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Reads a server's or an agent's file with all it names; every problem at once, with line and remedy
    Check {
        /// The configuration
        #[arg(env = "LANYARD_CONFIG")]
        file: PathBuf,
        /// What is wrong, and what is only dangerous, as one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Checks.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Action::Check { file, json } = &args.action;
    let (whose, mut read) = load_any(file, &SystemEnvironment);
    if let Ok(AnySettings::Server(server)) = &mut read {
        // A file is checked elsewhere, too: before a cluster has its volume, and by a pipeline.
        server.warnings.extend(check_data_dir(file, &server.data_dir));
    }
    let (problems, warnings) = match &read {
        Ok(AnySettings::Agent(_)) => (&[][..], &[][..]),
        Ok(AnySettings::Server(settings)) => (&[][..], &*settings.warnings),
        Err(problems) => (&**problems, &[][..]),
    };
    if *json {
        render::unless_closed(render::checked((whose.as_str(), file), problems, warnings))?;
    } else if let Ok(settings) = &read {
        for warning in warnings {
            render::aside(&format!("warning: {warning}"));
        }
        render::say(&format!("{}: good. {}", file.display(), told(settings)))?;
    } else {
        render::problems(problems);
        render::aside(&format!("{} was read as the configuration of a lanyard {}", file.display(), whose.as_str()));
    }
    Ok(if read.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(settings: &AnySettings) -> String {
    match settings {
        AnySettings::Agent(settings) => {
            let workload = settings.workload_socket.display();
            format!("An agent of {} that workloads ask at {workload}", settings.server)
        }
        AnySettings::Server(settings) => {
            let issuers: Vec<_> = settings.issuers.iter().map(|issuer| issuer.name().to_string()).collect();
            format!("A server for trust domain {} that takes tokens of {}", settings.trust_domain, issuers.join(", "))
        }
    }
}

//! `lanyard config check`: every problem at once.

use super::render;
use crate::config::{SystemEnvironment, load_server};
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
    /// Reads a server's file with all it names; every problem at once, with line and remedy
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
    match load_server(file, &SystemEnvironment) {
        Ok(settings) if *json => {
            render::checked(file, &[], &settings.warnings)?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(settings) => {
            for warning in &settings.warnings {
                render::aside(&format!("warning: {warning}"));
            }
            let issuers: Vec<_> = settings.issuers.iter().map(|issuer| issuer.name().to_string()).collect();
            render::say(&format!(
                "{}: good. A server for trust domain {} that takes tokens of {}",
                file.display(),
                settings.trust_domain,
                issuers.join(", ")
            ))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            if *json {
                render::unless_closed(render::checked(file, &problems, &[]))?;
            } else {
                render::problems(&problems);
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

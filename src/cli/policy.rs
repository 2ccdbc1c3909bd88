//! `lanyard policy check|test|replay`: rules, before they are used. Needs no server; `reload` asks one.

use super::failure::WrongUsage;
use super::{cases, mesh, reload, render, replay};
use crate::config::{Lifetimes, SystemEnvironment, check_policy, load_server};
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
    /// Reads rules and says everything that is wrong with them
    Check {
        /// The policy; without it, the one that the configuration names
        file: Option<PathBuf>,
        /// The server's configuration, which names the policy when FILE is left out
        #[arg(long, env = "LANYARD_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        /// What is wrong, as one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Has a running server read its policy again; with problems the former one stays
    Reload(reload::Args),
    /// Prints the rules as a service mesh reads them: who may call a service, and what the mesh must trust
    Render(Box<mesh::Args>),
    /// Runs the cases that are kept beside rules: some job's claims, and what the policy must say to it
    Test(cases::Args),
    /// Decides requests of the journal again with another policy: who would gain, lose, or change its ID
    Replay(replay::Args),
}

/// Checks, tests or replays, or asks the server.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Check { file, config, json } => check(file.as_ref(), config.as_ref(), *json),
        Action::Reload(asked) => reload::run(asked).await,
        Action::Render(args) => mesh::run(args),
        Action::Test(args) => Box::pin(cases::run(args)).await,
        Action::Replay(args) => Box::pin(replay::run(args)).await,
    }
}

fn check(file: Option<&PathBuf>, config: Option<&PathBuf>, json: bool) -> anyhow::Result<ExitCode> {
    let (read, checked) = match (file, config) {
        (Some(file), _) => {
            let checked = check_policy(file, &[], Lifetimes::SVID);
            (file, checked.map(|checked| (file.clone(), checked.policy, checked.warnings)))
        }
        (None, Some(config)) => {
            let settings = load_server(config, &SystemEnvironment);
            (config, settings.map(|settings| (settings.policy_source.place, settings.policy, settings.warnings)))
        }
        (None, None) => return Err(WrongUsage::new("name the policy: lanyard policy check FILE").into()),
    };
    match checked {
        Ok((file, _policy, warnings)) if json => render::checked(("policy", &file), &[], &warnings)?,
        Ok((file, policy, warnings)) => {
            for warning in &warnings {
                render::aside(&format!("warning: {warning}"));
            }
            let (rules, refusals) = (policy.rules().len(), policy.refusals().len());
            let (rules, refusals) = (render::count(rules, "rule"), render::count(refusals, "refusal"));
            render::say(&format!("{}: good, {rules}, {refusals}", file.display()))?;
        }
        Err(problems) => {
            if json {
                render::unless_closed(render::checked(("policy", read), &problems, &[]))?;
            } else {
                render::problems(&problems);
            }
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

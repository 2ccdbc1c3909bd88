//! `lanyard directory forget`: another account may answer for a user from now on, at a running server.

use super::admin::AdminArgs;
use super::render;
use crate::wire::lanyard::ForgetAccountRequest;
use clap::builder::NonEmptyStringValueParser;
use clap::value_parser;
use serde_json::json;
use std::process::ExitCode;

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Forgets which account answers for a user; the next one that they are led to does.
    ///
    /// For accounts that were made anew. Find out first why another one answers: whoever can link a user of GitLab to somebody
    /// else's account would be taken for them.
    Forget {
        /// The issuer, by its configured name
        #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        issuer: String,
        /// The user's id there
        #[arg(long, value_name = "ID", value_parser = value_parser!(u64).range(1..))]
        user: u64,
        /// Why; stands in the journal, so do not write who
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// One JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: AdminArgs,
    },
}

/// Asks the server.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Action::Forget { issuer, user, reason, json, server } = args.action;
    let asked = ForgetAccountRequest { issuer: issuer.clone(), user, reason };
    server.ask(async move |mut admin| admin.forget_account(asked).await).await?;
    let told = if json {
        render::json(&json!({ "issuer": issuer, "user": user, "forgotten": true }))
    } else {
        render::say(&format!("the next account that user {user} of {issuer} is led to answers for them"))
    };
    render::unless_closed(told)?;
    Ok(ExitCode::SUCCESS)
}

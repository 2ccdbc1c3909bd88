//! `lanyard audit erase`: a person who asks to be forgotten.

use crate::cli::admin::AdminArgs;
use crate::cli::render;
use crate::wire::lanyard::ErasePersonRequest;
use clap::builder::NonEmptyStringValueParser;
use clap::value_parser;
use serde_json::json;
use std::process::ExitCode;

/// What can be typed.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    /// The issuer, by its configured name
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    issuer: String,
    /// The user's id there; a login can be somebody else's by now
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
}

/// Asks the server.
pub(super) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Args { issuer, user, reason, json, server } = args.clone();
    let asked = ErasePersonRequest { issuer, user, reason };
    let answer = server.ask(async move |mut admin| admin.erase_person(asked).await).await?;
    let told = if json {
        render::json(&json!({ "person": answer.person, "identities": answer.identities }))
    } else {
        let identities = render::count(answer.identities, "live session");
        render::say(&format!("person {} is erased; {identities} ended", answer.person))
    };
    render::unless_closed(told)?;
    if !json {
        render::aside(
            "backups and copies of people.keys still hold the key: destroy those, too; bans and reasons keep the words \
             that operators chose (`lanyard ban list`)",
        );
    }
    Ok(ExitCode::SUCCESS)
}

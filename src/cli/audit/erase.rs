//! `lanyard audit erase`: a person who asks to be forgotten.

use crate::cli::render;
use crate::cli::whom::Whom;
use crate::wire::lanyard::ErasePersonRequest;
use clap::value_parser;
use serde_json::json;
use std::process::ExitCode;

/// What can be typed.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    whom: Whom,
    /// The user's id there; a login can be somebody else's by now
    #[arg(long, value_name = "ID", value_parser = value_parser!(u64).range(1..))]
    user: u64,
}

/// Asks the server.
pub(super) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Args { whom, user } = args;
    let asked = ErasePersonRequest { issuer: whom.issuer.clone(), user: *user, reason: whom.reason.clone() };
    let answer = whom.server.ask(async move |mut admin| admin.erase_person(asked).await).await?;
    let identities = render::count(answer.identities, "live session");
    whom.tell(
        &json!({ "person": answer.person, "identities": answer.identities }),
        &format!("person {} is erased; {identities} ended", answer.person),
    )?;
    if !whom.json {
        render::aside(
            "backups and copies of people.keys still hold the key: destroy those, too; bans and reasons keep the words \
             that operators chose (`lanyard ban list`)",
        );
    }
    Ok(ExitCode::SUCCESS)
}

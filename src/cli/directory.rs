//! `lanyard directory forget`: another account may answer for a user from now on, at a running server.

use super::whom::Whom;
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
    /// For accounts that were made anew, and for users of GitLab who are gone and whose account somebody else has now. Find out
    /// first why another one answers: whoever can link a user of GitLab to somebody else's account would be taken for them.
    Forget {
        #[command(flatten)]
        whom: Whom,
        #[command(flatten)]
        meant: Meant,
    },
}

/// Whose account.
#[derive(clap::Args, Clone, Debug)]
#[group(required = true, multiple = false)]
struct Meant {
    /// The user's id there
    #[arg(long, value_name = "ID", value_parser = value_parser!(u64).range(1..))]
    user: Option<u64>,
    /// In place of a user: whoever has this account, a GUID of Active Directory or an id of Okta
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    account: Option<String>,
}

/// Asks the server.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Action::Forget { whom, meant: Meant { user, account } } = args.action;
    let (issuer, reason) = (whom.issuer.clone(), whom.reason.clone());
    let asked = ForgetAccountRequest {
        issuer: issuer.clone(),
        user: user.unwrap_or_default(),
        reason,
        account: account.clone().unwrap_or_default(),
    };
    whom.server.ask(async move |mut admin| admin.forget_account(asked).await).await?;
    let said = match (user, &account) {
        (Some(user), _) => format!("the next account that user {user} of {issuer} is led to answers for them"),
        (None, _) => format!("the next user of {issuer} who is led to this account has it"),
    };
    whom.tell(&json!({ "issuer": issuer, "user": user, "account": account, "forgotten": true }), &said)?;
    Ok(ExitCode::SUCCESS)
}

//! `lanyard session list|revoke`: who has an identity now, and how it ends before its time.

use super::admin::AdminArgs;
use super::render;
use super::selector::{SelectorArgs, facts, returning, sum, table};
use crate::wire::lanyard::{ListSessionsRequest, RevokeSessionsRequest};
use std::process::ExitCode;

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// The live sessions; each is one identity that is renewed
    List {
        #[command(flatten)]
        selector: SelectorArgs,
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        server: AdminArgs,
    },
    /// Ends sessions at once, and closes their jobs: no token of such a job is good for anything any more.
    ///
    /// Agents hear it and stop serving. What was given already lives until its end, and connections live on. Where an
    /// issuer's tokens name no job that ends (Kubernetes, Okta, another trust domain), the bearer's next token opens a
    /// session again, and the answer says so: `ban add` keeps it out.
    Revoke {
        #[command(flatten)]
        selector: SelectorArgs,
        /// Why; stands in the journal
        #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
        reason: Option<String>,
        /// Only say what would end
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        server: AdminArgs,
    },
}

/// How it is shown.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct Shown {
    /// How many sessions to show at most
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    pub(super) limit: u32,
    /// One JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// Asks the server.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (answer, shown, what) = match args.action {
        Action::List { selector, shown, server } => {
            let asked = ListSessionsRequest { selector: Some(selector.asked()), limit: shown.limit };
            (server.ask(async move |mut admin| admin.list_sessions(asked).await).await?, shown, "now")
        }
        Action::Revoke { selector, reason, dry_run, shown, server } => {
            let (selector, reason) = (Some(selector.asked()), reason.unwrap_or_default());
            let asked = RevokeSessionsRequest { selector, reason, dry_run, limit: shown.limit };
            let what = if dry_run { "would end" } else { "ended" };
            (server.ask(async move |mut admin| admin.revoke_sessions(asked).await).await?, shown, what)
        }
    };
    if shown.json {
        render::unless_closed(render::json(&facts(&answer)))?;
    } else {
        render::unless_closed(table(&answer))?;
        render::aside(&sum(&answer, what));
        if !answer.doubt.is_empty() {
            render::aside(&format!("warning: {}", answer.doubt));
        }
        if let Some(told) = returning(&answer) {
            render::aside(&told);
        }
    }
    Ok(ExitCode::SUCCESS)
}

//! `lanyard ban list|add|remove`: who gets no identity, whatever the policy says.

use super::admin::AdminArgs;
use super::render;
use super::selector::{SelectorArgs, facts, sum, table, time};
use super::session::Shown;
use crate::clock::{Clock as _, SystemClock};
use crate::config::parse_duration;
use crate::wire::lanyard::{AddBanRequest, Ban, ListBansRequest, RemoveBanRequest};
use serde_json::{Value, json};
use std::process::ExitCode;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// The bans in force
    List {
        /// One JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: AdminArgs,
    },
    /// Ends what lives, as `session revoke` does, and refuses what would come (code `banned`), renewals included.
    ///
    /// What was given already lives until its end. The same again changes the reason and the end of the ban that is there.
    Add {
        #[command(flatten)]
        selector: Box<SelectorArgs>,
        /// Why; stands in the journal
        #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
        reason: Option<String>,
        /// Until when: a span such as 2h, or a time such as 2026-11-21T05:00:00Z [default: until it is removed]
        #[arg(long, value_name = "WHEN", value_parser = parse_until)]
        until: Option<Until>,
        /// Only say what would end
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        server: AdminArgs,
    },
    /// Lifts a ban; what it has ended stays ended, new jobs get identities again
    Remove {
        /// The ban, as `ban list` names it
        ban: String,
        /// Why; stands in the journal
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// One JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: AdminArgs,
    },
}

/// An end that is still to come.
#[derive(Clone, Copy, Debug)]
struct Until(OffsetDateTime);

fn parse_until(text: &str) -> Result<Until, String> {
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(Until(at));
    }
    let span = parse_duration(text)
        .map_err(|_no_span| "write a span such as 2h, or a time such as 2026-11-21T05:00:00Z".to_owned())?;
    let span = time::Duration::try_from(span).map_err(|_long| "longer than time itself".to_owned())?;
    SystemClock.now().checked_add(span).map(Until).ok_or_else(|| "longer than time itself".to_owned())
}

/// Asks the server.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.action {
        Action::List { json, server } => {
            let bans = server.ask(async move |mut admin| admin.list_bans(ListBansRequest {}).await).await?.ban;
            render::unless_closed(list(&bans, json))?;
        }
        Action::Add { selector, reason, until, dry_run, shown, server } => {
            let until = until.map_or(0, |Until(at)| at.unix_timestamp());
            let (selector, reason, limit) = (Some(selector.asked()), reason.unwrap_or_default(), shown.limit);
            let asked = AddBanRequest { selector, reason, until, dry_run, limit };
            let answer = server.ask(async move |mut admin| admin.add_ban(asked).await).await?;
            let (Some(ban), Some(ended)) = (answer.ban, answer.ended) else {
                anyhow::bail!("the server's answer is incomplete");
            };
            let doubt = Some(answer.doubt).filter(|doubt| !doubt.is_empty());
            if shown.json {
                let facts = json!({ "ban": (!dry_run).then(|| fact(&ban)), "ended": facts(&ended), "doubt": doubt });
                render::unless_closed(render::json(&facts))?;
            } else {
                render::unless_closed(table(&ended))?;
                render::aside(&sum(&ended, if dry_run { "would end" } else { "ended" }));
            }
            if !dry_run && !shown.json {
                let whom = render::harmless(&ban.selector);
                render::unless_closed(render::say(&format!("ban {} is in force: {whom}", ban.ban)))?;
            }
            if let Some(doubt) = doubt.filter(|_| !shown.json) {
                render::aside(&format!("warning: {doubt}"));
            }
        }
        Action::Remove { ban, reason, json, server } => {
            let asked = RemoveBanRequest { ban, reason };
            let answer = server.ask(async move |mut admin| admin.remove_ban(asked).await).await?;
            let ban = answer.ban.unwrap_or_default();
            if json {
                render::unless_closed(render::json(&fact(&ban)))?;
            } else {
                let whom = render::harmless(&ban.selector);
                render::unless_closed(render::say(&format!("ban {} is lifted: {whom}", ban.ban)))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(bans: &[Ban], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return render::json(&json!({ "bans": bans.iter().map(fact).collect::<Vec<_>>() }));
    }
    let row = |ban: &Ban| {
        let until = time(ban.until).unwrap_or_else(|| "removed".to_owned());
        let since = time(ban.since).unwrap_or_default();
        vec![ban.ban.clone(), ban.selector.clone(), since, until, ban.uid.to_string(), ban.reason.clone()]
    };
    render::rows(&["ban", "whom", "since", "until", "by user id", "reason"], bans.iter().map(row).collect())
}

fn fact(ban: &Ban) -> Value {
    json!({
        "ban": ban.ban, "selector": ban.selector, "reason": ban.reason, "uid": ban.uid, "since": time(ban.since),
        "until": time(ban.until),
    })
}

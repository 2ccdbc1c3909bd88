//! `lanyard authority plan|list|prepare|activate|confirm|taint|revoke|rollback`: our signing keys, what each step would do
//! before it is done, and the way back.

use super::admin::AdminArgs;
use super::{orphans, rekeying, render};
use crate::authority::{AuthorityKind, HolderKind, KeyOutlook, Milestone, Outlook, StepOutlook, Taken, UpstreamState};
use crate::wire::lanyard::{AuthorityOrder, ChangeAuthorityRequest, ConfirmHolderRequest, ShowAuthorityRequest};
use serde_json::json;
use std::process::ExitCode;
use time::OffsetDateTime;

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// What each step would do now, to whom, what it would break, and when it would be safe; changes nothing
    Plan {
        #[command(flatten)]
        asked: Asked,
        /// Stays while live SVIDs are on tainted keys, and shows how they become fewer
        #[arg(long)]
        watch: bool,
    },
    /// The keys: where each stands, and what hangs on it
    List {
        /// Keys that places keep for us and no authority names
        #[arg(long)]
        orphans: bool,
        #[command(flatten)]
        asked: Asked,
    },
    /// Makes a key to come and publishes it; nothing is signed with it yet
    Prepare {
        /// An orphan's label: its key is taken in place of a new one
        #[arg(long, value_name = "LABEL")]
        adopt: Option<String>,
        #[command(flatten)]
        ordered: Ordered,
    },
    /// Lets a prepared key sign; refuses while somebody is not proven to hold it
    ///
    /// With --force an intermediate that is not prepared is made at once.
    Activate {
        #[command(flatten)]
        on: OrderedOn,
        /// Does not wait for this holder, as `authority plan` names it, and for all others; needs a reason
        #[arg(long, value_name = "HOLDER", requires = "reason", conflicts_with = "force")]
        without: Vec<String>,
    },
    /// Says that a declared holder has our bundle
    Confirm {
        /// The holder, as its section in the configuration names it
        holder: String,
        /// The sequence of the bundle that it has [default: the published one]
        #[arg(long, value_name = "NUMBER")]
        sequence: Option<u64>,
        /// How it is known; stands in the journal
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// One JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: AdminArgs,
    },
    /// Trusts an old key no more: what it signed is renewed at once. An intermediate's is its root
    ///
    /// Says what a thief of the key can still do, and stays until no live SVID is on it.
    Taint {
        #[command(flatten)]
        on: OrderedOn,
        /// Does not stay; `authority plan --watch` shows how far it is
        #[arg(long)]
        no_wait: bool,
    },
    /// Takes a key out of the bundle and erases it; refuses while something valid hangs on it
    ///
    /// One that lives in a place of its own is deleted there.
    Revoke {
        /// An orphan's label, in place of a key: it is deleted where it lives, for good
        #[arg(long, value_name = "LABEL", conflicts_with_all = ["key", "force"])]
        orphan: Option<String>,
        #[command(flatten)]
        on: OrderedOn,
    },
    /// Lets the former active key sign again, while it is still published
    Rollback(Ordered),
}

/// Which keys.
#[derive(clap::Args, Clone, Debug)]
struct Asked {
    /// The kind of key
    #[arg(long, default_value = "x509-root", value_name = "KIND", value_parser = parse_kind)]
    kind: AuthorityKind,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: AdminArgs,
}

/// An order, by whom it may be.
#[derive(clap::Args, Debug)]
struct Ordered {
    #[command(flatten)]
    asked: Asked,
    /// Why; stands in the journal
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// An order about a key.
#[derive(clap::Args, Debug)]
struct OrderedOn {
    /// The key, as `authority list` names it, or its beginning of 8 digits or more; `activate` takes the only prepared one if
    /// none is named
    key: Option<String>,
    /// Even if it breaks something; needs a reason
    #[arg(long, requires = "reason")]
    force: bool,
    #[command(flatten)]
    ordered: Ordered,
}

fn parse_kind(text: &str) -> Result<AuthorityKind, &'static str> {
    let known = AuthorityKind::named(text).filter(|kind| *kind != AuthorityKind::Journal);
    known.ok_or("write x509-root, x509-intermediate, jwt or jwt-rs256")
}

/// Asks the server.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.action {
        Action::Plan { asked, watch } => {
            let (server, json) = (asked.server.clone(), asked.json);
            show(asked, plan).await?;
            if watch {
                rekeying::follow(&server, json).await?;
            }
        }
        Action::List { orphans: false, asked } => show(asked, |outlook| list(&outlook.keys)).await?,
        Action::List { orphans: true, asked } => orphans::list(asked.server, asked.json).await?,
        Action::Prepare { adopt, ordered } => {
            let with = With { adopt, without: Vec::new() };
            drop(change(AuthorityOrder::Prepare, ordered.on_any(), with).await?);
        }
        Action::Activate { on, without } => {
            drop(change(AuthorityOrder::Activate, on, With { adopt: None, without }).await?);
        }
        Action::Taint { on, no_wait } => taint(on, no_wait).await?,
        Action::Revoke { orphan: None, on } => drop(change(AuthorityOrder::Revoke, on, With::default()).await?),
        Action::Revoke { orphan: Some(label), on } => {
            let Ordered { asked, reason } = on.ordered;
            orphans::delete(label, reason, (asked.server, asked.json)).await?;
        }
        Action::Rollback(ordered) => drop(change(AuthorityOrder::Rollback, ordered.on_any(), With::default()).await?),
        Action::Confirm { holder, sequence, reason, json, server } => {
            let (name, reason) = (holder.clone(), reason.unwrap_or_default());
            let asked = ConfirmHolderRequest { holder, sequence: sequence.unwrap_or_default(), reason };
            let sequence = server.ask(async move |mut admin| admin.confirm_holder(asked).await).await?.sequence;
            render::unless_closed(if json {
                render::json(&json!({ "holder": name, "sequence": sequence }))
            } else {
                render::say(&format!("{name} is known to have the bundle of sequence {sequence}"))
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Ordered {
    const fn on_any(self) -> OrderedOn {
        OrderedOn { key: None, force: false, ordered: self }
    }
}

async fn show(asked: Asked, render: impl Fn(&Outlook) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let Asked { kind, json, server } = asked;
    let question = ShowAuthorityRequest { authority: kind.as_str().to_owned() };
    let answer = server.ask(async move |mut admin| admin.show_authority(question).await).await?;
    let outlook: Outlook = serde_json::from_slice(&answer.outlook)?;
    render::unless_closed(if json { render::json(&outlook) } else { render(&outlook) })
}

/// What an order may name besides a key.
#[derive(Default)]
struct With {
    adopt: Option<String>,
    without: Vec<String>,
}

async fn change(order: AuthorityOrder, on: OrderedOn, with: With) -> anyhow::Result<Taken> {
    let OrderedOn { key, force, ordered: Ordered { asked: Asked { kind, json, server }, reason } } = on;
    let question = ChangeAuthorityRequest {
        authority: kind.as_str().to_owned(),
        order: order.into(),
        key_id: key.unwrap_or_default(),
        force,
        reason: reason.unwrap_or_default(),
        without: with.without,
        adopt: with.adopt.unwrap_or_default(),
    };
    let answer = server.ask(async move |mut admin| admin.change_authority(question).await).await?;
    let taken: Taken = serde_json::from_slice(&answer.taken)?;
    render::unless_closed(if json { render::json(&taken) } else { render::say(&said(&taken)) })?;
    Ok(taken)
}

/// Taints a key, says what is left to a thief of it, and stays until nobody shows it any more.
async fn taint(on: OrderedOn, no_wait: bool) -> anyhow::Result<()> {
    let Asked { json, server, .. } = on.ordered.asked.clone();
    let named = on.key.clone();
    let tainted = change(AuthorityOrder::Taint, on, With::default()).await?.key_id;
    if !json {
        let state = rekeying::ask(&server).await?;
        let exposure = state.exposures.iter().find(|exposure| exposure.key_id == tainted);
        if named.is_some_and(|named| !tainted.to_string().starts_with(&named.to_ascii_lowercase())) {
            render::say(
                "its intermediate's key was named; whoever has that passes as the root, since that is what is trusted",
            )?;
        }
        exposure.map(|exposure| render::say(&rekeying::exposed(exposure, state.at))).transpose()?;
    }
    if no_wait { Ok(()) } else { rekeying::follow(&server, json).await }
}

fn said(taken: &Taken) -> String {
    let Taken { step, authority, key_id, intermediate, by, .. } = taken;
    let below = intermediate.map(|intermediate| format!("\nx509-intermediate {intermediate} signs under it"));
    let spite = (!by.in_spite_of.is_empty()).then(|| format!("\nin spite of: {}", by.in_spite_in_short()));
    let (below, spite) = (below.unwrap_or_default(), spite.unwrap_or_default());
    format!("{step}: {} {key_id}{below}{spite}", authority.as_str())
}

fn list(keys: &[KeyOutlook]) -> anyhow::Result<()> {
    let row = |key: &KeyOutlook| {
        let published = key.published.map(|published| published.sequence.to_string()).unwrap_or_default();
        let (kind, state) = (key.kind.as_str().to_owned(), key.state.as_str().to_owned());
        let exposed = at(key.exposed_until);
        vec![
            key.key_id.to_string(),
            kind,
            state,
            render::time(key.since),
            published,
            key.identities.to_string(),
            at(key.valid_until),
            exposed,
            key.place.clone().unwrap_or_default(),
        ]
    };
    let head =
        ["key", "kind", "state", "since", "in bundle from", "identities", "signed until", "trusted until", "place"];
    render::rows(&head, keys.iter().map(row).collect())
}

/// A timeline: what is, then what can come, then who would notice.
fn plan(outlook: &Outlook) -> anyhow::Result<()> {
    let mode = if outlook.automatic { "keys change by themselves" } else { "keys change by order only" };
    let minutes = outlook.minimum_seconds.div_ceil(60);
    render::say(&format!(
        "bundle {} is published; {mode}; a new key waits {minutes} min at least\n",
        outlook.sequence
    ))?;
    list(&outlook.keys)?;
    render::say("")?;
    if let Some(upstream) = &outlook.upstream {
        render::say(&above(upstream))?;
    }
    let head = ["step", "key", "safe", "by itself", "what it does", "what it would break now"];
    render::rows(&head, outlook.steps.iter().map(|step| step_row(step, outlook.at)).collect())?;
    render::say("")?;
    if !outlook.projection.is_empty() {
        let head = ["rotation", "not before", "waits for", "what it does", "what it would break sooner"];
        render::rows(&head, outlook.projection.iter().map(|step| milestone_row(step, outlook.at)).collect())?;
        render::say("")?;
    }
    holders(outlook)
}

/// How the authority above ours stands, in a few lines.
fn above(upstream: &UpstreamState) -> String {
    let UpstreamState { kind, fault, remedy, .. } = upstream;
    let asks = upstream.asks_at.map(|at| format!(", the next one is asked for {}", render::time(at)));
    let ends = at(upstream.ends_at);
    let stands =
        format!("upstream authority ({kind}): the intermediate ends {ends}{}", asks.as_deref().unwrap_or_default());
    let waits = upstream
        .waits_for
        .map(|root| format!("an intermediate under root {root} waits until everybody holds that root"));
    let fails = fault.iter().zip(remedy).map(|(fault, remedy)| {
        let alarm = if upstream.is_alarm { "ALARM: " } else { "" };
        format!("{alarm}asked in vain {} times: {fault}; {remedy}", upstream.failures)
    });
    let lines: Vec<_> = [stands].into_iter().chain(waits).chain(fails).chain([String::new()]).collect();
    lines.join("\n")
}

fn step_row(step: &StepOutlook, now: OffsetDateTime) -> Vec<String> {
    let key = step.key_id.map(|key| key.to_string().chars().take(12).collect()).unwrap_or_default();
    let safe = match step.safe_at {
        Some(safe) if safe <= now => "now".to_owned(),
        Some(safe) => render::time(safe),
        None => "when confirmed".to_owned(),
    };
    let breaks = step.breaks.clone().unwrap_or_else(|| "nothing".to_owned());
    vec![step.step.clone(), key, safe, at(step.automatic_at), step.effect.clone(), breaks]
}

fn milestone_row(step: &Milestone, now: OffsetDateTime) -> Vec<String> {
    const NAMED: usize = 3;
    let named = step.waits_for.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let waits = match step.waits_for.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    };
    let earliest = if step.earliest <= now { "now".to_owned() } else { render::time(step.earliest) };
    vec![step.step.clone(), earliest, waits, step.effect.clone(), step.breaks_sooner.clone().unwrap_or_default()]
}

fn holders(outlook: &Outlook) -> anyhow::Result<()> {
    let rows = outlook.holders.iter().map(|holder| {
        let kind = match holder.kind {
            HolderKind::Declared => "declared",
            HolderKind::Publisher => "publisher",
            HolderKind::Reporting => "reporting",
        };
        let holds = holder.holds.map_or_else(|| "unknown".to_owned(), |sequence| sequence.to_string());
        let holds = holder
            .stuck_since
            .map_or(holds.clone(), |since| format!("{holds}: stuck, lacks another since {}", render::time(since)));
        let trouble = outlook.troubles.get(&holder.name).map(|why| format!("{holds}: cannot write: {why}"));
        let doubt = || outlook.doubts.get(&holder.name).map(|why| format!("{holds}: not verifiable: {why}"));
        let holds = trouble.or_else(doubt).unwrap_or(holds);
        vec![holder.name.clone(), kind.to_owned(), holds, at(holder.heard_at)]
    });
    render::rows(&["holder", "kind", "has bundle", "last heard"], rows.collect())?;
    let reads = outlook.anonymous_reads;
    render::aside(&format!("{}, who are not waited for", render::count(reads, "anonymous read")));
    Ok(())
}

fn at(time: Option<OffsetDateTime>) -> String {
    time.map(render::time).unwrap_or_default()
}

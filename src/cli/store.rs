//! `lanyard store export|import|reconcile`: what a stopped server's store holds, moved elsewhere or mended after a restore.

use super::failure::WrongUsage;
use super::remote::named_config;
use super::render;
use crate::clock::{Clock, SystemClock};
use crate::config::{ServerSettings, SystemEnvironment, load_server};
use crate::server::{Reconcile, Reconciling, Stopped, reconcile};
use crate::store::{Reconciled, StoreContent, replace_file};
use anyhow::{Context as _, bail};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Writes all that the store holds to a file, its keys sealed; the server is stopped
    Export {
        /// Where to
        file: PathBuf,
        #[command(flatten)]
        of: Of,
    },
    /// Makes the store hold what was exported from another, and nothing else; no server runs on it
    Import {
        /// What was exported
        file: PathBuf,
        #[command(flatten)]
        of: Of,
    },
    /// After etcd was restored from a snapshot: writes what this replica's journal knows and etcd has forgotten
    Reconcile {
        /// A replica whose journal is gone; every token and session from before now is refused then; may be repeated
        #[arg(long, value_name = "REPLICA")]
        lost: Vec<String>,
        /// With --lost: etcd was restored, though this replica's journal has seen nothing that it lost
        #[arg(long, requires = "lost")]
        restored: bool,
        /// Tells what would be done, and writes nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        of: Of,
    },
}

#[derive(clap::Args, Debug)]
struct Of {
    #[arg(long, value_name = "FILE", help = "The server's configuration [env: LANYARD_CONFIG]")]
    config: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Does it.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (Action::Export { of, .. } | Action::Import { of, .. } | Action::Reconcile { of, .. }) = &args.action;
    let json = of.json;
    let Some(settings) = settings(of)? else { return Ok(ExitCode::FAILURE) };
    match &args.action {
        Action::Export { file, .. } => export(&settings, file, json).await?,
        Action::Import { file, .. } => import(&settings, file, json).await?,
        Action::Reconcile { lost, restored, dry_run, .. } => {
            mend(&settings, Reconcile { lost, restored: *restored, dry_run: *dry_run }, json).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn settings(of: &Of) -> anyhow::Result<Option<ServerSettings>> {
    let config = named_config(of.config.clone());
    let config =
        config.ok_or_else(|| WrongUsage::new("name the server's configuration: --config FILE, or LANYARD_CONFIG"))?;
    Ok(load_server(&config, &SystemEnvironment).map_err(|problems| render::problems(&problems)).ok())
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

async fn export(settings: &ServerSettings, file: &Path, json: bool) -> anyhow::Result<()> {
    let store = Box::pin(Stopped::open(settings, clock())).await?;
    let content = store.content()?;
    store.close();
    let text = serde_json::to_vec(&content)?;
    replace_file(file, &text, 0o600).with_context(|| format!("{} cannot be written", file.display()))?;
    told(json, content.keys.len(), &format!("are in {}, and the sealed keys", file.display()))
}

async fn import(settings: &ServerSettings, file: &Path, json: bool) -> anyhow::Result<()> {
    let text = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let content: StoreContent =
        serde_json::from_slice(&text).with_context(|| format!("{} is no export of a store", file.display()))?;
    let (found, wanted) = (&content.trust_domain, settings.trust_domain.as_str());
    if found != wanted {
        bail!("{} is of trust domain {found}, and this server is of {wanted}", file.display());
    }
    let keyring = settings.data_dir.join("keyring.json");
    if !keyring.exists() {
        let laid = replace_file(&keyring, content.keyring.get().as_bytes(), 0o600);
        laid.with_context(|| format!("{} cannot be written", keyring.display()))?;
    }
    let store = Box::pin(Stopped::open(settings, clock())).await?;
    let taken = store.take(&content).await;
    store.close();
    told(json, taken?, "were taken")
}

fn told(json: bool, keys: usize, what: &str) -> anyhow::Result<()> {
    if json {
        return render::json(&serde_json::json!({ "keys": keys }));
    }
    render::say(&format!("{} {what}", render::count(u64::try_from(keys)?, "key")))
}

/// What became of a reconciliation.
#[derive(Serialize)]
struct Told {
    /// False where etcd held all that this replica's journal has seen, and nothing was done.
    needed: bool,
    dry_run: bool,
    #[serde(flatten)]
    done: Reconciled,
}

async fn mend(settings: &ServerSettings, asked: Reconcile<'_>, json: bool) -> anyhow::Result<()> {
    let (dry_run, lost) = (asked.dry_run, asked.lost.join(", "));
    match Box::pin(reconcile(settings, asked, clock())).await? {
        Reconciling::Alone => bail!("this server shares its store with nobody: there is nothing to reconcile"),
        Reconciling::Done(done) if json => render::json(&Told { needed: true, dry_run, done }),
        Reconciling::Whole(waiting) if json => {
            render::json(&Told { needed: false, dry_run, done: Reconciled { waiting, ..Reconciled::default() } })
        }
        Reconciling::Done(done) => {
            if dry_run {
                render::say("nothing is written; without --dry-run:")?;
            }
            render::say(&mended(&done)?)
        }
        Reconciling::Whole(waiting) => {
            render::say("nothing to do here: etcd holds all that this replica's journal has seen")?;
            render::say(&if lost.is_empty() { what_next(&waiting) } else { merely_died(&lost) })
        }
    }
}

/// What became of this replica's part, and what is to be done now.
fn mended(done: &Reconciled) -> anyhow::Result<String> {
    let written = render::count(u64::try_from(done.written)?, "key");
    let mut said = vec![match done.written {
        0 if done.resumed => format!(
            "what an earlier run of this command began is finished: all that this replica's journal tells since revision {} is \
             written again",
            done.since
        ),
        0 => format!("the restore lost nothing of this replica's journal (all up to revision {})", done.since),
        _ => format!("{written} written again: what this replica's journal tells since revision {}", done.since),
    }];
    said.extend(done.kept.iter().map(|key| format!("{key} stays as it is: another replica wrote it later")));
    let lost = done.lost.join(", ");
    if done.told_late > 0 {
        let left = render::count(u64::try_from(done.told_late)?, "record");
        said.push(format!("{left} that {lost} had left in etcd: told in this replica's journal (told_late)"));
    }
    if let Some(before) = done.refused_before {
        let before = render::time(before);
        said.push(format!(
            "{lost} may have admitted or ended what nobody knows now: every token and session from before {before} is \
             refused, on all replicas. Jobs that run now get no further SVID; start them again"
        ));
    }
    said.push(what_next(&done.waiting));
    Ok(said.join("\n"))
}

/// Of replicas that are gone while etcd has lost nothing.
fn merely_died(lost: &str) -> String {
    format!(
        "and nobody says that it was restored: for {lost}, none of this is needed, and nothing was changed. Whoever leads tells \
         what it left after ten minutes; it may come back.\nIf etcd was restored all the same, and no replica has seen what it \
         lost, say so with --restored"
    )
}

fn what_next(waiting: &BTreeSet<String>) -> String {
    if waiting.is_empty() {
        return "all replicas are reconciled: start them".to_owned();
    }
    let names: Vec<_> = waiting.iter().map(String::as_str).collect();
    format!(
        "no replica issues yet: stop {} and run `lanyard store reconcile` there; for one whose journal is gone, run it here \
         with --lost NAME",
        names.join(", ")
    )
}

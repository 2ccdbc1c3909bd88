//! `lanyard store export|import|reconcile`: what a stopped server's store holds, moved elsewhere or mended after a restore.

use super::failure::WrongUsage;
use super::remote::named_config;
use super::render;
use crate::clock::{Clock, SystemClock};
use crate::config::{ServerSettings, SystemEnvironment, load_server};
use crate::server::{Stopped, reconcile};
use crate::store::{StoreContent, replace_file};
use anyhow::{Context as _, bail};
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
        /// A replica whose journal is gone: what it did since the snapshot is lost; may be repeated
        #[arg(long, value_name = "REPLICA")]
        lost: Vec<String>,
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
        Action::Reconcile { lost, .. } => mend(&settings, lost, json).await?,
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

async fn mend(settings: &ServerSettings, lost: &[String], json: bool) -> anyhow::Result<()> {
    let Some(done) = Box::pin(reconcile(settings, lost, clock())).await? else {
        bail!("this server shares its store with nobody: there is nothing to reconcile");
    };
    if json {
        return render::json(&done);
    }
    let written = render::count(u64::try_from(done.written)?, "key");
    render::say(&format!("{written} written again, from after revision {}", done.since))?;
    for key in &done.kept {
        render::aside(&format!("{key} was written by others since, and stays so"));
    }
    if done.told_late > 0 {
        let left = render::count(u64::try_from(done.told_late)?, "record");
        render::say(&format!("{left} of what lost replicas had done are told in this one's journal"))?;
    }
    if done.waiting.is_empty() {
        return render::say("all replicas are reconciled: start them");
    }
    let waiting: Vec<_> = done.waiting.iter().map(String::as_str).collect();
    render::say(&format!("nobody issues yet: run this on {} too, or name who is gone with --lost", waiting.join(", ")))
}

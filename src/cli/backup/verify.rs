//! `lanyard backup verify`: an archive, unpacked aside and read through.

use super::command::of;
use crate::backup::{Head, Unpacked, Whole};
use crate::cli::remote::named_config;
use crate::cli::render;
use crate::cli::verify::read_keys;
use crate::clock::SystemClock;
use crate::config::{SystemEnvironment, load_server};
use crate::crypto::Random;
use crate::server::open_places;
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The backup
    file: PathBuf,
    #[arg(
        long,
        value_name = "FILE",
        help = "The server's configuration, whose sealing key tells whether the backup says what its server said [env: LANYARD_CONFIG]"
    )]
    config: Option<PathBuf>,
    /// The verifier key that its checkpoints are signed by, as you kept it [default: the one in the backup]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Where it is unpacked meanwhile; as much room as the backup takes
    #[arg(long, value_name = "DIR", default_value = "/tmp")]
    scratch: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Removed in the end, whatever happened.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed was not made.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Reads it through, and says what it is.
pub(super) async fn run(Args { file, config, key, scratch, json }: &Args) -> anyhow::Result<ExitCode> {
    let settings = match named_config(config.clone()).map(|config| load_server(&config, &SystemEnvironment)) {
        None => None,
        Some(Ok(settings)) => Some(settings),
        Some(Err(problems)) => {
            render::problems(&problems);
            return Ok(ExitCode::FAILURE);
        }
    };
    let key = key.as_deref().map(read_keys).transpose()?.and_then(|keys| keys.into_iter().next());
    let number = u64::from_be_bytes(Random::system().bytes());
    let scratch = Scratch(scratch.join(format!("lanyard-backup-{number:016x}")));
    let backup = Unpacked::of(file, &scratch.0).map_err(of(file))?;
    let Whole { report, key } = backup.verify(key.as_ref()).map_err(of(file))?;
    if let Some(settings) = &settings {
        let places = open_places((settings.vault.as_ref(), &settings.keys.places), Arc::new(SystemClock))?.1;
        let sealing = backup.sealing(&settings.keys.sealing, (&places, &settings.data_dir)).await.map_err(of(file))?;
        backup.check_seal(&sealing).map_err(of(file))?;
    }
    let Head { lanyard, trust_domain, made_at, sequence, journal, .. } = &backup.head;
    let has_key = backup.folder.join("sealing.key").exists();
    if *json {
        let signed = report.signed_upto;
        let told = json!({
            "whole": true, "seal_checked": settings.is_some(), "head": backup.head, "sealing_key": has_key,
            "signed_upto": signed, "key": key.to_string(),
        });
        render::json(&told)?;
        return Ok(ExitCode::SUCCESS);
    }
    let at = render::time(*made_at);
    render::say(&format!("{} is whole: a backup of {trust_domain}, made {at} by Lanyard {lanyard}", file.display()))?;
    render::say(&format!("records {} to {}, keyring {sequence}", journal.first, journal.last))?;
    if report.signed_upto < report.records {
        render::say(&format!("records {} to {} are covered by no signature", report.signed_upto + 1, report.records))?;
    }
    if settings.is_none() {
        render::aside(
            "whether it says what its server said was not looked at, which takes the sealing key: name the server's configuration, \
             --config",
        );
    }
    if has_key {
        render::aside("the sealing key is in it: whoever has this file has your authority");
    }
    Ok(ExitCode::SUCCESS)
}

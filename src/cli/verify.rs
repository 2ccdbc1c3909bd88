//! `lanyard audit verify`: whether the journal is as it was written.

use super::audit::Journal;
use super::failure::unreadable;
use super::render;
use crate::crypto::PublicKey;
use crate::server::JOURNAL_KEY_FILE;
use crate::store::verify_journal;
use anyhow::Context as _;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    journal: Journal,
    /// The public key that signs checkpoints, PEM [default: `journal_key.pem` in the data folder]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Reads the journal from its first record on and says whether it is as it was written.
pub(super) fn run(Args { journal, key, json: as_json }: &Args) -> anyhow::Result<ExitCode> {
    let Some(folder) = journal.folder()? else { return Ok(ExitCode::FAILURE) };
    let key = read_key(key.as_deref().unwrap_or(&folder.join(JOURNAL_KEY_FILE)))?;
    let report = verify_journal(&folder, Some(&key))?;
    let torn = report.torn.as_ref().map_or(0, |torn| torn.bytes);
    if *as_json {
        render::json(&json!({
            "records": report.records,
            "checkpoints": report.checkpoints,
            "last_digest": report.last_digest,
            "last_at": report.last_at.map(render::time),
            "torn_bytes": torn,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (records, checkpoints) =
        (render::count(report.records, "record"), render::count(report.checkpoints, "checkpoint"));
    render::say(&format!("the journal is whole: {records}, {checkpoints}"))?;
    render::say(&format!("last digest {}; kept elsewhere, it proves later that nothing was cut", report.last_digest))?;
    if torn > 0 {
        render::say(&format!(
            "the last {torn} bytes are a record that a crash left unfinished; nobody was told of it"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read_key(file: &Path) -> anyhow::Result<PublicKey> {
    let pem = std::fs::read(file).map_err(unreadable(file))?;
    let spki = SubjectPublicKeyInfoDer::from_pem_slice(&pem);
    let spki = spki.map_err(|_not_pem| anyhow::anyhow!("{} holds no public key in PEM", file.display()))?;
    PublicKey::from_spki_der(&spki).with_context(|| format!("{} holds no usable public key", file.display()))
}

//! `lanyard audit archive`: old segments, moved elsewhere or removed; what is left still proves itself.

use super::audit::{Journal, Place, Since, parse_since};
use super::render;
use super::verify::{key_of, lay_key};
use crate::audit::Received;
use crate::authority::{AuthorityKind, KeyringFile};
use crate::clock::{Clock as _, SystemClock};
use crate::identity::TrustDomain;
use crate::server::JOURNAL_KEY_FILE;
use crate::store::{
    ArchiveRequest, Archived, JournalSearch, NoteSigner, Segments, VerifierKey, archive, begins_behind,
};
use anyhow::Context as _;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    journal: Journal,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    fate: Fate,
    /// Why; stands in the journal
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct Which {
    /// The segments whose last record is older: a span such as 90d, or a time such as 2026-11-21T05:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = parse_since)]
    before: Option<Since>,
    /// All closed segments but so many of the newest
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct Fate {
    /// The folder they are copied to before they leave this one; it is laid out as a data folder
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// They are removed for good
    #[arg(long)]
    remove: bool,
}

/// Archives, and says what.
pub(super) async fn run(Args { journal, which, fate, reason }: &Args) -> anyhow::Result<ExitCode> {
    let Some(place) = journal.place()? else { return Ok(ExitCode::FAILURE) };
    let segments = match (which.before, which.keep) {
        (Some(before), _) => Segments::Before(before.time()),
        (None, keep) => Segments::AllBut(keep.unwrap_or_default()),
    };
    // Where it is said to have gone must still be right when somebody reads it from elsewhere.
    let to = fate.to.as_ref().map(std::path::absolute).transpose()?;
    let verifier = key_of(&place.folder)?;
    let signer = signer_of(&place, &verifier).await?;
    let by = format!("uid {}", rustix::process::getuid().as_raw());
    let request = ArchiveRequest { segments, to: to.as_deref(), signer: &signer, by: &by, reason };
    let Some(done) = archive(&place.folder, request, SystemClock.now())? else {
        render::say("nothing to archive: no closed segment is that old")?;
        return Ok(ExitCode::SUCCESS);
    };
    let Archived { segments, first, last, digest } = done;
    let (many, place) = (render::count(segments, "segment"), to.as_ref().map(|to| to.display().to_string()));
    let went = place.map_or_else(|| "removed".to_owned(), |place| format!("moved to {place}"));
    render::say(&format!("{many} {went}: records {first} to {last}, the last of digest {digest}"))?;
    if let Some(to) = to {
        lay_key(&to, &verifier)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The journal's own key, which alone may say that records left.
async fn signer_of(place: &Place, verifier: &VerifierKey) -> anyhow::Result<NoteSigner> {
    let folder = &place.folder;
    let file = KeyringFile::new(folder.join("keyring.json"), place.sealing().await?);
    let name = verifier.name();
    let trust_domain = TrustDomain::parse(name.split_once('/').map_or(name, |(domain, _journal)| domain))?;
    let keyring = file.load(&trust_domain)?;
    let key = keyring.as_ref().and_then(|keyring| keyring.active(AuthorityKind::Journal));
    let key = key.with_context(|| format!("{} holds no journal key", file.path().display()))?;
    let signer =
        NoteSigner::new(name.to_owned(), Arc::clone(key.held_key().context("the journal's key is not here")?))?;
    let theirs = folder.join(JOURNAL_KEY_FILE);
    anyhow::ensure!(signer.verifier() == verifier, "{} is not the key of this journal", theirs.display());
    Ok(signer)
}

/// Where records that are not in a folder may be, as a sentence behind another; nothing where none were archived.
pub(super) fn whereabouts(folder: &Path) -> anyhow::Result<String> {
    let Some((last, at)) = begins_behind(folder)? else { return Ok(String::new()) };
    let mut whither = String::new();
    for hits in JournalSearch::of(folder, r#""kind":"segments_archived""#)? {
        let told = hits?.records.pop();
        let told = told.and_then(|record| serde_json::from_str::<Received>(record.entry.get()).ok());
        if let Some(to) = told.as_ref().and_then(|told| told.more.get("to")).and_then(Value::as_str) {
            whither = format!(" to {to}: look there with --data-dir");
            break;
        }
    }
    Ok(format!("; records up to {last}, of {}, were archived{whither}", render::time(at)))
}

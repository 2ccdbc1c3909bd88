//! The data folder of a server that does not run: who can read it, whether its keys open, and whether its journal is whole.
//! Nothing in it is changed.

use super::finding::Finding;
use crate::authority::KeyringFile;
use crate::cli::{render, verify};
use crate::clock::SystemClock;
use crate::config::ServerSettings;
use crate::crypto::check_secret_file;
use crate::server::open_places;
use crate::store::{Evidence, JournalError, verify_against};
use crate::telemetry::chain;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

/// Where others could lay what the server then believes.
const OTHERS_WRITE: u32 = 0o022;

/// How private keys are called there, the door CA's among them.
const SECRET_ENDINGS: [&str; 2] = [".key", "-key.pem"];

/// Looks at all three.
pub(super) async fn look(file: &Path, settings: &ServerSettings) -> Vec<Finding> {
    vec![files(settings), keys(settings).await, journal(file, &settings.data_dir)]
}

/// By their modes: the folder, the key that opens the others, and what else is secret there.
fn files(settings: &ServerSettings) -> Finding {
    let folder = &settings.data_dir;
    let mode = folder.metadata().map(|found: Metadata| found.mode() & 0o777).unwrap_or_default();
    if mode & OTHERS_WRITE != 0 {
        let (found, shown) = (format!("others may write to {} (mode {mode:04o})", folder.display()), folder.display());
        return Finding::wrong("files", found, format!("see that all in it is yours, then: chmod 700 {shown}"));
    }
    let beside = folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
    let secret = beside.filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        SECRET_ENDINGS.iter().any(|ending| name.ends_with(ending))
    });
    let sealing = settings.keys.sealing.file.clone();
    let mut secrets: Vec<_> = secret.chain([sealing]).filter(|path| path.exists()).collect();
    secrets.sort();
    secrets.dedup();
    let open: Vec<String> =
        secrets.iter().filter_map(|path| check_secret_file(path).err()).map(|error| chain(&error)).collect();
    if open.is_empty() {
        let many = render::count(secrets.len(), "secret file");
        return Finding::good("files", format!("nobody else can read or change them ({many})"));
    }
    Finding::wrong("files", open.join("\n"), "whoever has read a key has it: think of changing what it opens")
}

/// Whether what the folder keeps opens with the sealing key that is named.
async fn keys(settings: &ServerSettings) -> Finding {
    match opened(settings).await {
        Ok(Some(count)) => Finding::good("keys", format!("{} open", render::count(count, "key"))),
        Ok(None) if !settings.data_dir.join("journal").exists() => {
            Finding::good("keys", "none yet: the first start makes them")
        }
        Ok(None) => Finding::wrong(
            "keys",
            "there is a journal, and no keyring.json: the server would not start",
            "restore it from a backup, never start over: lanyard backup restore",
        ),
        Err(error) => Finding::wrong(
            "keys",
            format!("{error:#}"),
            "put back the sealing key and keyring.json that belong together: of the same backup, or where they were",
        ),
    }
}

async fn opened(settings: &ServerSettings) -> anyhow::Result<Option<usize>> {
    let path = settings.data_dir.join("keyring.json");
    if !path.exists() {
        return Ok(None);
    }
    let (_vault, places) = open_places((settings.vault.as_ref(), &settings.keys.places), Arc::new(SystemClock))?;
    let sealing = settings.keys.sealing.open(&places).await?;
    let file = KeyringFile::new(path, sealing).with_places(places);
    Ok(file.load(&settings.trust_domain)?.map(|keyring| keyring.authorities.len()))
}

/// From its first record on, as `lanyard audit verify` reads it.
fn journal(config: &Path, folder: &Path) -> Finding {
    if !folder.join("journal").exists() {
        return Finding::good("journal", "none yet: the first start begins it");
    }
    let remedy = format!(
        "keep the folder as it is for whoever looks into it; `lanyard audit verify --config {}` says where, and a backup has \
         what was before",
        config.display()
    );
    let key = match verify::key_of(folder) {
        Ok(key) => key,
        Err(error) => return Finding::wrong("journal", format!("{error:#}"), remedy),
    };
    render::progress("the journal is read");
    let verdict = verify_against(folder, Evidence { key: Some(key.key()), archives: &[], checkpoints: &[] });
    render::progress("");
    match verdict {
        Ok(report) => {
            let many = render::count(report.records.saturating_sub(report.first - 1), "record");
            Finding::good("journal", format!("{many}, as they were written"))
        }
        Err(error) => Finding::wrong("journal", told(&error), remedy),
    }
}

fn told(error: &JournalError) -> String {
    let line = error.line().map(|line| format!(" (line {line})")).unwrap_or_default();
    format!("{}{line}", chain(error))
}

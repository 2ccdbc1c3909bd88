//! `lanyard audit verify`: whether journals are as they were written; offline, over one replica's or all of them.

use super::audit::Journal;
use super::failure::{WrongUsage, unreadable};
use super::render;
use crate::server::JOURNAL_KEY_FILE;
use crate::store::{
    Account, Disproof, Evidence, Fate, JournalError, SignedCheckpoint, VerifierKey, VerifyReport, verify_against,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[arg(
        long,
        value_name = "FILE",
        help = "The server's configuration; its data folder holds the journal [env: LANYARD_CONFIG]"
    )]
    config: Option<PathBuf>,
    /// A data folder, or a copy of one; several times for several replicas
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    data_dir: Vec<PathBuf>,
    /// A folder that older segments were archived to
    #[arg(long, value_name = "DIR")]
    archive: Vec<PathBuf>,
    /// A checkpoint that was kept elsewhere, or a folder of them: each must be of one of the journals
    #[arg(long, value_name = "PATH")]
    checkpoints: Vec<PathBuf>,
    /// The verifier keys that sign checkpoints, one a line [default: `journal.vkey` in each data folder]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// A journal, and what its checkpoints must be signed by.
struct Case {
    folder: PathBuf,
    key: VerifierKey,
}

type Verdict = Result<VerifyReport, JournalError>;

/// Reads the journals from their first records on and says whether they are as they were written.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Some(folders) = folders(args)? else { return Ok(ExitCode::FAILURE) };
    let given = args.key.as_deref().map(read_keys).transpose()?;
    let cases = folders.into_iter().map(|folder| case(folder, given.as_deref())).collect::<anyhow::Result<Vec<_>>>()?;
    let mut checkpoints = Vec::new();
    for path in &args.checkpoints {
        for file in checkpoint_files(path)? {
            checkpoints.push(SignedCheckpoint::load(&file)?);
        }
    }
    let (of_none, known): (Vec<_>, Vec<_>) =
        checkpoints.into_iter().partition(|checkpoint| cases.iter().all(|case| case.key.name() != checkpoint.origin()));
    let verdicts: Vec<(&Case, Verdict)> = cases.iter().map(|case| (case, judge(case, args, &known))).collect();
    let missing = of_none.iter().map(|one| one.disproved(Disproof::OfNone { origin: one.origin().to_owned() }));
    let missing: Vec<JournalError> = missing.collect();
    let is_whole = missing.is_empty() && verdicts.iter().all(|(_, verdict)| verdict.is_ok());
    if args.json {
        let journals: Vec<Value> = verdicts.iter().map(|(case, verdict)| for_machines(case, verdict)).collect();
        let missing: Vec<Value> = missing.iter().map(trouble).collect();
        render::json(&json!({ "whole": is_whole, "journals": journals, "missing": missing }))?;
    } else {
        for (case, verdict) in &verdicts {
            tell(case, verdict)?;
        }
        missing.iter().for_each(complain);
    }
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn folders(args: &Args) -> anyhow::Result<Option<Vec<PathBuf>>> {
    if args.data_dir.is_empty() {
        let journal = Journal { config: args.config.clone(), data_dir: None };
        return Ok(journal.folder()?.map(|folder| vec![folder]));
    }
    Ok(Some(args.data_dir.clone()))
}

/// The key of a journal is the one that was given under the name it has, or the only one that was given; else its own.
fn case(folder: PathBuf, given: Option<&[VerifierKey]>) -> anyhow::Result<Case> {
    let file = folder.join(JOURNAL_KEY_FILE);
    let own = read_keys(&file).and_then(|keys| only(&keys, &file));
    let Some(given) = given else { return Ok(Case { folder, key: own? }) };
    let named = own.ok().and_then(|own| given.iter().find(|key| key.name() == own.name()).cloned());
    let key = match (named, given) {
        (Some(key), _) => key,
        (None, [key]) => key.clone(),
        (None, _) => {
            let what =
                format!("none of the keys given is that of {}, as its {JOURNAL_KEY_FILE} names it", folder.display());
            return Err(WrongUsage::new(what).into());
        }
    };
    Ok(Case { folder, key })
}

/// Reads verifier keys, one a line.
pub(super) fn read_keys(file: &Path) -> anyhow::Result<Vec<VerifierKey>> {
    let text = std::fs::read_to_string(file).map_err(unreadable(file))?;
    let key = |line: &str| line.parse().map_err(|why| anyhow::anyhow!("{}: {why}", file.display()));
    text.lines().filter(|line| !line.is_empty()).map(key).collect()
}

/// The key of a data folder's journal.
pub(super) fn key_of(folder: &Path) -> anyhow::Result<VerifierKey> {
    let file = folder.join(JOURNAL_KEY_FILE);
    read_keys(&file).and_then(|keys| only(&keys, &file))
}

/// Lays it beside journals that were copied.
pub(super) fn lay_key(folder: &Path, key: &VerifierKey) -> anyhow::Result<()> {
    let file = folder.join(JOURNAL_KEY_FILE);
    std::fs::write(&file, format!("{key}\n")).map_err(unreadable(&file))
}

fn only(keys: &[VerifierKey], file: &Path) -> anyhow::Result<VerifierKey> {
    let [key] = keys else { anyhow::bail!("{} must hold one verifier key", file.display()) };
    Ok(key.clone())
}

/// The file itself, or whatever a folder holds.
fn checkpoint_files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in path.read_dir().map_err(unreadable(path))? {
        files.push(entry.map_err(unreadable(path))?.path());
    }
    // What a crash left half written beside a checkpoint is none.
    files.retain(|file| file.is_file() && file.extension().is_none_or(|ending| ending != "new"));
    files.sort();
    Ok(files)
}

fn judge(case: &Case, args: &Args, known: &[SignedCheckpoint]) -> Verdict {
    let own: Vec<_> = known.iter().filter(|checkpoint| checkpoint.origin() == case.key.name()).cloned().collect();
    let evidence = Evidence { key: Some(case.key.key()), archives: &args.archive, checkpoints: &own };
    verify_against(&case.folder, evidence)
}

fn tell(case: &Case, verdict: &Verdict) -> anyhow::Result<()> {
    let report = match verdict {
        Ok(report) => report,
        Err(error) => {
            complain(error);
            return Ok(());
        }
    };
    let VerifyReport { first, records, checkpoints, proven, last_digest, .. } = report;
    let many = render::count(records.saturating_sub(first - 1), "record");
    let (inside, outside) = (render::count(*checkpoints, "checkpoint"), render::count(*proven, "signed checkpoint"));
    render::say(&format!("{} is whole: {many}, {inside}; {outside} beside it agree", case.key.name()))?;
    if let Some(gone) = &report.gone {
        render::say(&format!("it begins with record {first}: {}, and is not proven here", what_left(gone)))?;
    }
    if report.signed_upto < *records {
        let since = report.signed_upto + 1;
        render::say(&format!("records {since} to {records} are covered by no signature"))?;
    }
    render::say(&format!("last digest {last_digest}"))?;
    if let Some(torn) = &report.torn {
        let bytes = torn.bytes;
        render::say(&format!(
            "the last {bytes} bytes are a record that a crash left unfinished; nobody was told of it"
        ))?;
    }
    Ok(())
}

/// Who took older records away, when and why.
fn what_left(Account { kind, at, by, reason, .. }: &Account) -> String {
    let how = match kind {
        Fate::SegmentsArchived => "archived",
        Fate::SegmentsRemoved => "removed",
    };
    format!("what came before was {how} by {by} at {} ({reason})", render::time(*at))
}

fn complain(error: &JournalError) {
    let line = error.line().map(|line| format!(" (line {line})")).unwrap_or_default();
    let why = crate::telemetry::chain(error);
    render::aside(&format!("error: {why}{line}"));
}

fn for_machines(case: &Case, verdict: &Verdict) -> Value {
    let mut told = match verdict {
        Ok(report) => json!({
            "first": report.first,
            "records": report.records,
            "checkpoints": report.checkpoints,
            "proven": report.proven,
            "signed_upto": report.signed_upto,
            "gone": report.gone,
            "last_digest": report.last_digest,
            "root": report.root,
            "last_at": report.last_at.map(render::time),
            "torn_bytes": report.torn.as_ref().map_or(0, |torn| torn.bytes),
        }),
        Err(error) => trouble(error),
    };
    if let Some(told) = told.as_object_mut() {
        told.insert("whole".to_owned(), verdict.is_ok().into());
        told.insert("data_dir".to_owned(), case.folder.display().to_string().into());
        told.insert("origin".to_owned(), case.key.name().into());
    }
    told
}

/// What is wrong, where: the file, the record, the line.
fn trouble(error: &JournalError) -> Value {
    let (file, position) = match error {
        JournalError::Broken { segment, position, .. } => (segment, Some(position)),
        JournalError::Disproved { checkpoint, .. } => (checkpoint, None),
        JournalError::Io { path, .. } => (path, None),
    };
    json!({ "file": file, "record": position, "line": error.line(), "why": crate::telemetry::chain(error) })
}

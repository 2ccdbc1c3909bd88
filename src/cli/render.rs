//! The only place that prints. Facts go to standard output, all else to standard error.

use super::failure::{exit_code, plain};
use crate::config::{Environment as _, Partly, Problem, SystemEnvironment};
pub(super) use crate::telemetry::rfc3339 as time;
use comfy_table::{Table, presets};
use serde::Serialize;
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::process::ExitCode;

/// Why a fact did not reach whoever asked.
#[derive(Debug, thiserror::Error)]
enum OutputError {
    /// Whoever closed the other end has read enough.
    #[error("standard output is closed")]
    Closed,
    /// A full disk, for one: what was asked for is lost, which must not count as done.
    #[error("standard output cannot be written: {0}")]
    Unwritable(String),
}

/// Says why a command failed, cause by cause, and gives its exit code.
pub fn complain(error: &anyhow::Error) -> ExitCode {
    if is_closed(error) {
        return ExitCode::SUCCESS;
    }
    let mut text = format!("error: {error}\n");
    let mut above = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // A transparent error repeats its cause's words.
        if !above.contains(&cause) {
            text.push_str("  because ");
            text.push_str(&cause);
            text.push('\n');
        }
        above = cause;
    }
    aside(text.trim_end());
    exit_code(error)
}

/// A text, as a fact; an error where it cannot be written, which ends the command.
pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    Ok(put(io::stdout(), text)?)
}

/// A text that is no fact: progress, warnings, advice.
pub(crate) fn aside(text: &str) {
    let lines: Vec<_> = text.split('\n').map(harmless).collect();
    // Where standard error is gone, nobody is left to tell.
    let _untold = put(io::stderr(), &lines.join("\n")).is_err();
}

/// Progress in one line that the next one replaces, where a person looks on; an empty one takes it away.
pub(super) fn progress(text: &str) {
    let line = format!("\r\u{1b}[K{}", harmless(text));
    let mut there = io::stderr();
    if there.is_terminal() {
        let _untold = there.write_all(line.as_bytes()).and_then(|()| there.flush()).is_err();
    }
}

/// A fact for machines, one line.
pub(crate) fn json(fact: &impl Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string(fact)?)
}

/// Facts in rows: a table for a person, columns between tabs for a pipe. That has no head, since `grep` and `cut` would take it for
/// a row: who must know which column is which, and that it stays so, takes `--json`, as the help says.
pub(crate) fn rows(head: &[&str], rows: Vec<Vec<String>>) -> anyhow::Result<()> {
    if is_terminal() {
        return say(&table(head, rows));
    }
    let rows = rows.iter().map(|row| harmless_row(row));
    let lines: Vec<String> = rows.map(|row| row.join("\t")).collect();
    if lines.is_empty() { Ok(()) } else { say(&lines.join("\n")) }
}

/// Rows as a person reads them.
pub(super) fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
        .set_header(head.iter().map(|name| name.to_uppercase()))
        .add_rows(rows.into_iter().map(|row| harmless_row(&row)));
    table.trim_fmt()
}

/// What tokens and journals say may hold anything; a terminal obeys some of it, and a cell ends at a tab. Written as Rust
/// writes it.
pub(super) fn harmless(text: &str) -> String {
    let obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().map(|c| if obeyed(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

fn harmless_row(row: &[String]) -> Vec<String> {
    row.iter().map(|cell| harmless(cell)).collect()
}

/// Whether a person looks on.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether a person looks on who wants colours (no-color.org), on a terminal that has them.
pub(super) fn takes_colours() -> bool {
    is_terminal()
        && SystemEnvironment.value("NO_COLOR").is_none()
        && SystemEnvironment.value("TERM").as_deref() != Some("dumb")
}

/// For commands whose exit code is the answer, or that go on: who closed a pipe has read enough and changes neither.
pub(super) fn unless_closed(told: anyhow::Result<()>) -> anyhow::Result<()> {
    told.or_else(|error| if is_closed(&error) { Ok(()) } else { Err(error) })
}

fn is_closed(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(OutputError::Closed))
}

/// How many of something.
pub(super) fn count<N: Copy + Display + From<u8> + PartialEq>(many: N, one: &str) -> String {
    if many == N::from(1) { format!("1 {one}") } else { format!("{many} {one}s") }
}

/// A size as people say it.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u32); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = UNITS.iter().find(|(_, power)| bytes >> power > 0);
    // One digit behind the point is enough for a person.
    let tenths = |power: u32| (bytes >> (power - 10)) * 10 / 1024;
    unit.map_or_else(
        || count(bytes, "byte"),
        |(unit, power)| format!("{}.{} {unit}", tenths(*power) / 10, tenths(*power) % 10),
    )
}

/// Every problem of a file, and how many.
pub(super) fn problems(problems: &[Problem]) {
    for problem in problems {
        aside(&problem.to_string());
    }
    aside(&count(problems.len(), "problem"));
}

/// What was read; none where it has problems, which are printed then.
pub(super) fn loaded<T>(read: Result<T, Vec<Problem>>) -> Option<T> {
    read.map_err(|found| problems(&found)).ok()
}

/// What a command needs of a configuration that may have problems elsewhere, which one line tells; none when it has them
/// there, which are printed then.
pub(super) fn needed<T>(file: &Path, read: Result<Partly<T>, Vec<Problem>>) -> Option<T> {
    let Partly { settings, other_problems } = loaded(read)?;
    if other_problems > 0 {
        let (many, file) = (count(other_problems, "problem"), file.display());
        aside(&format!("warning: the configuration has {many} elsewhere: `lanyard config check {file}` shows them"));
    }
    Some(settings)
}

/// What a check found, for machines.
pub(super) fn checked((kind, file): (&str, &Path), problems: &[Problem], warnings: &[Problem]) -> anyhow::Result<()> {
    let problem = |problem: &Problem| {
        let Problem { file, line, key, found, remedy } = problem;
        serde_json::json!({ "file": file, "line": line, "key": key, "found": found, "remedy": remedy })
    };
    json(&serde_json::json!({
        "kind": kind,
        "file": file,
        "good": problems.is_empty(),
        "problems": problems.iter().map(problem).collect::<Vec<_>>(),
        "warnings": warnings.iter().map(problem).collect::<Vec<_>>(),
    }))
}

/// Completions for a shell.
pub(super) fn completions(shell: clap_complete::Shell, command: &mut clap::Command) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, command, "lanyard", &mut script);
    say(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

fn put(mut to: impl Write, text: &str) -> Result<(), OutputError> {
    writeln!(to, "{text}").and_then(|()| to.flush()).map_err(|error| {
        let is_closed = error.kind() == io::ErrorKind::BrokenPipe;
        if is_closed { OutputError::Closed } else { OutputError::Unwritable(plain(&error)) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;

    #[test]
    fn a_full_disk_is_told_and_a_closed_pipe_is_not() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let error = put(full, "a fact").unwrap_err();
        assert_eq!(error.to_string(), "standard output cannot be written: No space left on device");
        assert!(unless_closed(Err(error.into())).is_err());
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let error = anyhow::Error::from(put(writer, "a fact").unwrap_err());
        assert!(is_closed(&error));
        assert!(unless_closed(Err(error)).is_ok());
    }

    #[test]
    fn no_cell_holds_what_a_terminal_obeys_or_ends_its_cell() {
        for obeyed in ['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}', '\t', '\n', '\r'] {
            let row = vec![format!("refs/heads/a{obeyed}b"), "next".to_owned()];
            let shown = table(&["ref", "more"], vec![row.clone()]);
            let piped = harmless_row(&row).join("\t");
            let escaped = obeyed.escape_unicode().to_string();
            for told in [shown.lines().nth(1).unwrap(), &piped] {
                assert!(told.contains(&escaped) && told.contains("next"), "{told:?}");
            }
            assert!(!shown.trim_end().replacen('\n', "", 1).contains(obeyed), "{shown:?}");
        }
        assert_eq!(harmless("größer, 東京"), "größer, 東京");
    }
}

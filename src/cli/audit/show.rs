//! `lanyard audit show`: reads the journal from its beginning and prints what answers the question.

use super::{Journal, question, row};
use crate::audit::Received;
use crate::cli::render;
use crate::store::JournalReader;
use serde_json::json;
use std::process::ExitCode;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Shows. Of the journal no more is held than is printed.
pub(super) fn run(journal: &Journal, asked: &question::Args, as_json: bool) -> anyhow::Result<ExitCode> {
    let Some(folder) = journal.folder()? else { return Ok(ExitCode::FAILURE) };
    let (mut question, mut read) = (asked.question(), Read::default());
    let mut rows = Vec::new();
    for record in JournalReader::open(&folder)? {
        let record = record?;
        let entry: Received = serde_json::from_str(record.entry.get())?;
        let answers = question.is_answered_by(&record, &entry);
        read.note(record.at, answers);
        if !answers {
            continue;
        }
        if as_json {
            // Evidence stays as it was written, to the millisecond.
            let at = record.at.format(&Rfc3339)?;
            render::json(
                &json!({ "position": record.position, "at": at, "digest": record.digest, "entry": record.entry }),
            )?;
        } else {
            rows.push(row::of(&record, entry));
        }
    }
    if read.answers == 0 {
        anyhow::bail!(question.unanswered(&read.told()));
    }
    if !as_json {
        render::rows(&row::HEAD, rows)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// How much was read.
#[derive(Default)]
struct Read {
    records: u64,
    answers: u64,
    span: Option<[OffsetDateTime; 2]>,
}

impl Read {
    fn note(&mut self, at: OffsetDateTime, answers: bool) {
        let [first, _] = self.span.unwrap_or([at; 2]);
        (self.records, self.answers, self.span) =
            (self.records + 1, self.answers + u64::from(answers), Some([first, at]));
    }

    fn told(&self) -> String {
        let records = render::count(self.records, "record");
        match self.span.map(|span| span.map(render::time)) {
            Some([first, last]) => format!("{records} of {first} to {last}"),
            None => records,
        }
    }
}

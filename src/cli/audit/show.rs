//! `lanyard audit show`: reads the journal from its beginning and prints what answers the question.

use super::{Journal, question, row};
use crate::audit::{Job, Received};
use crate::cli::{archive, render};
use crate::crypto::Digest;
use crate::people::People;
use crate::store::{JournalReader, Position, Record};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::process::ExitCode;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Shows. Of the journal no more is held than is printed.
pub(super) async fn run(journal: &Journal, asked: &question::Args, as_json: bool) -> anyhow::Result<ExitCode> {
    let Some(place) = journal.place()? else { return Ok(ExitCode::FAILURE) };
    let (mut question, mut read) = (asked.question(), Read::of(place.people().await));
    let mut rows = Vec::new();
    for record in JournalReader::open(&place.folder)? {
        let record = record?;
        let entry = read.entry(&record)?;
        let answers = question.is_answered_by(&record, &entry);
        read.note(record.at, answers);
        if !answers {
            continue;
        }
        if as_json {
            render::json(&read.fact(&record, &entry)?)?;
        } else {
            rows.push(row::of(&record, entry, read.unopened));
        }
    }
    if read.answers == 0 {
        let elsewhere = archive::whereabouts(&place.folder)?;
        anyhow::bail!("{}{elsewhere}", question.unanswered(&read.told()));
    }
    if !as_json {
        render::rows(&row::HEAD, rows)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A record, for machines.
#[derive(Serialize)]
struct Fact<'a> {
    position: Position,
    at: String,
    digest: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    person: Option<Value>,
    entry: &'a RawValue,
}

/// How much was read, and what opens what it holds of persons.
struct Read {
    people: People,
    /// Why somebody's name is not shown.
    unopened: &'static str,
    records: u64,
    answers: u64,
    /// Whether the last entry's person is sealed in it.
    was_sealed: bool,
    /// Entries of somebody whose name is not shown.
    nameless: u64,
    span: Option<[OffsetDateTime; 2]>,
}

impl Read {
    fn of(people: Option<People>) -> Self {
        let unopened = if people.is_some() { "erased" } else { "sealed" };
        let people = people.unwrap_or_default();
        Self { people, unopened, records: 0, answers: 0, was_sealed: false, nameless: 0, span: None }
    }

    /// An entry, with its person where that can be known; else the person stays sealed in it.
    fn entry(&mut self, record: &Record) -> serde_json::Result<Received> {
        let mut entry: Received = serde_json::from_str(record.entry.get())?;
        self.was_sealed = entry.job.as_ref().is_some_and(|job| job.person.is_some());
        if let (true, Some(job)) = (self.was_sealed, &mut entry.job) {
            match job.clone().opened(&self.people) {
                Some(opened) => *job = opened,
                None => self.nameless += 1,
            }
        }
        Ok(entry)
    }

    fn note(&mut self, at: OffsetDateTime, answers: bool) {
        let [first, _] = self.span.unwrap_or([at; 2]);
        (self.records, self.answers, self.span) =
            (self.records + 1, self.answers + u64::from(answers), Some([first, at]));
    }

    /// Evidence stays as it was written, to the millisecond; who is sealed in it stands beside it.
    fn fact<'a>(&self, record: &'a Record, entry: &Received) -> anyhow::Result<Fact<'a>> {
        let at = record.at.format(&Rfc3339)?;
        let person = entry.job.as_ref().filter(|_| self.was_sealed).map(|job| self.person(job));
        Ok(Fact { at, digest: record.digest, entry: &record.entry, person, position: record.position })
    }

    fn person(&self, job: &Job) -> Value {
        if job.person.is_some() {
            return self.unopened.into();
        }
        let claims = job.more.iter().filter(|(name, _)| name.starts_with("user_"));
        let told: Map<String, Value> = claims.map(|(name, value)| (name.to_string(), json!(value))).collect();
        told.into()
    }

    fn told(&self) -> String {
        let mut told = render::count(self.records, "record");
        if let Some([first, last]) = self.span.map(|span| span.map(render::time)) {
            told = format!("{told} of {first} to {last}");
        }
        if self.nameless > 0 {
            told = format!("{told}, {} of somebody who is {}", self.nameless, self.unopened);
        }
        told
    }
}

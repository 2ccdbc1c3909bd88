//! The section `[checkpoints]`: what the journal is called, how often a checkpoint of it is signed, and where that goes.

use super::Environment;
use super::quantity::SPAN_MAX;
use super::section::Section;
use crate::store::CheckpointSettings;

/// Says what a replica is called where one file is for all of them.
const REPLICA_VARIABLE: &str = "LANYARD_REPLICA";
const REPLICA_LIKE: &str = "letters, digits, '.', '_' and '-', such as \"ca-1\"";

/// How the journal vouches for itself.
#[derive(Clone, Debug)]
pub struct JournalCheckpoints {
    /// What this replica is called in its checkpoints' origin; without it, after its key.
    pub replica: Option<String>,
    /// When and where.
    pub signing: CheckpointSettings,
}

/// A name that stands in an origin, in a key's name and in a file's.
fn replica(name: &str) -> Result<String, &'static str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_name = !name.is_empty() && name.len() <= 64 && name.chars().all(fits) && !name.starts_with(['.', '-']);
    if is_name { Ok(name.to_owned()) } else { Err("no name of a replica") }
}

/// The file's word; without one, the environment's.
fn read_replica(section: &mut Section<'_, '_>, environment: &dyn Environment) -> Option<String> {
    if section.holds("replica") {
        return section.parsed("replica", REPLICA_LIKE, replica);
    }
    let given = environment.value(REPLICA_VARIABLE)?;
    match replica(&given) {
        Ok(name) => Some(name),
        Err(why) => {
            let found = format!("{REPLICA_VARIABLE} is {given:?}, {why}");
            section.problem("replica", None, found, REPLICA_LIKE);
            None
        }
    }
}

pub(super) fn read_checkpoints(mut section: Section<'_, '_>, environment: &dyn Environment) -> JournalCheckpoints {
    let default = CheckpointSettings::default();
    let at_least_one = |text: &str| match text.parse() {
        Ok(0) | Err(_) => Err("not a number from 1 on"),
        Ok(records) => Ok(records),
    };
    let line = section.line_of("every");
    let every = section.duration("every", SPAN_MAX).unwrap_or(default.every);
    if every.is_zero() {
        section.problem("every", line, "\"0s\"", "write a span such as \"1m\"");
    }
    let settings = JournalCheckpoints {
        replica: read_replica(&mut section, environment),
        signing: CheckpointSettings {
            records: section.parsed("records", "how many, such as \"1000\"", at_least_one).unwrap_or(default.records),
            every,
            folder: section.path("folder"),
        },
    };
    section.finish();
    settings
}

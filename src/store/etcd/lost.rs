//! What a replica's journal tells and an etcd that was restored does not know.

use super::epoch::Age;
use super::evidence::{Evidence, KEY};
use crate::store::{JournalError, JournalReader, Record};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::path::Path;

/// What a key should hold, nothing where it was deleted; and since when.
pub(super) type Last = BTreeMap<String, (Age, Option<Box<RawValue>>)>;

/// Where a journal and the restored etcd part.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(super) struct Since {
    /// The last transaction of the replica.
    pub(super) own: Age,
    /// The last of any.
    pub(super) any: Age,
}

/// A journal, read for where it stands.
#[derive(Default)]
pub(super) struct Stand {
    /// The most restores it has seen.
    pub(super) epoch: u64,
    pub(super) last: Option<Evidence>,
}

impl Since {
    /// Whether etcd, as it was restored, knows a transaction of that age.
    fn knows(&self, age: Age, is_own: impl FnOnce() -> bool) -> bool {
        age <= self.own || (age <= self.any && !is_own())
    }
}

/// Where a journal stands.
pub(super) fn stand(dir: &Path) -> Result<Stand, JournalError> {
    let mut stand = Stand::default();
    for record in JournalReader::open(dir)? {
        let Some(told) = told(&record?) else { continue };
        stand = Stand { epoch: stand.epoch.max(told.epoch), last: Some(told) };
    }
    Ok(stand)
}

/// What a replica's journal tells and the restored etcd does not know, and when that was. A journal tells transactions in about
/// their order: what counts is that of etcd.
pub(super) fn lost_since(dir: &Path, (since, replica): (&Since, &str)) -> Result<Last, JournalError> {
    let mut last = Last::new();
    for record in JournalReader::open(dir)? {
        let record = record?;
        let Some(told) = told(&record) else { continue };
        let age = (told.epoch, told.revision);
        if since.knows(age, || !told.looked && !is_of_another(&record, replica)) {
            continue;
        }
        let put = told.put.into_iter().map(|(key, value)| (key, Some(value)));
        for (key, value) in put.chain(told.delete.into_iter().map(|key| (key, None))) {
            keep_newest(&mut last, key, (age, value));
        }
    }
    Ok(last)
}

fn told(record: &Record) -> Option<Evidence> {
    Evidence::parse(record.put.get(KEY)?).ok()
}

/// Whether the journal tells late what another replica did.
fn is_of_another(record: &Record, replica: &str) -> bool {
    #[derive(Deserialize)]
    struct Entry {
        kind: String,
        replica: Option<String>,
    }
    let entry = serde_json::from_str::<Entry>(record.entry.get()).ok().filter(|entry| entry.kind == "told_late");
    entry.and_then(|entry| entry.replica).is_some_and(|who| who != replica)
}

fn keep_newest(last: &mut Last, key: String, (age, value): (Age, Option<Box<RawValue>>)) {
    let newest = last.entry(key).or_insert_with(|| ((0, 0), None));
    if age >= newest.0 {
        *newest = (age, value);
    }
}

//! Which project a path belongs to. Paths can be renamed and used again; ids cannot.
//!
//! A pin is made when a rule first grants a path, in a commit of its own before the grant is drafted, or by an operator.
//! Beside it stands its mirror, by which a project that comes with a new path is known by its former ones.

use super::keeper::{parse, text};
use crate::audit::{AdmitError, Auditable, Changes, Entry, Job, Ledger, PinnedBy};
use crate::policy::{Grant, PathPin};
use crate::store::{Condition, Revision, Store, StoreError, Version, Write};
use crate::token::{IssuerName, Pins};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use time::OffsetDateTime;

/// A project has few names in its life; of more, these are told.
const FORMER_PATHS_MAX: usize = 16;

/// Why a path cannot be granted.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// Nobody pinned it, and the issuer's pins are declared.
    #[error(
        "project path {path} is not pinned, and this issuer's pins are declared by operators only; if it belongs to \
         project {project_id}: lanyard pin set {issuer} {path} {project_id}",
        path = .0.folded_path, project_id = .0.project_id, issuer = .0.issuer
    )]
    NotPinned(PathPin),
    /// It belonged to another project.
    #[error(
        "project path {path} belonged to project {pinned}, and now project {project_id} asks; find out why, and if it \
         is right: lanyard pin set {issuer} {path} {project_id}",
        path = asks.folded_path, project_id = asks.project_id, issuer = asks.issuer
    )]
    Reused {
        /// Who asks.
        asks: PathPin,
        /// Whose it was.
        pinned: u64,
    },
    /// The store cannot answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PinError {
    /// What the job's author reads: whose path it was, and how it is changed, is for operators.
    pub fn to_bearer(&self) -> String {
        match self {
            Self::NotPinned(asks) => {
                format!("no operator has said yet that project path {} is this project's; ask yours", asks.folded_path)
            }
            Self::Reused { asks, .. } => {
                format!("project path {} belonged to another project before; ask your operator", asks.folded_path)
            }
            Self::Store(_) => "it cannot be read at the moment whose the project path is; try again".to_owned(),
        }
    }
}

/// A path and its project, for operators.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pin {
    /// Which path of whose projects.
    pub of: PathPin,
    /// Since when; the first pins do not tell.
    pub since: Option<OffsetDateTime>,
    /// By whom.
    pub by: Option<PinnedBy>,
}

/// A pin as it is kept, under `pin/<issuer>/<path>`. The version stands in front; the first ones had a project only.
#[derive(Deserialize, Serialize)]
struct Record {
    v: Version<1>,
    project_id: u64,
    #[serde(default, with = "time::serde::timestamp::option")]
    since: Option<OffsetDateTime>,
    #[serde(default)]
    by: Option<PinnedBy>,
}

/// What stands under `paths/<issuer>/<project id>/<path>`: its key says all.
#[derive(Serialize)]
struct Mirror {
    v: Version<1>,
}

/// A path that is about to belong to another project, or to none.
#[derive(Debug)]
struct Change<'a> {
    pin: &'a PathPin,
    old: Option<u64>,
    new: Option<u64>,
    by: PinnedBy,
    asked: Option<(&'a str, &'a Job)>,
}

/// Which project each path belongs to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PathPins {
    store: Arc<dyn Store>,
    ledger: Ledger,
}

impl PathPins {
    /// The pins of a store.
    pub fn new(store: Arc<dyn Store>, ledger: Ledger) -> Self {
        Self { store, ledger }
    }

    /// Sees to it that the path in a grant is its project's: what nobody had is pinned now. What must hold for it to stay
    /// so; none where the grant shows no path.
    ///
    /// # Errors
    /// See [`PinError`].
    pub async fn hold(
        &self,
        pins: Pins,
        grant: &Grant,
        (request_id, job): (&str, &Job),
        now: OffsetDateTime,
    ) -> Result<Option<Condition>, PinError> {
        let Some(pin) = grant.pin() else { return Ok(None) };
        loop {
            if let Some(revision) = self.held(pins, pin)? {
                return Ok(Some(Condition::Unchanged(key(pin), revision)));
            }
            let (rule, from) = (grant.rule().to_owned(), self.former_paths(pin)?);
            let by = if from.is_empty() { PinnedBy::FirstUse { rule } } else { PinnedBy::Rename { rule, from } };
            if let PinnedBy::Rename { from, .. } = &by {
                tracing::warn!(request_id, project_id = pin.project_id, path = pin.folded_path, ?from, "renamed");
            }
            let change = Change { pin, old: None, new: Some(pin.project_id), by, asked: Some((request_id, job)) };
            self.make(change, None, now).await?;
        }
    }

    /// Lets a path through that is this project's, or that nobody had where that is enough.
    ///
    /// # Errors
    /// See [`PinError`].
    pub fn judge(&self, pins: Pins, pin: &PathPin) -> Result<(), PinError> {
        self.held(pins, pin).map(drop)
    }

    /// By which write a path is this project's; none where it was never granted.
    fn held(&self, pins: Pins, pin: &PathPin) -> Result<Option<Revision>, PinError> {
        match (self.kept(pin)?, pins) {
            (Some((record, revision)), _) if record.project_id == pin.project_id => Ok(Some(revision)),
            (Some((record, _)), _) => Err(PinError::Reused { asks: pin.clone(), pinned: record.project_id }),
            (None, Pins::Learned) => Ok(None),
            (None, Pins::Declared) => Err(PinError::NotPinned(pin.clone())),
        }
    }

    /// Gives a path to a project by an operator's word; whose it was.
    ///
    /// # Errors
    /// `Store`.
    pub async fn set(&self, pin: &PathPin, by: &PinnedBy, now: OffsetDateTime) -> Result<Option<u64>, StoreError> {
        self.change(pin, Some(pin.project_id), by, now).await
    }

    /// Forgets whose a path is; whose it was.
    ///
    /// # Errors
    /// `Store`.
    pub async fn delete(&self, pin: &PathPin, by: &PinnedBy, now: OffsetDateTime) -> Result<Option<u64>, StoreError> {
        self.change(pin, None, by, now).await
    }

    /// The first pins after one (named as `issuer/path`, or nothing to begin with), and what to go on with.
    ///
    /// # Errors
    /// `Store`.
    pub fn page(
        &self,
        issuer: Option<&str>,
        after: &str,
        max: usize,
    ) -> Result<(Vec<Pin>, Option<String>), StoreError> {
        let prefix = issuer.map_or_else(|| PREFIX.to_owned(), |issuer| format!("{PREFIX}{issuer}/"));
        let after = if after.is_empty() { String::new() } else { format!("{PREFIX}{after}") };
        let page = self.store.page(&prefix, &after, max)?;
        let next = page.last().filter(|_| page.len() == max).and_then(|(key, _)| key.strip_prefix(PREFIX));
        let next = next.map(str::to_owned);
        let pin = |(key, kept): &(String, crate::store::Stored)| {
            let (issuer, folded_path) = key.strip_prefix(PREFIX)?.split_once('/')?;
            let of = |project_id| PathPin {
                issuer: IssuerName(issuer.into()),
                folded_path: folded_path.to_owned(),
                project_id,
            };
            let read = parse::<Record>(&kept.value);
            Some(read.map(|Record { project_id, since, by, .. }| Pin { of: of(project_id), since, by }))
        };
        Ok((page.iter().filter_map(pin).collect::<Result<_, _>>()?, next))
    }

    async fn change(
        &self,
        pin: &PathPin,
        new: Option<u64>,
        by: &PinnedBy,
        now: OffsetDateTime,
    ) -> Result<Option<u64>, StoreError> {
        loop {
            let kept = self.kept(pin)?;
            let old = kept.as_ref().map(|(record, _)| record.project_id);
            if old == new {
                return Ok(old);
            }
            let change = Change { pin, old, new, by: by.clone(), asked: None };
            if self.make(change, kept.map(|(_, revision)| revision), now).await? {
                return Ok(old);
            }
        }
    }

    /// Writes a change down; false where the pin was changed meanwhile.
    async fn make(&self, change: Change<'_>, was: Option<Revision>, now: OffsetDateTime) -> Result<bool, StoreError> {
        let Change { pin, old, new, by, .. } = &change;
        let key = key(pin);
        let mut writes = Vec::new();
        if let Some(old) = old {
            writes.push(Write::Delete(mirror(pin, *old)));
        }
        match new {
            Some(new) => {
                let record = Record { v: Version, project_id: *new, since: Some(now), by: Some(by.clone()) };
                writes.push(Write::Put(key.clone(), text(&record)?));
                writes.push(Write::Put(mirror(pin, *new), text(&Mirror { v: Version })?));
            }
            None => writes.push(Write::Delete(key.clone())),
        }
        let condition = match was {
            Some(revision) => Condition::Unchanged(key, revision),
            None => Condition::Absent(key),
        };
        match self.ledger.admit(change, Changes { conditions: vec![condition], writes }).await {
            Ok(_recorded) => Ok(true),
            Err(AdmitError::Conflict { .. }) => Ok(false),
            Err(AdmitError::Store(fault)) => Err(fault),
        }
    }

    fn kept(&self, pin: &PathPin) -> Result<Option<(Record, Revision)>, StoreError> {
        let kept = self.store.read(&key(pin))?;
        kept.map(|kept| Ok((parse(&kept.value)?, kept.revision))).transpose()
    }

    fn former_paths(&self, pin: &PathPin) -> Result<Vec<String>, StoreError> {
        let all = mirror(&PathPin { folded_path: String::new(), ..pin.clone() }, pin.project_id);
        let found = self.store.page(&all, "", FORMER_PATHS_MAX)?.into_iter();
        Ok(found.filter_map(|(key, _)| key.strip_prefix(&all).map(str::to_owned)).collect())
    }
}

impl Auditable for Change<'_> {
    fn entry(&self) -> Entry<'_> {
        let Self { pin, old, new, by, asked } = self;
        Entry::PinChanged {
            issuer: &pin.issuer,
            path: &pin.folded_path,
            old: *old,
            new: *new,
            by,
            request_id: asked.map(|(id, _)| id),
            job: asked.map(|(_, job)| job),
        }
    }
}

const PREFIX: &str = "pin/";

fn key(pin: &PathPin) -> String {
    format!("{PREFIX}{}/{}", pin.issuer, pin.folded_path)
}

fn mirror(pin: &PathPin, project_id: u64) -> String {
    format!("paths/{}/{project_id}/{}", pin.issuer, pin.folded_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pins_are_read_and_do_not_tell_since_when() {
        let Record { project_id, since, by, .. } = serde_json::from_str(r#"{"v":1,"project_id":4711}"#).unwrap();
        assert_eq!((project_id, since, by), (4711, None, None));
    }
}

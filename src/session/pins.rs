//! Which project a path belonged to when a rule first granted it. Paths can be renamed and used again; ids cannot.

use crate::audit::Changes;
use crate::policy::PathPin;
use crate::store::{Condition, Store, StoreError, Version, Write};
use crate::token::Pins;
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;

/// Where a grant's path stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pinned {
    /// To this very project, or no path is concerned.
    Same,
    /// To nobody: admission pins it.
    New,
}

/// Why a path cannot be granted.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// Nobody pinned it, and the issuer's pins are declared.
    #[error("project path {path} is not pinned, and this issuer's pins are declared by operators only")]
    NotPinned {
        /// The path, case-folded.
        path: String,
    },
    /// It belonged to another project.
    #[error(
        "project path {path} belonged to project {pinned}, and now project {found} asks: an operator must pin it anew"
    )]
    Reused {
        /// The path, case-folded.
        path: String,
        /// Whose it was.
        pinned: u64,
        /// Who asks.
        found: u64,
    },
    /// The store cannot answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Deserialize, Serialize)]
struct Record {
    v: Version<1>,
    project_id: u64,
}

impl Pinned {
    /// Where a grant's path stands.
    ///
    /// # Errors
    /// See [`PinError`].
    pub fn look(pins: Pins, store: &dyn Store, pin: Option<&PathPin>) -> Result<Self, PinError> {
        let Some(pin) = pin else { return Ok(Self::Same) };
        let path = pin.folded_path.clone();
        let kept = store.read(&key(pin))?.map(|kept| serde_json::from_str::<Record>(kept.value.get()));
        match (kept, pins) {
            (Some(Ok(record)), _) if record.project_id == pin.project_id => Ok(Self::Same),
            (Some(Ok(record)), _) => Err(PinError::Reused { path, pinned: record.project_id, found: pin.project_id }),
            (Some(Err(fault)), _) => Err(StoreError::Index(fault.into()).into()),
            (None, Pins::Learned) => Ok(Self::New),
            (None, Pins::Declared) => Err(PinError::NotPinned { path }),
        }
    }
}

/// Pins a path together with the admission that first grants it.
pub(super) fn pin(pinned: Pinned, pin: Option<&PathPin>, changes: &mut Changes) -> Result<(), StoreError> {
    let (Pinned::New, Some(pin)) = (pinned, pin) else { return Ok(()) };
    let value = to_raw_value(&Record { v: Version, project_id: pin.project_id });
    changes.conditions.push(Condition::Absent(key(pin)));
    changes.writes.push(Write::Put(key(pin), value.map_err(|fault| StoreError::Index(fault.into()))?));
    Ok(())
}

fn key(pin: &PathPin) -> String {
    format!("pin/{}/{}", pin.issuer, pin.folded_path)
}

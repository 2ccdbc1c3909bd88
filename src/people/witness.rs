//! The store remembers which file holds the persons' keys: one that is gone must not pass for one that never was.

use super::People;
use super::file::FileId;
use crate::store::{Store, StoreError, Version, Write};
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;

/// Where it stands.
const KEY: &str = "people";

#[derive(Deserialize, Serialize)]
struct Remembered {
    v: Version<1>,
    file: FileId,
}

/// What a start finds.
#[derive(Debug)]
pub enum Found {
    /// The file that the store knows, or none where none is known.
    AsBefore,
    /// The first one: to be remembered.
    New(Write),
    /// Another one, or none: what was sealed before opens for nobody, until the former one is put back.
    Another,
}

impl People {
    /// Holds the file against what the store remembers.
    ///
    /// # Errors
    /// `Index`.
    pub fn found(&self, store: &dyn Store) -> Result<Found, StoreError> {
        let fault = |fault: serde_json::Error| StoreError::Index(fault.into());
        match (store.read(KEY)?, self.file_id()) {
            (None, None) => Ok(Found::AsBefore),
            (None, Some(file)) => {
                let text = to_raw_value(&Remembered { v: Version, file }).map_err(fault)?;
                Ok(Found::New(Write::Put(KEY.to_owned(), text)))
            }
            (Some(kept), found) => {
                let Remembered { file, .. } = serde_json::from_str(kept.value.get()).map_err(fault)?;
                Ok(if found == Some(file) { Found::AsBefore } else { Found::Another })
            }
        }
    }
}

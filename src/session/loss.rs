//! What a restored server does not know: who used which token, and who was ended, between the backup and its server's end.
//!
//! So nothing that was minted before that end counts as unused, and no session of before goes on: whoever was given it may
//! have lost it meanwhile. Jobs that begin afterwards notice nothing.

use super::keeper::{later, parse, text};
use crate::store::{Store, StoreError, Stored, Version, Write};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use time::OffsetDateTime;

/// Where it stands.
const KEY: &str = "restored";
/// An issuer's clock may run ahead by so much, as everywhere.
const LEEWAY: Duration = Duration::from_secs(30);

/// A time of which the journal tells nothing.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Loss {
    v: Version<1>,
    /// When it ended: nothing that was done later is lost.
    #[serde(with = "time::serde::timestamp")]
    until: OffsetDateTime,
    /// So long may live what was given then, in seconds.
    ttl: u64,
}

impl Loss {
    /// Where it stands.
    pub const KEY: &str = KEY;

    /// What a restore loses of a server that may have worked until then; it gave nothing a longer life than `ttl`.
    pub const fn until(until: OffsetDateTime, ttl: Duration) -> Self {
        Self { v: Version, until, ttl: ttl.as_secs() }
    }

    /// What a store remembers of it.
    pub(super) fn of(store: &dyn Store) -> Result<Option<Self>, StoreError> {
        store.read(KEY)?.map(|kept| parse(&kept.value)).transpose()
    }

    /// To be kept; what an earlier restore lost stays lost.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn beside(self, store: &dyn Store) -> Result<Write, StoreError> {
        self.beside_kept(store.read(KEY)?)
    }

    /// The same, beside what a store holds of it.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn beside_kept(self, kept: Option<Stored>) -> Result<Write, StoreError> {
        let old: Option<Self> = kept.map(|kept| parse(&kept.value)).transpose()?;
        let both = old.map_or(self, |old| Self { until: self.until.max(old.until), ..self });
        Ok(Write::Put(KEY.to_owned(), text(&both)?))
    }

    /// What was minted before counts for nothing.
    pub fn refuses_before(&self) -> OffsetDateTime {
        later(self.until, LEEWAY)
    }

    /// Whether something minted then may have been used, or ended, without our knowing.
    pub(super) fn covers(&self, issued_at: OffsetDateTime) -> bool {
        issued_at < self.refuses_before()
    }

    /// Until when something lives that nobody knows of, and that could stand on no list.
    pub(super) fn lives_until(&self) -> OffsetDateTime {
        later(self.until, Duration::from_secs(self.ttl))
    }
}

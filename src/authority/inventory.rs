//! Which keys there are, for whoever watches: counted by kind, place and state, with the end of each kind's active one.

use super::{Authority, AuthorityState, KeyOf, Keyring};
use crate::custody::AuthorityKey;
use crate::telemetry::KeyStock;
use std::collections::BTreeMap;
use time::OffsetDateTime;

/// Which keys there are.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Inventory {
    /// How many stand together.
    pub keys: BTreeMap<KeyStock, i64>,
    /// When the active one of a kind ends.
    pub not_after: BTreeMap<&'static str, OffsetDateTime>,
    /// From which bundle on all keys that sign in place of former ones are published; 0 where none does.
    pub signs_since: u64,
}

impl Inventory {
    pub(super) fn of(keyring: &Keyring) -> Self {
        let mut inventory = Self::default();
        for authority in &keyring.authorities {
            let (kind, state) = (authority.kind.as_str(), authority.state.as_str());
            *inventory.keys.entry(KeyStock { kind, place: place(authority), state }).or_default() += 1;
            if authority.state == AuthorityState::Active {
                inventory.not_after.insert(kind, authority.not_after);
                let succeeds = authority.published.filter(|_| authority.generation > 1);
                let since = succeeds.map_or(0, |published| published.sequence);
                inventory.signs_since = inventory.signs_since.max(since);
            }
        }
        inventory
    }
}

/// As `authority list` names it; the sealed file by its own name.
fn place(authority: &Authority) -> String {
    match &authority.key {
        KeyOf::Us(AuthorityKey::Held(_)) => "keyring".to_owned(),
        KeyOf::Us(AuthorityKey::Placed(placed)) => placed.place.to_string(),
        KeyOf::Upstream(_) => "upstream".to_owned(),
    }
}

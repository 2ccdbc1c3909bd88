//! The places of the configuration, ready to be asked.

use crate::clock::Clock;
use crate::custody::{Places, PlacesSettings};
use crate::vault::{Vault, VaultError, VaultSettings};
use std::sync::Arc;

/// The Vault, where there is one, and all places. Nobody is asked yet.
///
/// # Errors
/// When there can be no client for the Vault.
pub fn open_places(
    (vault, places): (Option<&VaultSettings>, &PlacesSettings),
    clock: Arc<dyn Clock>,
) -> Result<(Option<Arc<Vault>>, Places), VaultError> {
    let vault = vault.cloned().map(|vault| Vault::new(vault, clock).map(Arc::new)).transpose()?;
    let places = Places::new(places, vault.as_ref());
    Ok((vault, places))
}

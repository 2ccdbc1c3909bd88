//! The places of the configuration, ready to be asked.

use crate::clock::Clock;
use crate::config::ServerSettings;
use crate::custody::Places;
use crate::vault::{Vault, VaultError};
use std::sync::Arc;

/// The Vault, where there is one, and all places. Nobody is asked yet.
///
/// # Errors
/// When there can be no client for the Vault.
pub fn open_places(
    settings: &ServerSettings,
    clock: Arc<dyn Clock>,
) -> Result<(Option<Arc<Vault>>, Places), VaultError> {
    let vault = settings.vault.clone().map(|vault| Vault::new(vault, clock).map(Arc::new)).transpose()?;
    let places = Places::new(&settings.keys.places, vault.as_ref());
    Ok((vault, places))
}

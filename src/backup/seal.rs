//! What vouches for `backup.json`: an empty secret, sealed for its digest. Nobody makes it who has not the sealing key.

use super::BackupError;
use super::piece::{HEAD, SEAL};
use crate::crypto::{Digest, KeyId, SealContext, SealedKey, Sealing, SealingKeyName};
use crate::identity::TrustDomain;
use crate::store::Version;
use serde::{Deserialize, Serialize};
use std::io;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Seal {
    v: Version<1>,
    /// What to look for where it does not open.
    by: SealingKeyName,
    sealed: SealedKey,
}

fn context(trust_domain: &TrustDomain, head: Digest) -> SealContext<'_> {
    let key_id = KeyId::from_digest(head);
    SealContext { trust_domain: trust_domain.as_str(), key_id, kind: "backup", generation: 0 }
}

/// For the text of a `backup.json`.
pub(super) fn seal(sealing: &Sealing, (trust_domain, head): (&TrustDomain, &[u8])) -> Result<Vec<u8>, BackupError> {
    let sealed = sealing.seal(context(trust_domain, Digest::of(head)), &[]);
    let seal = Seal { v: Version, by: sealing.name(), sealed };
    serde_json::to_vec(&seal).map_err(|odd| BackupError::Write(io::Error::from(odd)))
}

/// Whether a seal is that of a `backup.json` of this digest.
pub(super) fn check(
    sealing: &Sealing,
    (trust_domain, head): (&TrustDomain, Digest),
    seal: &[u8],
) -> Result<(), BackupError> {
    let Seal { by, sealed, .. } =
        serde_json::from_slice(seal).map_err(|_odd| BackupError::Changed { name: SEAL.to_owned() })?;
    if !sealing.has(by) {
        return Err(BackupError::OtherSeal { needed: by, here: sealing.names() });
    }
    let opened = sealing.unseal(context(trust_domain, head), &sealed);
    opened.map(drop).map_err(|_another| BackupError::Changed { name: HEAD.to_owned() })
}

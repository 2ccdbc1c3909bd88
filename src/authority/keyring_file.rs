//! The keyring at rest: one file, private keys sealed, replaced as a whole (written aside, synced, renamed).

use super::{Authority, AuthorityKind, AuthorityState, KeyOf, Keyring, KeyringError, LooseKey, Publication, Taken};
use crate::crypto::{Digest, KeyId, KeyPair, PublicKey, SealContext, SealedKey, Sealing, SealingKeyName, Unsealed};
use crate::custody::{AuthorityKey, Label, Places};
use crate::identity::TrustDomain;
use crate::store::{is_full, replace_file};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use time::OffsetDateTime;

/// The format's version; a newer one is refused.
pub(super) const VERSION: u32 = 1;

/// Nobody else reads it.
const MODE: u32 = 0o600;
/// Several times what a keyring of many keys takes.
const SPARE_BYTES: usize = 64 << 10;

/// Where the keyring is kept, and the key that opens it.
#[derive(Debug)]
pub struct KeyringFile {
    path: PathBuf,
    sealing: Sealing,
    places: Places,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    trust_domain: TrustDomain,
    sequence: u64,
    published_sequence: u64,
    authorities: Vec<KeptAuthority>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    latest: Option<Taken>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    loose: Vec<LooseKey>,
    /// What to look for where it does not open; nothing depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed_by: Option<SealingKeyName>,
    /// The digest of all the above, sealed: a changed date, state or certificate is found like a changed key.
    whole: SealedKey,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct KeptAuthority {
    kind: AuthorityKind,
    generation: u64,
    state: AuthorityState,
    key_id: KeyId,
    certificate: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    above: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    since: Option<OffsetDateTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    published: Option<Publication>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuer: Option<KeyId>,
    #[serde(with = "time::serde::rfc3339")]
    not_before: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    not_after: OffsetDateTime,
    /// None of a key that lives elsewhere, or is an authority's above ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<SealedKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    placed: Option<KeptPlace>,
}

/// Where a key lives that is not sealed here.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct KeptPlace {
    place: String,
    label: Label,
    /// The SubjectPublicKeyInfo.
    public: String,
}

/// What stands in the file.
struct Read {
    keyring: Keyring,
    is_of_former: bool,
}

impl KeyringFile {
    /// A keyring kept at `path`.
    pub fn new(path: PathBuf, sealing: impl Into<Sealing>) -> Self {
        Self { path, sealing: sealing.into(), places: Places::default() }
    }

    /// Whose keys may live in these places.
    #[must_use]
    pub fn with_places(self, places: Places) -> Self {
        Self { places, ..self }
    }

    /// Where keys may live that are not in it.
    pub const fn places(&self) -> &Places {
        &self.places
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it and opens every key; none if there is no file.
    ///
    /// # Errors
    /// See [`KeyringError`].
    pub fn load(&self, trust_domain: &TrustDomain) -> Result<Option<Keyring>, KeyringError> {
        Ok(self.read(trust_domain)?.map(|read| read.keyring))
    }

    /// Seals it anew if a former key has sealed it. Whether it has.
    ///
    /// # Errors
    /// See [`KeyringError`]; then it is as it was.
    pub fn seal_anew(&self, trust_domain: &TrustDomain) -> Result<bool, KeyringError> {
        match self.sealing.has_former().then(|| self.read(trust_domain)).transpose()?.flatten() {
            Some(Read { keyring, is_of_former: true }) => self.save(&keyring).map(|()| true),
            Some(_) | None => Ok(false),
        }
    }

    fn read(&self, trust_domain: &TrustDomain) -> Result<Option<Read>, KeyringError> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.io(source)),
        };
        self.parse(&text, trust_domain).map(Some)
    }

    /// Makes the file what others have sealed.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn adopt(&self, text: &str) -> Result<(), KeyringError> {
        if fs::read(&self.path).is_ok_and(|there| there == text.as_bytes()) {
            return Ok(());
        }
        self.replace(text.as_bytes()).map_err(|source| self.io(source))
    }

    /// The keyring of a text that others have sealed; the file stays as it is.
    ///
    /// # Errors
    /// See [`KeyringError`].
    pub(super) fn parsed(&self, text: &str, trust_domain: &TrustDomain) -> Result<Keyring, KeyringError> {
        Ok(self.parse(text.as_bytes(), trust_domain)?.keyring)
    }

    fn parse(&self, text: &[u8], trust_domain: &TrustDomain) -> Result<Read, KeyringError> {
        let kept: Kept = serde_json::from_slice(text).map_err(|fault| self.format(fault.to_string()))?;
        if kept.version != VERSION {
            return Err(self.format(format!("it says version {}", kept.version)));
        }
        if kept.trust_domain != *trust_domain {
            let (path, wanted) = (self.path.clone(), trust_domain.clone());
            return Err(KeyringError::TrustDomain { path, found: kept.trust_domain, wanted });
        }
        if let Some(needed) = kept.sealed_by.filter(|needed| !self.sealing.has(*needed)) {
            return Err(KeyringError::OtherSeal { path: self.path.clone(), needed, here: self.sealing.names() });
        }
        let mut authorities: Vec<_> =
            kept.authorities.iter().map(|authority| self.open(trust_domain, authority)).collect::<Result<_, _>>()?;
        name_issuers(&mut authorities);
        let Kept { trust_domain, sequence, published_sequence, authorities: read, latest, loose, whole, .. } = kept;
        let told = (read.as_slice(), latest.as_ref(), loose.as_slice());
        let (context, digest) = self.all_of(&trust_domain, (sequence, published_sequence), told)?;
        let wanted = self.sealing.unseal(context, &whole).ok().filter(|wanted| *wanted.secret == digest.as_bytes());
        let Some(Unsealed { is_of_former, .. }) = wanted else {
            return Err(self.format("it was changed after it was written; restore a backup".to_owned()));
        };
        let keyring = Keyring { trust_domain, sequence, published_sequence, authorities, latest, loose };
        Ok(Read { keyring, is_of_former })
    }

    /// Replaces the file by this keyring, durably; a crash leaves the former or the new one, whole.
    ///
    /// # Errors
    /// `Io`.
    pub fn save(&self, keyring: &Keyring) -> Result<(), KeyringError> {
        self.replace(&self.sealed(keyring)?).map_err(|source| self.io(source))
    }

    /// What the file says of a keyring, every key in it sealed.
    ///
    /// # Errors
    /// `Format`.
    pub(super) fn sealed(&self, keyring: &Keyring) -> Result<Vec<u8>, KeyringError> {
        let Keyring { trust_domain, sequence, published_sequence, latest, loose, .. } = keyring;
        let authorities: Vec<_> = keyring.authorities.iter().map(|authority| self.close(keyring, authority)).collect();
        let told = (authorities.as_slice(), latest.as_ref(), loose.as_slice());
        let (context, digest) = self.all_of(trust_domain, (*sequence, *published_sequence), told)?;
        let kept = Kept {
            version: VERSION,
            trust_domain: trust_domain.clone(),
            sequence: *sequence,
            published_sequence: *published_sequence,
            sealed_by: Some(self.sealing.name()),
            whole: self.sealing.seal(context, digest.as_bytes()),
            authorities,
            latest: latest.clone(),
            loose: loose.clone(),
        };
        serde_json::to_vec_pretty(&kept).map_err(|fault| self.format(fault.to_string()))
    }

    /// On a full disk the room that is kept back beside the file is used, so that a key can still be changed.
    fn replace(&self, text: &[u8]) -> io::Result<()> {
        let spare = self.path.with_extension("spare");
        match replace_file(&self.path, text, MODE) {
            Err(full) if is_full(&full) && spare.exists() => {
                fs::remove_file(&spare)?;
                replace_file(&self.path, text, MODE)?;
            }
            done => done?,
        }
        // Best effort: without it only the next full disk is met with less.
        if !spare.exists() && fs::write(&spare, vec![0; SPARE_BYTES]).is_err() {
            drop(fs::remove_file(&spare));
        }
        Ok(())
    }

    fn open(&self, trust_domain: &TrustDomain, kept: &KeptAuthority) -> Result<Authority, KeyringError> {
        let decoded = |text: &String| {
            let decoded = STANDARD.decode(text).map_err(|fault| self.format(fault.to_string()))?;
            Ok::<_, KeyringError>(CertificateDer::from(decoded))
        };
        let certificate = kept.certificate.as_ref().map(decoded).transpose()?;
        let key = match (&kept.sealed, &kept.placed) {
            (Some(sealed), _) => KeyOf::Us(AuthorityKey::Held(self.unseal(trust_domain, kept, sealed)?)),
            (None, Some(placed)) => KeyOf::Us(self.placed(kept.key_id, placed)?),
            (None, None) => KeyOf::Upstream(kept.key_id),
        };
        Ok(Authority {
            kind: kept.kind,
            generation: kept.generation,
            state: kept.state,
            since: kept.since.unwrap_or(kept.not_before),
            published: kept.published.or_else(|| kept.kind.is_published().then_some(since_ever(kept))),
            issuer: kept.issuer,
            key,
            certificate,
            above: kept.above.iter().map(decoded).collect::<Result<_, _>>()?,
            not_before: kept.not_before,
            not_after: kept.not_after,
        })
    }

    fn unseal(
        &self,
        trust_domain: &TrustDomain,
        kept: &KeptAuthority,
        sealed: &SealedKey,
    ) -> Result<Arc<KeyPair>, KeyringError> {
        let (path, key_id) = (self.path.clone(), kept.key_id);
        let pkcs8 = self.sealing.unseal(context(trust_domain, kept.kind, kept.generation, key_id), sealed);
        let pkcs8 = pkcs8.map_err(|source| KeyringError::Sealed { path: path.clone(), key_id, source })?;
        let key = KeyPair::from_pkcs8(pkcs8.secret).map_err(|source| KeyringError::Key { path, key_id, source })?;
        if key.public().id() != key_id {
            return Err(self.format(format!("key {key_id} is another key inside")));
        }
        Ok(Arc::new(key))
    }

    /// Asks the place nothing: it may be away, and what else we hold does without it.
    fn placed(&self, key_id: KeyId, placed: &KeptPlace) -> Result<AuthorityKey, KeyringError> {
        let spki = STANDARD.decode(&placed.public).map_err(|fault| self.format(fault.to_string()))?;
        let odd = |source| KeyringError::Key { path: self.path.clone(), key_id, source };
        let public = PublicKey::from_spki_der(&spki).map_err(odd)?;
        if public.id() != key_id {
            return Err(self.format(format!("key {key_id} is another key inside")));
        }
        Ok(self.places.key(&placed.place, placed.label.clone(), public))
    }

    fn close(&self, keyring: &Keyring, authority: &Authority) -> KeptAuthority {
        let Authority { kind, generation, .. } = *authority;
        let key_id = authority.key_id();
        let context = context(&keyring.trust_domain, kind, generation, key_id);
        KeptAuthority {
            kind,
            generation,
            state: authority.state,
            key_id,
            certificate: authority.certificate.as_ref().map(|certificate| STANDARD.encode(certificate)),
            above: authority.above.iter().map(|certificate| STANDARD.encode(certificate)).collect(),
            since: Some(authority.since),
            published: authority.published,
            issuer: authority.issuer,
            not_before: authority.not_before,
            not_after: authority.not_after,
            sealed: authority.held_key().map(|key| self.sealing.seal(context, key.pkcs8_der())),
            placed: authority.placed_key().map(|placed| KeptPlace {
                place: placed.place.to_string(),
                label: placed.label.clone(),
                public: STANDARD.encode(placed.public.spki_der()),
            }),
        }
    }

    /// The digest of everything in the file, and what its seal is bound to.
    fn all_of<'a>(
        &self,
        trust_domain: &'a TrustDomain,
        (sequence, published_sequence): (u64, u64),
        (authorities, latest, loose): (&[KeptAuthority], Option<&Taken>, &[LooseKey]),
    ) -> Result<(SealContext<'a>, Digest), KeyringError> {
        let always = (VERSION, trust_domain, sequence, published_sequence, authorities);
        // What was not there in former files is not told of by them.
        let text = match (latest, loose) {
            (None, []) => serde_json::to_vec(&always),
            (Some(latest), []) => {
                let (version, trust_domain, sequence, published_sequence, authorities) = always;
                serde_json::to_vec(&(version, trust_domain, sequence, published_sequence, authorities, latest))
            }
            (latest, loose) => serde_json::to_vec(&(always, latest, loose)),
        };
        let text = text.map_err(|fault| self.format(fault.to_string()))?;
        let trust_domain = trust_domain.as_str();
        // Before the first key there may be one that is yet to be made.
        let key_id = authorities.first().map_or_else(|| KeyId::of_spki(&[]), |first| first.key_id);
        let context = SealContext { trust_domain, key_id, kind: "keyring", generation: sequence };
        Ok((context, Digest::of(&text)))
    }

    fn io(&self, source: io::Error) -> KeyringError {
        KeyringError::Io { path: self.path.clone(), source }
    }

    fn format(&self, why: String) -> KeyringError {
        KeyringError::Format { path: self.path.clone(), why }
    }
}

/// Files from before roots could change do not say which root signed an intermediate: it was the only one.
fn name_issuers(authorities: &mut [Authority]) {
    let mut roots = authorities.iter().filter(|authority| authority.kind == AuthorityKind::X509Root);
    let first = roots.next().map(Authority::key_id);
    let unnamed =
        |authority: &&mut Authority| authority.kind == AuthorityKind::X509Intermediate && authority.issuer.is_none();
    authorities.iter_mut().filter(unnamed).for_each(|intermediate| intermediate.issuer = first);
}

/// A key from before there was any change: everybody who holds a bundle holds it.
const fn since_ever(kept: &KeptAuthority) -> Publication {
    Publication { sequence: 0, at: kept.not_before }
}

fn context(trust_domain: &TrustDomain, kind: AuthorityKind, generation: u64, key_id: KeyId) -> SealContext<'_> {
    SealContext { trust_domain: trust_domain.as_str(), key_id, kind: kind.as_str(), generation }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::{KeyPlan, open_keyring};
    use crate::crypto::{Random, SealingKey};
    use std::time::Duration;

    const PLAN: KeyPlan = KeyPlan { root: Duration::from_secs(86_400_000), ..KeyPlan::DEFAULT };

    fn file(folder: &Path, sealing: &[u8; 32]) -> KeyringFile {
        KeyringFile::new(folder.join("keyring.json"), SealingKey::from_bytes(sealing).unwrap())
    }

    async fn open(file: &KeyringFile, domain: &str) -> Result<Keyring, crate::authority::RotatorError> {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        open_keyring(file, &TrustDomain::parse(domain).unwrap(), &PLAN, (now, &Random::system()), false).await
    }

    #[tokio::test]
    async fn keys_come_back_with_the_sealing_key_and_with_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let made = open(&file(folder.path(), &[7; 32]), "ci.example.org").await.unwrap();
        let again = open(&file(folder.path(), &[7; 32]), "ci.example.org").await.unwrap();
        let ids = |keyring: &Keyring| keyring.authorities.iter().map(Authority::key_id).collect::<Vec<_>>();
        assert_eq!(ids(&made), ids(&again));
        let other = open(&file(folder.path(), &[8; 32]), "ci.example.org").await.unwrap_err();
        assert!(other.to_string().contains("wrong sealing key"), "{other}");
    }

    #[tokio::test]
    async fn a_keyring_of_another_trust_domain_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        open(&file(folder.path(), &[7; 32]), "ci.example.org").await.unwrap();
        let refused = open(&file(folder.path(), &[7; 32]), "other.example.org").await.unwrap_err();
        assert!(refused.to_string().contains("other.example.org"), "{refused}");
    }

    #[tokio::test]
    async fn a_sealed_key_moved_to_another_place_in_the_file_does_not_open() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path(), &[7; 32]);
        open(&file, "ci.example.org").await.unwrap();
        let mut kept: serde_json::Value = serde_json::from_slice(&fs::read(file.path()).unwrap()).unwrap();
        kept["authorities"][0]["generation"] = 2.into();
        fs::write(file.path(), kept.to_string()).unwrap();
        assert!(open(&file, "ci.example.org").await.is_err());
    }

    #[tokio::test]
    async fn a_keyring_that_was_changed_or_cut_at_any_place_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path(), &[7; 32]);
        let keyring = open(&file, "ci.example.org").await.unwrap();
        let domain = TrustDomain::parse("ci.example.org").unwrap();
        let whole = fs::read(file.path()).unwrap();
        let same = |found: &Keyring| {
            let told = |keyring: &Keyring| format!("{keyring:?}");
            told(found) == told(&keyring)
        };
        assert!(same(&file.load(&domain).unwrap().unwrap()));
        // A prime step comes to every field and every bit; sealed keys are long and slow to open.
        for at in (0..whole.len()).step_by(5) {
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at % 7);
            fs::write(file.path(), &changed).unwrap();
            // Another blank, or an upper-case digit, says the same.
            let found = file.load(&domain).ok().flatten();
            assert!(found.is_none_or(|found| same(&found)), "byte {at} of the keyring");
            fs::write(file.path(), &whole[..at]).unwrap();
            assert!(file.load(&domain).is_err(), "cut after {at} bytes");
        }
        fs::write(file.path(), &whole).unwrap();
        fs::write(file.path().with_extension("new"), "half a keyr").unwrap();
        assert!(same(&file.load(&domain).unwrap().unwrap()), "what a crash left beside it does no harm");
        file.save(&keyring).unwrap();
        assert!(same(&file.load(&domain).unwrap().unwrap()));
    }

    #[tokio::test]
    async fn private_keys_do_not_stand_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path(), &[7; 32]);
        let keyring = open(&file, "ci.example.org").await.unwrap();
        let text = fs::read_to_string(file.path()).unwrap();
        for authority in &keyring.authorities {
            assert!(!text.contains(&STANDARD.encode(authority.held_key().unwrap().pkcs8_der())));
        }
    }
}

//! Does what [`rotation`](super::rotation) says is due: make or drop the key, save the file, record, take into use.
//!
//! The file is saved first and the key used last: a crash in between leaves a saved key that no record names, and the
//! next start records it. A file older than the journal's word was put back by somebody, and is refused.

use super::rotation::{Planned, due};
use super::{
    Authorities, Authority, AuthorityKind, AuthorityState, KeyPlan, Keyring, KeyringError, KeyringFile, Step, StepKind,
};
use crate::audit::{Changes, Ledger};
use crate::clock::Clock;
use crate::crypto::{CryptoError, KeyAlgorithm, KeyId, KeyPair, Random};
use crate::identity::TrustDomain;
use crate::store::{Store, StoreError, Version, Write};
use crate::svid::{AuthorityFields, LayoutError, Serial};
use crate::telemetry::{Shutdown, chain};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// Where the store keeps the keyring's sequence.
const SEQUENCE_KEY: &str = "keyring";

/// A keyring begins with one key of each kind, made and saved before there is a journal.
const FIRST_KEYS: u64 = 4;

/// How often to look whether a key is due.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// New keys begin a little in the past, for clocks that run behind.
const BACKDATE: Duration = Duration::from_secs(60);

/// Why a key was not changed; the former keys stay in use.
#[derive(Debug, thiserror::Error)]
pub enum RotatorError {
    /// No key could be made.
    #[error("no key could be made")]
    Crypto(#[from] CryptoError),
    /// No keyring, although the journal has a history: restore it from a backup.
    #[error("{keyring} is missing, but this server has a history: restore it from a backup, never start over")]
    HistoryWithoutKeys {
        /// Where it should be.
        keyring: PathBuf,
    },
    /// The keyring file cannot be read or written.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// A certificate could not be built.
    #[error("no certificate could be built")]
    Layout(#[from] LayoutError),
    /// The keyring has taken steps that the journal does not know.
    #[error(
        "the keyring is at sequence {keyring}, the journal knows of {recorded}: journal records are missing; restore the \
         journal that belongs to this keyring"
    )]
    JournalLost {
        /// What the file says.
        keyring: u64,
        /// What the journal says.
        recorded: u64,
    },
    /// The keyring has no active root to sign with.
    #[error("the keyring has no active root")]
    NoRoot,
    /// The keyring file is older than the journal.
    #[error(
        "the keyring is at sequence {found}, the journal has recorded {recorded}: an old file was put back; restore the \
         newest keyring.json"
    )]
    OldKeyring {
        /// What the file says.
        found: u64,
        /// What the journal says.
        recorded: u64,
    },
    /// The store cannot answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Deserialize, Serialize)]
struct Recorded {
    v: Version<1>,
    sequence: u64,
}

/// Opens the keyring, or makes the first one where there is no history.
///
/// # Errors
/// See [`RotatorError`].
pub fn open_keyring(
    file: &KeyringFile,
    trust_domain: &TrustDomain,
    plan: &KeyPlan,
    (now, random): (OffsetDateTime, &Random),
    has_history: bool,
) -> Result<Keyring, RotatorError> {
    if let Some(keyring) = file.load(trust_domain)? {
        return Ok(keyring);
    }
    if has_history {
        return Err(RotatorError::HistoryWithoutKeys { keyring: file.path().to_owned() });
    }
    let mut keyring = Keyring::empty(trust_domain.clone());
    while let Some(Step { kind: StepKind::Succeed, authority }) = due(&keyring, plan, now) {
        keyring = keyring.succeeded_by(make(&keyring, authority, plan, now, random)?);
    }
    file.save(&keyring)?;
    let path = file.path().display();
    tracing::warn!(keyring = %path, "no keys were there: a new CA begins, and who trusts another does not trust it");
    Ok(keyring)
}

/// Changes keys when it is time.
#[derive(Debug)]
pub struct Rotator {
    file: KeyringFile,
    keyring: Keyring,
    plan: KeyPlan,
    random: Random,
    ledger: Ledger,
    authorities: Arc<Authorities>,
}

impl Rotator {
    /// Takes an opened keyring into use, once the journal knows it.
    ///
    /// # Errors
    /// See [`RotatorError`].
    pub async fn begin(
        file: KeyringFile,
        keyring: Keyring,
        plan: KeyPlan,
        (store, ledger): (&dyn Store, Ledger),
        random: Random,
    ) -> Result<Self, RotatorError> {
        let recorded = recorded_sequence(store)?;
        if keyring.sequence < recorded {
            return Err(RotatorError::OldKeyring { found: keyring.sequence, recorded });
        }
        // A crash leaves the file one step ahead, or the first four keys unrecorded; more was recorded once and is gone.
        if keyring.sequence > recorded.saturating_add(1).max(FIRST_KEYS) {
            return Err(RotatorError::JournalLost { keyring: keyring.sequence, recorded });
        }
        let authorities = Authorities::of(&keyring, random.clone()).ok_or(RotatorError::NoRoot)?;
        let rotator = Self { file, keyring, plan, random, ledger, authorities: Arc::new(authorities) };
        if rotator.keyring.sequence > recorded {
            rotator.record_all().await?;
        }
        Ok(rotator)
    }

    /// The keys in use.
    pub fn authorities(&self) -> Arc<Authorities> {
        Arc::clone(&self.authorities)
    }

    /// Looks every minute until shutdown: a clock that was set or a machine that slept is noticed soon. A step that did
    /// not work is logged and tried again; the former keys stay in use.
    pub async fn run(mut self, clock: Arc<dyn Clock>, shutdown: Shutdown) {
        loop {
            if let Err(fault) = self.turn(clock.now()).await {
                tracing::error!(fault = %chain(&fault), "a key could not be changed; trying again in a minute");
            }
            tokio::select! {
                () = clock.wait_until(clock.now() + LOOK_EVERY) => {}
                () = shutdown.wait() => return,
            }
        }
    }

    /// Does every step that is due.
    ///
    /// # Errors
    /// See [`RotatorError`].
    pub async fn turn(&mut self, now: OffsetDateTime) -> Result<(), RotatorError> {
        while let Some(step) = due(&self.keyring, &self.plan, now) {
            self.take(step, now).await?;
        }
        Ok(())
    }

    async fn take(&mut self, step: Step, now: OffsetDateTime) -> Result<(), RotatorError> {
        let (next, key_id) = match step.kind {
            StepKind::Succeed => {
                let made = make(&self.keyring, step.authority, &self.plan, now, &self.random)?;
                let key_id = made.key_id();
                (self.keyring.succeeded_by(made), key_id)
            }
            StepKind::Remove(key_id) => (self.keyring.without(step.authority, key_id), key_id),
        };
        self.file.save(&next)?;
        let concerned = next.authorities.iter().chain(&self.keyring.authorities).find(|a| a.key_id() == key_id);
        let generation = concerned.map_or(0, |authority| authority.generation);
        self.record(Planned { step, key_id, generation, sequence: next.sequence }).await?;
        self.authorities.swap(&next);
        self.keyring = next;
        tracing::info!(authority = step.authority.as_str(), %key_id, sequence = self.keyring.sequence, "key changed");
        Ok(())
    }

    /// For the first keys, and for those that a crash left saved but unrecorded.
    async fn record_all(&self) -> Result<(), RotatorError> {
        let active = |authority: &&Authority| authority.state == AuthorityState::Active;
        for authority in self.keyring.authorities.iter().filter(active) {
            let step = Step { kind: StepKind::Succeed, authority: authority.kind };
            let (key_id, generation) = (authority.key_id(), authority.generation);
            self.record(Planned { step, key_id, generation, sequence: self.keyring.sequence }).await?;
        }
        Ok(())
    }

    async fn record(&self, planned: Planned) -> Result<(), RotatorError> {
        let sequence = Recorded { v: Version, sequence: planned.sequence };
        let value = to_raw_value(&sequence).map_err(|fault| StoreError::Journal(fault.into()))?;
        let changes = Changes { conditions: Vec::new(), writes: vec![Write::Put(SEQUENCE_KEY.to_owned(), value)] };
        self.ledger.commit(&crate::audit::Auditable::entry(&planned), changes).await?;
        Ok(())
    }
}

/// What the journal says of the keyring; 0 before it says anything.
fn recorded_sequence(store: &dyn Store) -> Result<u64, StoreError> {
    let Some(kept) = store.read(SEQUENCE_KEY)? else { return Ok(0) };
    let recorded: Recorded = serde_json::from_str(kept.value.get()).map_err(|fault| StoreError::Index(fault.into()))?;
    Ok(recorded.sequence)
}

/// A new key of a kind, with its certificate signed by whoever signs that kind.
fn make(
    keyring: &Keyring,
    kind: AuthorityKind,
    plan: &KeyPlan,
    now: OffsetDateTime,
    random: &Random,
) -> Result<Authority, RotatorError> {
    let now = super::draft::whole_seconds(now);
    let (key, generation) = (KeyPair::generate(KeyAlgorithm::EcP256)?, keyring.next_generation(kind));
    let mut not_before = now - BACKDATE;
    let mut not_after = now + plan.root;
    let certificate = match kind {
        AuthorityKind::Journal | AuthorityKind::Jwt => None,
        AuthorityKind::X509Root => {
            let fields = fields(keyring, &key, (1, "root"), (not_before, not_after), random);
            Some(fields.sign_itself(&key)?)
        }
        AuthorityKind::X509Intermediate => {
            let root = keyring.active(AuthorityKind::X509Root).ok_or(RotatorError::NoRoot)?;
            let issuer: &CertificateDer<'_> = root.certificate.as_ref().ok_or(RotatorError::NoRoot)?;
            not_before = not_before.max(root.not_before);
            not_after = (now + plan.intermediate).min(root.not_after);
            let fields = fields(keyring, &key, (0, "intermediate"), (not_before, not_after), random);
            let fields = AuthorityFields { name_constraints: plan.name_constraints, ..fields };
            Some(fields.sign(issuer, &root.key)?)
        }
    };
    let (state, key) = (AuthorityState::Active, Arc::new(key));
    Ok(Authority { kind, generation, state, key, certificate, not_before, not_after })
}

fn fields(
    keyring: &Keyring,
    key: &KeyPair,
    (path_length, role): (u8, &str),
    (not_before, not_after): (OffsetDateTime, OffsetDateTime),
    random: &Random,
) -> AuthorityFields {
    let id: KeyId = key.public().id();
    AuthorityFields {
        trust_domain: keyring.trust_domain.clone(),
        common_name: format!("Lanyard {role} {}", id.to_string().chars().take(8).collect::<String>()),
        key: key.public().clone(),
        serial: Serial::random(random),
        path_length,
        name_constraints: false,
        not_before,
        not_after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::crypto::SealingKey;
    use crate::store::{IndexKind, LocalSettings, LocalStore};
    use std::path::Path;

    const PLAN: KeyPlan = KeyPlan {
        root: Duration::from_secs(86_400_000),
        intermediate: Duration::from_secs(86_400),
        name_constraints: false,
    };

    async fn begin(folder: &Path) -> Result<Rotator, RotatorError> {
        let file = KeyringFile::new(folder.join("keyring.json"), SealingKey::from_bytes(&[7; 32]).unwrap());
        let (domain, random, now) = (TrustDomain::parse("ci.test").unwrap(), Random::system(), SystemClock.now());
        let keyring = open_keyring(&file, &domain, &PLAN, (now, &random), folder.join("journal").exists())?;
        let settings = LocalSettings { index: IndexKind::Memory, ..LocalSettings::new(folder.to_owned()) };
        let signer = Arc::clone(&keyring.active(AuthorityKind::Journal).unwrap().key);
        let store: Arc<dyn Store> = LocalStore::open(settings, signer, Arc::new(SystemClock)).unwrap();
        Rotator::begin(file, keyring, PLAN, (&*store, Ledger::new(Arc::clone(&store))), random).await
    }

    async fn a_day_later(folder: &Path, steps: u32) {
        let mut rotator = begin(folder).await.unwrap();
        for day in 1..=steps {
            rotator.turn(SystemClock.now() + Duration::from_secs(13 * 3600) * day).await.unwrap();
        }
    }

    /// Shows: TDB-27.
    #[tokio::test]
    async fn a_keyring_from_before_the_last_step_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(begin(folder.path()).await.unwrap());
        let old = std::fs::read(folder.path().join("keyring.json")).unwrap();
        a_day_later(folder.path(), 1).await;
        std::fs::write(folder.path().join("keyring.json"), old).unwrap();
        assert!(matches!(begin(folder.path()).await, Err(RotatorError::OldKeyring { found: 4, recorded: 5 })));
    }

    #[tokio::test]
    async fn a_history_without_its_keyring_does_not_start_over() {
        let folder = tempfile::tempdir().unwrap();
        drop(begin(folder.path()).await.unwrap());
        std::fs::remove_file(folder.path().join("keyring.json")).unwrap();
        assert!(matches!(begin(folder.path()).await, Err(RotatorError::HistoryWithoutKeys { .. })));
    }

    #[tokio::test]
    async fn a_keyring_without_its_history_does_not_go_on() {
        let folder = tempfile::tempdir().unwrap();
        a_day_later(folder.path(), 2).await;
        std::fs::remove_dir_all(folder.path().join("journal")).unwrap();
        assert!(matches!(begin(folder.path()).await, Err(RotatorError::JournalLost { recorded: 0, .. })));
    }

    #[tokio::test]
    async fn a_step_that_a_crash_left_unrecorded_is_recorded_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let rotator = begin(folder.path()).await.unwrap();
        let later = SystemClock.now() + Duration::from_secs(13 * 3600);
        let kind = AuthorityKind::X509Intermediate;
        let made = make(&rotator.keyring, kind, &PLAN, later, &rotator.random).unwrap();
        rotator.file.save(&rotator.keyring.succeeded_by(made)).unwrap();
        drop(rotator);
        assert_eq!(begin(folder.path()).await.unwrap().keyring.sequence, 5);
        assert_eq!(begin(folder.path()).await.unwrap().keyring.sequence, 5, "and is known from then on");
    }
}

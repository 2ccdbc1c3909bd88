//! Does what [`rotation`](super::rotation) says is due: make or drop the key, save the file, record, take into use.
//!
//! The file is saved first and the key used last: a crash in between leaves a saved key that no record names, and the
//! next start records it. A file older than the journal's word was put back by somebody, and is refused.

use super::keyring::Against;
use super::making::make;
use super::rotation::Rotation;
use super::{
    Authorities, AuthorityState, By, KeyPlan, Keyring, KeyringError, KeyringFile, Known, Step, StepKind, Taken,
};
use crate::audit::{Auditable as _, Changes, Ledger};
use crate::clock::Clock;
use crate::crypto::{CryptoError, Random};
use crate::identity::TrustDomain;
use crate::store::{Store, StoreError, Version, Write};
use crate::svid::LayoutError;
use crate::telemetry::{Shutdown, chain};
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// Where the store keeps the keyring's sequence.
const SEQUENCE_KEY: &str = "keyring";

/// How often to look whether a key is due.
const LOOK_EVERY: Duration = Duration::from_secs(60);

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
    let known = Known::nobody(now);
    while let Some(step) = (Rotation { keyring: &keyring, plan, known: &known, now }).due() {
        keyring = keyring.after(&step, make(&keyring, &step, plan, now, random)?, now);
    }
    keyring.latest = None;
    file.save(&keyring)?;
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
    known: Known,
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
        (now, random): (OffsetDateTime, Random),
    ) -> Result<Self, RotatorError> {
        let recorded = recorded_sequence(store)?;
        match keyring.against(recorded) {
            Against::Older => return Err(RotatorError::OldKeyring { found: keyring.sequence, recorded }),
            Against::Unknown => return Err(RotatorError::JournalLost { keyring: keyring.sequence, recorded }),
            Against::Recorded | Against::Unrecorded => {}
        }
        let authorities = Authorities::of(&keyring, random.clone()).ok_or(RotatorError::NoRoot)?;
        let known = Known::nobody(now);
        let rotator = Self { file, keyring, plan, random, ledger, authorities: Arc::new(authorities), known };
        if rotator.keyring.against(recorded) == Against::Unrecorded {
            rotator.record_latest(&rotator.keyring).await?;
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
        while let Some(step) = self.rotation(now).due() {
            self.take(&step, now).await?;
        }
        Ok(())
    }

    const fn rotation(&self, now: OffsetDateTime) -> Rotation<'_> {
        Rotation { keyring: &self.keyring, plan: &self.plan, known: &self.known, now }
    }

    /// Saves, records, uses: see decision 004.
    async fn take(&mut self, step: &Step, now: OffsetDateTime) -> Result<(), RotatorError> {
        let made = make(&self.keyring, step, &self.plan, now, &self.random)?;
        let next = self.keyring.after(step, made, now);
        self.file.save(&next)?;
        self.record_latest(&next).await?;
        self.authorities.swap(&next);
        self.keyring = next;
        tell(step, &self.keyring);
        Ok(())
    }

    async fn record_latest(&self, keyring: &Keyring) -> Result<(), RotatorError> {
        match &keyring.latest {
            Some(taken) => self.record(taken).await,
            None => self.record_first(keyring).await,
        }
    }

    async fn record_first(&self, keyring: &Keyring) -> Result<(), RotatorError> {
        for authority in keyring.authorities.iter().filter(|authority| authority.state == AuthorityState::Active) {
            let taken = Taken {
                step: StepKind::Succeed.as_str().to_owned(),
                authority: authority.kind,
                key_id: authority.key_id(),
                generation: authority.generation,
                sequence: keyring.sequence,
                intermediate: None,
                by: By::default(),
            };
            self.record(&taken).await?;
        }
        Ok(())
    }

    async fn record(&self, taken: &Taken) -> Result<(), RotatorError> {
        let sequence = Recorded { v: Version, sequence: taken.sequence };
        let value = to_raw_value(&sequence).map_err(|fault| StoreError::Journal(fault.into()))?;
        let changes = Changes { conditions: Vec::new(), writes: vec![Write::Put(SEQUENCE_KEY.to_owned(), value)] };
        self.ledger.commit(&taken.entry(), changes).await?;
        Ok(())
    }
}

fn tell(step: &Step, keyring: &Keyring) {
    let Some(taken) = &keyring.latest else { return };
    let (step, authority, key_id) = (step.kind.as_str(), step.authority.as_str(), taken.key_id);
    tracing::info!(step, authority, %key_id, sequence = keyring.sequence, "key changed");
    if !taken.by.in_spite_of.is_empty() {
        let missing = taken.by.in_spite_of.join(", ");
        tracing::error!(step, authority, %key_id, missing, "a key changed without proof that everybody holds it");
    }
}

/// What the journal says of the keyring; 0 before it says anything.
fn recorded_sequence(store: &dyn Store) -> Result<u64, StoreError> {
    let Some(kept) = store.read(SEQUENCE_KEY)? else { return Ok(0) };
    let recorded: Recorded = serde_json::from_str(kept.value.get()).map_err(|fault| StoreError::Index(fault.into()))?;
    Ok(recorded.sequence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::AuthorityKind;
    use crate::clock::SystemClock;
    use crate::crypto::SealingKey;
    use crate::store::{IndexKind, LocalSettings, LocalStore};
    use std::path::Path;

    const PLAN: KeyPlan = KeyPlan { root: Duration::from_secs(86_400_000), ..KeyPlan::DEFAULT };

    async fn begin(folder: &Path) -> Result<Rotator, RotatorError> {
        let file = KeyringFile::new(folder.join("keyring.json"), SealingKey::from_bytes(&[7; 32]).unwrap());
        let (domain, random, now) = (TrustDomain::parse("ci.test").unwrap(), Random::system(), SystemClock.now());
        let keyring = open_keyring(&file, &domain, &PLAN, (now, &random), folder.join("journal").exists())?;
        let settings = LocalSettings { index: IndexKind::Memory, ..LocalSettings::new(folder.to_owned()) };
        let signer = Arc::clone(&keyring.active(AuthorityKind::Journal).unwrap().key);
        let store: Arc<dyn Store> = LocalStore::open(settings, signer, Arc::new(SystemClock)).unwrap();
        let hands = (&*store, Ledger::new(Arc::clone(&store)));
        Rotator::begin(file, keyring, PLAN, hands, (now, random)).await
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
        let step = Step::planned(StepKind::Succeed, AuthorityKind::X509Intermediate);
        let made = make(&rotator.keyring, &step, &PLAN, later, &rotator.random).unwrap();
        rotator.file.save(&rotator.keyring.after(&step, made, later)).unwrap();
        drop(rotator);
        assert_eq!(begin(folder.path()).await.unwrap().keyring.sequence, 5);
        assert_eq!(begin(folder.path()).await.unwrap().keyring.sequence, 5, "and is known from then on");
    }
}

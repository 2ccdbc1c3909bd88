//! Does what [`rotation`](super::rotation) says is due: make or drop the key, save the file, record, take into use.
//!
//! The file is saved first and the key used last: a crash in between leaves a saved key that no record names, and the
//! next start records it. A file older than the journal's word was put back by somebody, and is refused.

use super::confirmed::Confirmed;
use super::desk::{Ask, OrderAsked};
use super::even::Even;
use super::in_use::signers;
use super::keyring::Against;
use super::making::Making;
use super::on_record::{record_latest, recorded_sequence};
use super::rotation::Rotation;
use super::shared_keyring::SharedKeyring;
use super::upstairs::Upstairs;
use super::witness::Nobody;
use super::{
    Authorities, Authority, AuthorityDesk, AuthorityKind, AuthorityState, Confirmation, Holders, KeyPlan, Keyring,
    KeyringFile, Known, Live, Order, OrderError, Outlook, Rekeying, RotatorError, Step, StepKind, Taken, Witness,
};
use crate::audit::{Changes, Ledger};
use crate::clock::Clock;
use crate::crypto::Random;
use crate::custody::Label;
use crate::identity::TrustDomain;
use crate::store::{Store, StoreError};
use crate::telemetry::{Shutdown, chain};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::mpsc;

/// Orders that wait for the one before them.
const ASKS_MAX: usize = 8;

/// How often to look whether a key is due.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How often a keyring of other replicas is tried that could not be taken: a file may be mended.
const TRY_UNFIT_EVERY: Duration = Duration::from_secs(5);

/// Opens the keyring, or makes the first one where there is no history.
///
/// # Errors
/// See [`RotatorError`].
pub async fn open_keyring(
    file: &KeyringFile,
    trust_domain: &TrustDomain,
    plan: &KeyPlan,
    (now, random): (OffsetDateTime, &Random),
    has_history: bool,
) -> Result<Keyring, RotatorError> {
    let begun = match file.load(trust_domain)? {
        Some(keyring) if !keyring.authorities.is_empty() => {
            keyring.check_places().await?;
            return Ok(keyring);
        }
        _ if has_history => return Err(RotatorError::HistoryWithoutKeys { keyring: file.path().to_owned() }),
        begun => begun.unwrap_or_else(|| Keyring::empty(trust_domain.clone())),
    };
    first_keys(begun, &Making { file, plan, above: None, random, now }).await
}

/// Makes one key of each kind, and saves them.
pub(super) async fn first_keys(mut keyring: Keyring, making: &Making<'_>) -> Result<Keyring, RotatorError> {
    let (file, plan, above, now) = (making.file, making.plan, making.above, making.now);
    let known = Known::nobody(now);
    while let Some(step) = (Rotation { keyring: &keyring, plan, known: &known, above, now }).due() {
        keyring = making.take(&mut keyring, &step, None).await?;
    }
    keyring.latest = None;
    file.save(&keyring)?;
    let path = file.path().display();
    tracing::warn!(keyring = %path, "no keys were there: a new CA begins, and who trusts another does not trust it");
    Ok(keyring)
}

/// Changes keys when it is time.
#[derive(Debug)]
pub struct Rotator {
    pub(super) file: KeyringFile,
    pub(super) keyring: Keyring,
    pub(super) plan: KeyPlan,
    pub(super) random: Random,
    pub(super) upstairs: Option<Upstairs>,
    /// Orders that wait for an answer of the authority above ours.
    pub(super) patient: Vec<OrderAsked>,
    pub(super) ledger: Ledger,
    pub(super) authorities: Arc<Authorities>,
    /// Where other replicas change keys too.
    pub(super) shared: Option<SharedKeyring>,
    holders: Holders,
    witness: Arc<dyn Witness>,
    even: Even,
    asks: (mpsc::Sender<Ask>, mpsc::Receiver<Ask>),
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
        let authorities = Authorities::of(&keyring, plan.refresh_hint, random.clone()).ok_or(RotatorError::NoRoot)?;
        let (authorities, even, asks) = (Arc::new(authorities), Even::since(now), mpsc::channel(ASKS_MAX));
        let (holders, witness) = (Holders::default(), Arc::new(Nobody));
        let (upstairs, patient, shared) = (None, Vec::new(), None);
        let rotator = Self {
            file,
            keyring,
            plan,
            random,
            upstairs,
            patient,
            ledger,
            authorities,
            shared,
            holders,
            witness,
            even,
            asks,
        };
        if rotator.keyring.against(recorded) == Against::Unrecorded {
            record_latest(&rotator.ledger, &rotator.keyring).await?;
        }
        Ok(rotator)
    }

    /// With those who are heard, and whoever knows the sessions. What operators have confirmed is read from the store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn watching(self, holders: Holders, witness: Arc<dyn Witness>, store: &dyn Store) -> Result<Self, StoreError> {
        for name in holders.declared() {
            let Some(kept) = store.read(&Confirmed::key(&name))? else { continue };
            let confirmed = Confirmed::parse(&kept.value)?;
            holders.confirm(&name, confirmed.sequence, confirmed.at);
        }
        Ok(Self { holders, witness, ..self })
    }

    /// Where orders are given and holders are heard.
    pub fn desk(&self) -> AuthorityDesk {
        AuthorityDesk::new(self.asks.0.clone(), self.holders.clone())
    }

    /// The keys in use.
    pub fn authorities(&self) -> Arc<Authorities> {
        Arc::clone(&self.authorities)
    }

    /// Looks every minute until shutdown: a clock that was set or a machine that slept is noticed soon. A step that did
    /// not work is logged and tried again; the former keys stay in use.
    pub async fn run(mut self, clock: Arc<dyn Clock>, shutdown: Shutdown) {
        loop {
            let now = self.even.look(&*clock);
            self.try_unfit();
            let turned = if self.leads() { self.turn(now).await } else { Ok(()) };
            if let Err(fault) = turned {
                tracing::error!(fault = %chain(&fault), "a key could not be changed; trying again in a minute");
            }
            let asks_at = self.ask_upstream(now).unwrap_or(now + LOOK_EVERY);
            let looks_at = now + if self.is_unfit() { TRY_UNFIT_EVERY } else { LOOK_EVERY };
            tokio::select! {
                () = clock.wait_until(asks_at.min(looks_at)) => {}
                () = shutdown.wait() => return,
                () = SharedKeyring::changed(self.shared.as_ref()) => self.follow_others(),
                heard = Self::hear_upstream(&mut self.upstairs, self.patient.is_empty()) => {
                    let now = self.even.look(&*clock);
                    self.hear(heard, now).await;
                }
                Some(ask) = self.asks.1.recv() => {
                    let now = self.even.look(&*clock);
                    self.answer(ask, now).await;
                }
            }
        }
    }

    /// Whoever asked may have gone meanwhile; what was ordered is done.
    async fn answer(&mut self, ask: Ask, now: OffsetDateTime) {
        match ask {
            Ask::Confirm(confirmation, answer) => drop(answer.send(self.confirm(&confirmation, now).await)),
            Ask::DeleteOrphan(deletion, answer) => drop(answer.send(self.delete_orphan(&deletion).await)),
            Ask::Order(asked) => self.attempt(asked, now).await,
            Ask::Orphans(answer) => drop(answer.send(self.orphans().await)),
            Ask::Outlook(authority, answer) => drop(answer.send(self.outlook(authority, now))),
            Ask::Rekeying(answer) => drop(answer.send(self.rekeying(now))),
        }
    }

    /// Carries out an order.
    ///
    /// # Errors
    /// See [`OrderError`]; nothing has changed then, except as [`RotatorError::Unsure`] says.
    pub async fn obey(&mut self, order: &Order, now: OffsetDateTime) -> Result<Taken, OrderError> {
        self.obey_with(order, None, now).await
    }

    /// The same, with a key that is there in place of a new one.
    pub(super) async fn obey_with(
        &mut self,
        order: &Order,
        adopted: Option<(&str, &Label)>,
        now: OffsetDateTime,
    ) -> Result<Taken, OrderError> {
        let (known, live) = (self.known(now), self.live(now));
        let step = self.rotation(&known, now).ordered(order, &live)?;
        self.take(&step, adopted, now).await?;
        Ok(self.keyring.latest.clone().ok_or(RotatorError::NoRoot)?)
    }

    /// What can be done to keys of a kind, and what it would do.
    pub fn outlook(&self, authority: AuthorityKind, now: OffsetDateTime) -> Outlook {
        let (known, live) = (self.known(now), self.live(now));
        let upstream = self.upstream().map(|state| state.borrow().clone());
        let (troubles, doubts) = (self.holders.troubles(), self.holders.doubts());
        Outlook {
            troubles,
            doubts,
            upstream,
            ..self.rotation(&known, now).outlook(authority, &live, self.holders.readers())
        }
    }

    /// How far everybody has come off the tainted keys.
    pub fn rekeying(&self, now: OffsetDateTime) -> Rekeying {
        let (known, live) = (self.known(now), self.live(now));
        self.rotation(&known, now).rekeying(&live)
    }

    /// Takes an operator's word for a declared holder. The sequence that it has.
    ///
    /// # Errors
    /// See [`OrderError`].
    pub async fn confirm(&mut self, confirmation: &Confirmation, now: OffsetDateTime) -> Result<u64, OrderError> {
        let (name, published) = (&confirmation.holder, self.keyring.published_sequence);
        let declared = self.holders.declared();
        if !declared.contains(name) {
            return Err(OrderError::NoHolder { name: name.clone(), declared });
        }
        let sequence = confirmation.sequence.unwrap_or(published);
        if sequence > published {
            return Err(OrderError::NotPublished { sequence, published });
        }
        let write = Confirmed::write(name, sequence, now).map_err(RotatorError::Store)?;
        let changes = Changes { conditions: Vec::new(), writes: vec![write] };
        self.ledger.commit(&confirmation.entry(sequence), changes).await.map_err(RotatorError::Store)?;
        self.holders.confirm(name, sequence, now);
        Ok(sequence)
    }

    /// Does every step that is due; one that does not work is in no other's way.
    ///
    /// # Errors
    /// The first that was met, see [`RotatorError`].
    pub async fn turn(&mut self, now: OffsetDateTime) -> Result<(), RotatorError> {
        let (mut stuck, mut outcome) = (Vec::new(), Ok(()));
        loop {
            // Who holds what is asked only where a key waits for it.
            let waits = |one: &Authority| one.state == AuthorityState::Prepared && one.published.is_some();
            let is_waited_for = self.keyring.authorities.iter().any(waits) || self.upstairs.is_some();
            let known = if is_waited_for { self.known(now) } else { self.known_without_holders() };
            let Some(step) = self.rotation(&known, now).due_beside(&stuck) else { return outcome };
            let taken = self.take(&step, None, now).await;
            let goes_on = taken.as_ref().map_or_else(RotatorError::is_of_its_key, |()| true);
            if taken.is_err() {
                stuck.push(step);
            }
            outcome = outcome.and(taken);
            if !goes_on {
                return outcome;
            }
        }
    }

    pub(super) fn rotation<'a>(&'a self, known: &'a Known, now: OffsetDateTime) -> Rotation<'a> {
        Rotation { keyring: &self.keyring, plan: &self.plan, known, above: self.above(), now }
    }

    pub(super) fn known(&self, now: OffsetDateTime) -> Known {
        let live = self.witness.live_owners(now);
        Known { holders: self.holders.all(|owner| live.contains(owner), now), ..self.known_without_holders() }
    }

    fn known_without_holders(&self) -> Known {
        let listed = self.authorities.listed().clone();
        Known { holders: Vec::new(), longest_ttl: self.witness.longest_ttl(), since: self.even.begin(), listed }
    }

    fn live(&self, now: OffsetDateTime) -> Live {
        let intermediates = self.keyring.of_kind(AuthorityKind::X509Intermediate);
        self.witness.live_on(&intermediates.map(|one| one.key_id().to_string()).collect(), now)
    }

    /// Saves, records, uses: see decision 004.
    async fn take(
        &mut self,
        step: &Step,
        adopted: Option<(&str, &Label)>,
        now: OffsetDateTime,
    ) -> Result<(), RotatorError> {
        let above = self.upstairs.as_ref().map(|upstairs| &upstairs.above);
        let making = Making { file: &self.file, plan: &self.plan, above, random: &self.random, now };
        let next = making.take(&mut self.keyring, step, adopted).await?;
        let signers = signers(&next).ok_or(RotatorError::NoSigner)?;
        self.save_and_record(&next).await?;
        self.authorities.swap(&next, signers);
        self.keyring = next;
        if let Some(upstairs) = &mut self.upstairs {
            upstairs.above.forget_taken(&self.keyring);
        }
        tell(step, &self.keyring);
        if matches!(step.kind, StepKind::Revoke(_)) {
            self.delete_given_up().await;
        }
        Ok(())
    }

    /// What is surely not on record is taken out of the file again, or the next start would record it.
    pub(super) fn not_recorded(&self, fault: StoreError) -> RotatorError {
        let surely = self.shared.is_none() && matches!(fault, StoreError::Clock(_));
        if surely && self.file.save(&self.keyring).is_ok() {
            return RotatorError::Store(fault);
        }
        RotatorError::Unsure(fault)
    }
}

fn tell(step: &Step, keyring: &Keyring) {
    let Some(taken) = &keyring.latest else { return };
    let (step, authority, key_id) = (step.kind.as_str(), step.authority.as_str(), taken.key_id);
    tracing::info!(step, authority, %key_id, sequence = keyring.sequence, "key changed");
    if !taken.by.in_spite_of.is_empty() {
        let missing = taken.by.in_spite_in_short();
        tracing::error!(step, authority, %key_id, missing, "a key changed without proof that everybody holds it");
    }
}

//! The revocation lists of all our authorities: one set, complete or none at all.
//!
//! A consumer that checks the whole chain refuses everybody when one list is missing, so there is no set without the root's.
//! Their number is the position of their record in the journal: it grows with every set, whatever was lost meanwhile.

use super::crl_issuers::{CrlIssuer, TakenBack};
use super::draft::whole_seconds;
use super::{Authorities, Live, SignError};
use crate::audit::{Auditable, Entry, Recorded};
use crate::crypto::{Digest, KeyId, PemLabel};
use crate::store::Position;
use crate::svid::{CrlFields, LayoutError, RevokedBecause, RevokedCertificate};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::watch;

/// A list begins a little in the past, for clocks that run behind; as leaves do.
const BACKDATE: Duration = Duration::from_secs(10);

/// A leaf that must not be believed any more, and the authority that signed it, as its draft named it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RevokedLeaf {
    /// The signer.
    pub signer: Arc<str>,
    /// What its list will say.
    pub certificate: RevokedCertificate,
}

/// What a set will say.
#[derive(Debug)]
pub struct CrlDraft {
    revoked: Vec<RevokedLeaf>,
    live: Live,
    made_at: OffsetDateTime,
    next_update: OffsetDateTime,
}

impl CrlDraft {
    /// A set made now, good for so long. A tainted intermediate stands on it only once no live identity hangs on it: those
    /// who renew must not be refused before they could.
    pub fn new((revoked, live): (Vec<RevokedLeaf>, Live), now: OffsetDateTime, lifetime: Duration) -> Self {
        Self { revoked, live, made_at: now, next_update: whole_seconds(now + lifetime) }
    }
}

/// A set that lacks only the lists of authorities whose keys we hold.
#[derive(Debug)]
pub struct BegunCrls {
    issuers: Arc<[CrlIssuer]>,
    number: Position,
    draft: CrlDraft,
    lists: BTreeMap<String, Bytes>,
}

impl BegunCrls {
    /// Signs the rest. Takes as long as there are leaves on it: no work for a thread that serves others.
    ///
    /// # Errors
    /// When one of the lists cannot be made: then there is no set.
    pub fn finish(mut self) -> Result<Crls, SignError> {
        let issuers = Arc::clone(&self.issuers);
        for issuer in issuers.iter() {
            let Some(key) = issuer.key.held() else { continue };
            let list = self.fields(issuer).sign(&issuer.certificate, key.as_ref())?;
            self.lists.insert(issuer.list_name(), Bytes::from(list.to_vec()));
        }
        let Self { number, draft: CrlDraft { revoked, made_at, next_update, .. }, lists, .. } = self;
        let pem: String = lists.values().map(|list| PemLabel::Crl.armour(list).to_string()).collect();
        let (pem, revoked) = (Bytes::from(pem), revoked.len());
        Ok(Crls { number, made_at, next_update, revoked, etag: format!("\"{}\"", Digest::of(&pem)), lists, pem })
    }

    fn fields(&self, issuer: &CrlIssuer) -> CrlFields {
        CrlFields {
            number: self.number,
            this_update: whole_seconds(self.draft.made_at - BACKDATE),
            next_update: self.draft.next_update,
            revoked: issuer.revoked(&self.draft.revoked, &self.draft.live),
        }
    }
}

impl Auditable for CrlDraft {
    fn entry(&self) -> Entry<'_> {
        Entry::CrlsMade { revoked: self.revoked.len(), next_update: self.next_update.unix_timestamp() }
    }
}

/// A complete set.
#[derive(Clone, Debug)]
pub struct Crls {
    /// Grows with every set.
    pub number: Position,
    /// When it was made.
    pub made_at: OffsetDateTime,
    /// When it is of no use any more.
    pub next_update: OffsetDateTime,
    /// How many leaves stand on it.
    pub revoked: usize,
    /// One list for each authority, DER, by the hex of its key identifier.
    pub lists: BTreeMap<String, Bytes>,
    /// All of them, PEM.
    pub pem: Bytes,
    /// Names this set, for conditional requests.
    pub etag: String,
}

impl Authorities {
    /// Begins the set that is on record, with the lists of authorities whose keys are elsewhere.
    ///
    /// # Errors
    /// When one of them cannot be made: then there is no set.
    pub async fn begin_crls(&self, intent: Recorded<CrlDraft>) -> Result<BegunCrls, SignError> {
        let number = intent.position();
        let issuers = self.crl_issuers.borrow().clone().ok_or(LayoutError::Issuer)?;
        let mut begun = BegunCrls { issuers, number, draft: intent.into_inner(), lists: BTreeMap::new() };
        let issuers = Arc::clone(&begun.issuers);
        for issuer in issuers.iter().filter(|issuer| issuer.key.placed().is_some()) {
            let list = self.distant_crls.sign(issuer, begun.fields(issuer)).await?;
            begun.draft.next_update = begun.draft.next_update.min(list.next_update);
            begun.lists.insert(issuer.list_name(), list.der);
        }
        Ok(begun)
    }

    /// Lists are made here from now on: a new authority waits until its own is out.
    pub fn expect_lists(&self) {
        self.listed().get_or_insert_default();
    }

    /// Anybody can read this set from now on.
    pub fn is_out(&self, set: &Crls) {
        let issuers = self.crl_issuers.borrow().clone();
        let in_set = issuers.iter().flat_map(|all| all.iter()).filter(|one| set.lists.contains_key(&one.list_name()));
        let mut listed = self.listed();
        let before = listed.take().unwrap_or_default();
        let since = |issuer: &CrlIssuer| {
            let key_id = issuer.key.public().id();
            (key_id, before.get(&key_id).copied().unwrap_or(set.made_at))
        };
        *listed = Some(in_set.map(since).collect());
    }

    /// Since when readers can have the list of each authority; none where none are made.
    pub(super) fn listed(&self) -> MutexGuard<'_, Option<BTreeMap<KeyId, OffsetDateTime>>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a set has a list of each authority of now.
    pub fn all_listed(&self, set: &Crls) -> bool {
        let listed = |issuer: &CrlIssuer| set.lists.contains_key(&issuer.list_name());
        self.crl_issuers.borrow().as_ref().is_some_and(|issuers| issuers.iter().all(listed))
    }

    /// The names of those whose lists are made, as drafts name their signer.
    pub fn crl_issuer_names(&self) -> BTreeSet<String> {
        self.crl_issuers.borrow().iter().flat_map(|all| all.iter()).map(|one| one.name.to_string()).collect()
    }

    /// How many tainted intermediates no list names yet, since live identities hang on them.
    pub fn tainted_in_use(&self, live: &Live) -> usize {
        let issuers = self.crl_issuers.borrow().clone();
        let tainted = issuers.iter().flat_map(|all| all.iter()).flat_map(|issuer| &issuer.taken_back);
        tainted.filter(|one| one.is_in_use(live)).count()
    }

    /// Tells when there are other authorities than before, whose lists are missing in the last set.
    pub fn crl_issuers_changed(&self) -> CrlIssuersChanged {
        CrlIssuersChanged(self.crl_issuers.subscribe())
    }
}

/// An ear for other authorities.
#[derive(Debug)]
pub struct CrlIssuersChanged(pub(super) watch::Receiver<Option<Arc<[CrlIssuer]>>>);

impl CrlIssuersChanged {
    /// Since this was asked last, or made; never again once the authorities are gone.
    pub async fn wait(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl CrlIssuer {
    /// Of its list in a set.
    fn list_name(&self) -> String {
        hex(&self.key_identifier)
    }

    fn revoked(&self, leaves: &[RevokedLeaf], live: &Live) -> Vec<RevokedCertificate> {
        let reason = Some(RevokedBecause::CaCompromise);
        let taken_back = self.taken_back.iter().filter(|one| !one.is_in_use(live));
        let taken_back =
            taken_back.map(|one| RevokedCertificate { serial: one.serial, at: whole_seconds(one.since), reason });
        let own = leaves.iter().filter(|leaf| leaf.signer == self.name).map(|leaf| leaf.certificate);
        taken_back.chain(own).collect()
    }
}

impl TakenBack {
    fn is_in_use(&self, live: &Live) -> bool {
        live.get(&self.name).is_some_and(|identities| *identities > 0)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]).filter_map(|half| char::from_digit(half.into(), 16)).collect()
}

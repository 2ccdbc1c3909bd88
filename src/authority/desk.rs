//! How operators' orders reach the rotator, and what they come to.

use super::holders::Holders;
use super::loose::{Orphan, Orphans};
use super::order::{NotNow, Order};
use super::outlook::Outlook;
use super::{AuthorityKind, OrphanDeletion, Rekeying, RotatorError, Taken};
use crate::audit::{Entry, HolderWord};
use crate::custody::Label;
use crate::telemetry::chain;
use crate::upstream::UpstreamError;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// An operator's word about a declared holder: it has our bundle.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Confirmation {
    /// The configured name.
    pub holder: String,
    /// Of the bundle that it has; the published one if none is named.
    pub sequence: Option<u64>,
    /// Who says so: the operator's user id.
    pub uid: u32,
    /// How it is known, in the operator's words.
    pub say: Option<String>,
}

impl Confirmation {
    pub(super) fn entry(&self, sequence: u64) -> Entry<'_> {
        let (holder, say) = (self.holder.as_str(), self.say.as_deref());
        Entry::HolderConfirmed(HolderWord { holder, sequence, uid: self.uid, say })
    }
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The step could not be done; the former keys stay.
    #[error(transparent)]
    Failed(#[from] RotatorError),
    /// An operator revoked it.
    #[error("{label} was revoked: it is not used again; delete it with `lanyard authority revoke --orphan {label}`")]
    GivenUp {
        /// Which key.
        label: Label,
    },
    /// Nobody of that name is declared.
    #[error("no holder {name:?} is declared; the configuration names {}", names(declared))]
    NoHolder {
        /// What was named.
        name: String,
        /// Those that are.
        declared: Vec<String>,
    },
    /// No such key, or it is somebody's.
    #[error("no key {label} is nobody's: `lanyard authority list --orphans` has those that are{}", away(silent))]
    NoOrphan {
        /// Which key.
        label: Label,
        /// Places that did not say what they have.
        silent: Vec<String>,
    },
    /// Other keys sign from memory, where one of a place cannot be.
    #[error(
        "a key in a place is adopted as a prepared root, and as nothing else: `lanyard authority prepare --kind x509-root`"
    )]
    NotAdopted {
        /// What it should have become.
        authority: AuthorityKind,
    },
    /// It cannot be done as things stand.
    #[error(transparent)]
    NotNow(#[from] NotNow),
    /// The bundle does not exist yet.
    #[error("the published bundle has sequence {published}; nobody can hold {sequence}")]
    NotPublished {
        /// What was confirmed.
        sequence: u64,
        /// What there is.
        published: u64,
    },
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopped,
    /// The authority above ours was asked, and gave nothing of use.
    #[error("{}; {}", chain(&**fault), fault.remedy())]
    Upstream {
        /// Why.
        fault: Arc<UpstreamError>,
    },
}

fn names(declared: &[String]) -> String {
    if declared.is_empty() { "none, by [[holder]]".to_owned() } else { declared.join(", ") }
}

fn away(silent: &[String]) -> String {
    silent.iter().fold(String::new(), |told, why| told + "; " + why)
}

/// An order, an orphan's label in place of a new key, and who waits for what comes of it.
pub(super) type OrderAsked = (Order, Option<Label>, oneshot::Sender<Result<Taken, OrderError>>);

/// Something that the rotator is asked.
#[derive(Debug)]
pub(super) enum Ask {
    Confirm(Confirmation, oneshot::Sender<Result<u64, OrderError>>),
    DeleteOrphan(OrphanDeletion, oneshot::Sender<Result<Orphan, OrderError>>),
    Order(OrderAsked),
    Orphans(oneshot::Sender<Orphans>),
    Outlook(AuthorityKind, oneshot::Sender<Outlook>),
    Rekeying(oneshot::Sender<Rekeying>),
}

/// Where orders are given and holders are heard; clones are the same.
#[derive(Clone, Debug)]
pub struct AuthorityDesk {
    asks: mpsc::Sender<Ask>,
    holders: Holders,
}

impl AuthorityDesk {
    pub(super) const fn new(asks: mpsc::Sender<Ask>, holders: Holders) -> Self {
        Self { asks, holders }
    }

    /// Who keeps copies of the bundle.
    pub const fn holders(&self) -> &Holders {
        &self.holders
    }

    /// Carries out an order.
    ///
    /// # Errors
    /// See [`OrderError`]; nothing has changed then, except as [`RotatorError::Unsure`] says.
    pub async fn order(&self, order: Order) -> Result<Taken, OrderError> {
        self.ask(|answer| Ask::Order((order, None, answer))).await?
    }

    /// The same with an orphan's key in place of a new one.
    ///
    /// # Errors
    /// See [`OrderError`]; nothing has changed then, except as [`RotatorError::Unsure`] says.
    pub async fn adopt(&self, order: Order, label: Label) -> Result<Taken, OrderError> {
        self.ask(|answer| Ask::Order((order, Some(label), answer))).await?
    }

    /// Keys in places that no authority names.
    ///
    /// # Errors
    /// `Stopped`.
    pub async fn orphans(&self) -> Result<Orphans, OrderError> {
        self.ask(Ask::Orphans).await
    }

    /// Deletes one of them in its place, for good.
    ///
    /// # Errors
    /// See [`OrderError`].
    pub async fn delete_orphan(&self, deletion: OrphanDeletion) -> Result<Orphan, OrderError> {
        self.ask(|answer| Ask::DeleteOrphan(deletion, answer)).await?
    }

    /// Takes an operator's word for a declared holder. The sequence that it has.
    ///
    /// # Errors
    /// See [`OrderError`].
    pub async fn confirm(&self, confirmation: Confirmation) -> Result<u64, OrderError> {
        self.ask(|answer| Ask::Confirm(confirmation, answer)).await?
    }

    /// What can be done to keys of a kind, and what it would do.
    ///
    /// # Errors
    /// `Stopped`.
    pub async fn outlook(&self, authority: AuthorityKind) -> Result<Outlook, OrderError> {
        self.ask(|answer| Ask::Outlook(authority, answer)).await
    }

    /// How far everybody has come off the tainted keys.
    ///
    /// # Errors
    /// `Stopped`.
    pub async fn rekeying(&self) -> Result<Rekeying, OrderError> {
        self.ask(Ask::Rekeying).await
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, OrderError> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(ask(answer)).await.map_err(|_gone| OrderError::Stopped)?;
        answered.await.map_err(|_gone| OrderError::Stopped)
    }
}

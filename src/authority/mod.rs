//! Our signing keys and their life: prepared, active, old, tainted, removed.
//!
//! ```text
//!   rotation (pure: what is due) ─▶ rotator (records, saves, swaps) ─▶ keyring ─▶ published (bundle)
//!                                                                       ├─▶ draft ─▶ [recorded] ─▶ signer
//!                                                                       └─▶ crls: what its authorities take back
//! ```
//! Not here: who may have an SVID (`policy`), what a certificate looks like (`svid`).

mod keyring;
mod loose;
mod keyring_error;
mod keyring_file;
mod step;
mod gate;
mod rotation;
mod intermediates;
mod above;
mod order;
mod making;
mod holders;
mod confirmed;
mod projection;
mod outlook;
mod rekeying;
mod even;
mod witness;
mod upstairs;
mod desk;
mod rotator_error;
mod on_record;
mod shared_keyring;
mod rotator;
mod orphans;
mod asking;
mod after_loss;
mod published;
mod sealing;
mod sealed_by;
mod in_use;
mod inventory;
mod draft;
mod signer;
mod own_svid;
mod crl_issuers;
mod distant_crls;
mod crls;
#[cfg(test)]
mod tests;

pub use above::Above;
pub use after_loss::go_on_after_loss;
pub use asking::{begin_under, first_wanted};
pub use crls::{BegunCrls, CrlDraft, CrlIssuersChanged, Crls, RevokedLeaf};
pub use desk::{AuthorityDesk, Confirmation, OrderError};
pub use draft::{Asked, Draft, DraftError, LimitedBy};
pub use gate::{Gate, Holder, HolderKind, Known, Missing};
pub use holders::{AgentsHeard, Holders, Readers};
pub use inventory::Inventory;
pub use keyring::{Authority, AuthorityKind, AuthorityState, KeyOf, Keyring, Publication};
pub use keyring_error::KeyringError;
pub use keyring_file::KeyringFile;
pub use loose::{LooseKey, Looseness, Orphan, Orphans};
pub use order::{Leeway, Live, NotNow, Order, OrderKind};
pub use orphans::OrphanDeletion;
pub use outlook::{HolderOutlook, KeyOutlook, Outlook, StepOutlook};
pub use own_svid::{OwnDraft, OwnSvid, OwnSvidError};
pub use projection::Milestone;
pub use published::{Document, IssuerDocuments, Published};
pub use rekeying::{Exposure, Pace, Rekeying};
pub use rotation::KeyPlan;
pub use rotator::{Rotator, open_keyring};
pub use rotator_error::RotatorError;
pub use sealed_by::record_sealing_key;
pub use sealing::{SealingKeyError, SealingSettings};
pub use shared_keyring::SharedKeyring;
pub use signer::{Authorities, SignError, Signed, SignedBytes, TaintedKeys};
pub use step::{By, Step, StepKind, Taken};
pub use upstairs::UpstreamState;
pub use witness::Witness;

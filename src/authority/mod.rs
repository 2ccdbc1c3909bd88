//! Our signing keys and their life: prepared, active, old, tainted, removed.
//!
//! ```text
//!   rotation (pure: what is due) ─▶ rotator (records, saves, swaps) ─▶ keyring ─▶ published (bundle)
//!                                                                       ├─▶ draft ─▶ [recorded] ─▶ signer
//!                                                                       └─▶ crls: what its authorities take back
//! ```
//! Not here: who may have an SVID (`policy`), what a certificate looks like (`svid`).

mod keyring;
mod keyring_file;
mod step;
mod gate;
mod rotation;
mod order;
mod making;
mod holders;
mod outlook;
mod even;
mod witness;
mod desk;
mod rotator;
mod after_loss;
mod published;
mod sealing;
mod in_use;
mod draft;
mod signer;
mod crl_issuers;
mod crls;
#[cfg(test)]
mod tests;

pub use after_loss::go_on_after_loss;
pub use crls::{CrlDraft, CrlIssuersChanged, Crls, RevokedLeaf};
pub use desk::{AuthorityDesk, Confirmation, OrderError};
pub use draft::{Asked, Draft, DraftError, LimitedBy};
pub use gate::{Gate, Holder, HolderKind, Known, Missing};
pub use holders::{Holders, Readers};
pub use keyring::{Authority, AuthorityKind, AuthorityState, Keyring, Publication};
pub use keyring_file::{KeyringError, KeyringFile};
pub use order::{Live, NotNow, Order, OrderKind};
pub use outlook::{HolderOutlook, KeyOutlook, Outlook, StepOutlook};
pub use published::Published;
pub use rotation::KeyPlan;
pub use rotator::{Rotator, RotatorError, open_keyring};
pub use sealing::{SealingKeyError, open_sealing_key};
pub use signer::{Authorities, SignError, Signed, SignedBytes};
pub use step::{By, Step, StepKind, Taken};
pub use witness::Witness;

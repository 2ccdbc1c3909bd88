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
mod rotation;
mod rotator;
mod published;
mod sealing;
mod in_use;
mod draft;
mod signer;
mod crl_issuers;
mod crls;

pub use crls::{CrlDraft, CrlIssuersChanged, Crls, RevokedLeaf};
pub use draft::{Asked, Draft, DraftError, LimitedBy};
pub use keyring::{Authority, AuthorityKind, AuthorityState, Keyring};
pub use keyring_file::{KeyringError, KeyringFile};
pub use published::Published;
pub use rotation::{KeyPlan, Step, StepKind};
pub use rotator::{Rotator, RotatorError, open_keyring};
pub use sealing::{SealingKeyError, open_sealing_key};
pub use signer::{Authorities, SignError, Signed, SignedBytes};

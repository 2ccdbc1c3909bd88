//! What one token opens: the right of one key holder to be renewed until the job ends.
//!
//! ```text
//!   owner (who asks) ─▶ standing (new, live, or a no) ─▶ changes (what admission writes and depends on)
//! ```
//! One record binds `(issuer, jti)` to a key; there is nothing else to look up. Not here: what the bearer may be
//! (`policy`), the order of steps (`issuance`).

mod owner;
mod record;
mod pins;
mod keeper;
mod sweep;
mod past;

pub use keeper::{Admission, Ended, SessionError, Sessions, Standing};
pub use owner::{OwnerError, Proof, SessionKey};
pub use past::{PastAsked, PastRequest, PastRequests, Then};
pub use pins::{PinError, Pinned};
pub use record::{EndReason, SessionId, claims_shown, piece_of_record};
pub use sweep::Swept;

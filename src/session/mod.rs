//! What one token opens: the right of one key holder to be renewed until the job ends.
//!
//! ```text
//!   owner (who asks) ─▶ standing (new, live, or a no) ─▶ changes (what admission writes and depends on)
//! ```
//! One record binds `(issuer, jti)` to a key. A session ends by closing its job: a tombstone that every admission looks for.
//! What lives stands in memory too, for operators to select among; bans stand there, and in the store. What was given and then
//! taken back stands on revocation lists, where somebody wants them. Not here: what the
//! bearer may be (`policy`), the order of steps (`issuance`).

mod owner;
mod record;
mod pins;
mod selector;
mod live;
mod revoked;
mod ends;
mod bans;
mod loss;
mod admission;
mod keeper;
mod foretold;
mod restored;
mod ending;
mod heard;
mod given;
mod crl_keeper;
mod sweep;
mod past;

pub use admission::{Admission, Note, Prepared, Standing};
pub use bans::Ban;
pub use crl_keeper::{CrlError, CrlKeeper, CrlPlan, CrlsWatch};
pub use ending::{EndReason, Revocation, Struck};
pub use ends::{Ended, Listening};
pub use keeper::{Kept, SessionError, Sessions};
pub use live::{ByUser, LiveSession, LiveSvid};
pub use loss::Loss;
pub use owner::{OwnerError, Proof, SessionKey};
pub use past::{PastAsked, PastRequest, PastRequests, Then};
pub use pins::{PathPins, Pin, PinError};
pub use record::{JobName, SessionId, claims_shown, piece_of_record};
pub use selector::{Facets, Nobodys, PathOrId, Selector};
pub use sweep::Swept;

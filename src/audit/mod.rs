//! Nothing happens unrecorded: every decision and every change of state is an entry in the journal.
//!
//! ```text
//!   Draft, Step … ─▶ admit (entry + changes, one durable commit) ─▶ Recorded<T> ─▶ the key may be used
//! ```
//! Not here: the file's format and its chain (`store`), what is changed along with an entry (`session`, `authority`).

mod asked;
mod person;
mod by_hand;
mod pinned;
mod shown;
mod key_step;
mod job;
mod entry;
mod ledger;
mod refusals;

pub use asked::Asked;
pub use by_hand::{AccountWord, Came};
pub use entry::{Auditable, Cause, Entry, Received, SvidToSign};
pub use job::Job;
pub use key_step::{HolderWord, KeyStep, OrphanWord};
pub use ledger::{AdmitError, Changes, Ledger, Recorded};
pub use person::Person;
pub use pinned::PinnedBy;
pub use refusals::{Observed, Refused};
pub use shown::Shown;

//! Who takes our JWT-SVIDs, and what each of them takes: clouds, Vault, meshes, SPIFFE's own libraries.
//!
//! ```text
//!   kind: whom we know ─▶ table: a function for each, an Offer in, yes or why not
//!     └─▶ consumers: those that the configuration declares, by audience ─▶ doubts: which rule could never please one
//! ```
//! Not here: who may have a token for them (`policy`), where our keys are published (`bundle`).

mod kind;
mod unfit;
mod table;
mod consumers;
mod doubts;

pub use consumers::{Consumer, Consumers, NotTaken};
pub use doubts::{Doubt, DoubtKind};
pub use kind::ConsumerKind;
pub use table::Offer;
pub use unfit::Unfit;

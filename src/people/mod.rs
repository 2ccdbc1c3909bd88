//! What a token tells of a person, kept so that it can be forgotten: sealed under a key of that person's own.
//!
//! ```text
//!   claims ─▶ keeping (whose key: made and durable before it is first used) ─▶ sealed ─▶ journal, store
//!   journal, store ─▶ opened, or erased once the key is gone
//! ```
//! The keys stand in one file beside the journal and never in it, so that they can be deleted while no line changes. Not
//! here: who may erase, and what is recorded of it (`issuance`).

mod personal;
mod person_key;
mod file;
mod keys;
mod erased;
mod witness;
#[cfg(test)]
mod tests;

pub use erased::NotErased;
pub use file::PeopleError;
pub use keys::{Form, People};
pub use person_key::{Keeping, PersonKey, PersonName, Sealed};
pub use personal::{Personal, SEALED};
pub use witness::Found;

//! Where signing keys live when not in the keyring: in a token of a security module, or in a Vault, which sign for us and
//! never show the key.
//!
//! ```text
//!   Places (by configured name) ─▶ Place: make · find · sign · list · delete, by label
//!                                    ├─ pkcs11: one thread a module, a session a token
//!                                    ├─ transit: Vault's engine
//!                                    └─ memory: ends with the process
//!                                  Wrap: wrap · open, by pkcs11 and transit: a secret of ours that only they open
//!   AuthorityKey ─┬─ held: in our memory, sealed at rest (`authority`)
//!                 └─ placed: a label in a place
//! ```
//! **Invariants**: no signature is used that does not verify under the key it is asked of; no key is taken that the place
//! would hand out; nothing is deleted but by a call that says so.
//! Not here: when a key is made, and what it signs (`authority`).

mod error;
mod label;
mod place;
mod wrap;
mod key;
mod memory;
mod transit;
mod session;
mod aes;
mod token;
mod pkcs11;
mod places;

pub use error::{CustodyError, PlaceFault};
pub use key::{AuthorityKey, PlacedKey};
pub use label::Label;
pub use memory::MemoryPlace;
pub use place::{Place, Waiting};
pub use places::{PlaceKind, PlaceSettings, Places, PlacesSettings};
pub use wrap::Wrap;

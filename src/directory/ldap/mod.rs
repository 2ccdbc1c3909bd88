//! As much of LDAP as it takes to ask a directory: bind with a password, search, `StartTLS` (RFC 4511).
//!
//! **Invariants**: nothing is read that is longer than a question can be worth, nothing that a server sends is read by
//! recursion, and no value becomes part of a filter's text, since filters have none. Why there is no library here:
//! `docs/decisions/023-six-messages-of-ldap.md`.

mod ber;
mod error;
mod filter;
mod message;
mod line;

pub use ber::Malformed;
pub use error::{LdapError, ResultCode};
pub(super) use filter::Filter;
pub(super) use line::{Connection, Place, Unbound};
pub(super) use message::{Entry, Scope, Search};

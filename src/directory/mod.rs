//! Active Directory, or what speaks like it: whose account a token's user has, whether that may act, in which groups it is.
//!
//! ```text
//!   Claims ─▶ way: what to look for ─▶ client ─▶ ldap ─▶ account: may it act? ─▶ account_pins: the same as before? ─▶ groups
//! ```
//! **Invariants**: whatever is not told is no good news; one account, or none; what a token says becomes a value to compare
//! with, never a part of the question. Not here: what a rule makes of it (`policy`), and how often it is asked (`facts`).

mod sid;
mod settings;
mod ldap;
mod shown;
mod error;
mod account;
mod way;
mod links;
mod client;
mod account_pins;
mod finding;
mod groups;
mod departed;

#[cfg(test)]
pub(crate) use account_pins::tests;

pub use account::Untold;
pub use account_pins::{AccountPins, IssuerUser, NotTheirs, Pinned};
pub use error::DirectoryError;
pub use finding::{Directory, Found, Groups};
pub use ldap::{LdapError, Malformed, ResultCode};
pub use links::{AllLinks, Linking, Links};
pub use settings::{DirectorySettings, Group, NoServer, Server, Way, group_named, is_dn};
pub use shown::Held;
pub use sid::{Guid, NoSid, Sid};
pub use way::{NobodySought, Sought};

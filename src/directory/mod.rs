//! Active Directory, or what speaks like it: whose account a token's user has, whether that may act, in which groups it is.
//!
//! ```text
//!   Claims ─▶ way: what to look for ─▶ client ─▶ ldap ─▶ account: may it act? ─▶ accounts: the same as before? ─▶ groups
//! ```
//! **Invariants**: whatever is not told is no good news; one account, or none; what a token says becomes a value to compare
//! with, never a part of the question. Not here: what a rule makes of it (`policy`), and how often it is asked (`facts`).

mod sid;
mod settings;
mod ldap;
mod error;
mod account;
mod way;
mod client;
mod accounts;
mod finding;
mod groups;
mod departed;

pub use account::Untold;
pub use accounts::{Accounts, User};
pub use error::DirectoryError;
pub use finding::{Directory, Found, Groups};
pub use ldap::{LdapError, Malformed, ResultCode};
pub use settings::{DirectorySettings, Group, NoServer, Server, Way, group_named, is_dn};
pub use sid::{Guid, NoSid, Sid};
pub use way::{NobodySought, Sought};

//! HashiCorp Vault (or OpenBao) as a client sees it: logged in, asked, asked again where it was busy.
//!
//! ```text
//!   VaultSettings ─▶ Vault ─┬─ token: from its file, or by a login that is repeated when it ends or is taken back
//!                           └─ read, write, tell, list, delete ─▶ Reply, or a VaultError in Vault's own words
//! ```
//! Not here: what is asked for. Who keeps keys in it or has certificates signed by it knows the paths.

mod settings;
mod error;
mod login;
mod client;

pub use client::{Reply, Vault};
pub use error::VaultError;
pub use settings::{VaultAuth, VaultSettings};

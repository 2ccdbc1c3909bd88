//! What we learn from others over HTTPS.
//!
//! ```text
//!   IssuerKeys::of (issuer, kid) ─▶ keys in memory, lock-free
//!        └─ unknown kid or old keys ─▶ Fetch: discovery document ─▶ jwks_uri ─▶ KeySet
//! ```
//! **Invariant:** no URL comes from a token. The configuration names the discovery document, that names the key set.

mod token_file;
mod https;
mod bundle_asker;
mod documents;
mod keys_error;
mod issuer_keys;
mod kubernetes;

pub use bundle_asker::{AskError, BundleAsker, Shown};
pub use documents::fetch_keys;
pub use https::{
    Answered, Answering, Call, Fetch, FetchError, Fetching, HttpsFetch, Secret, Sent, path_segment, wait_of,
};
pub use issuer_keys::{BundleKeys, IssuerKeys};
pub use keys_error::{DiscoveryError, KeysError};
pub use kubernetes::{NoWayToKubernetes, kubernetes};
pub use token_file::{TokenFileError, read_token};

#[cfg(test)]
mod tests;

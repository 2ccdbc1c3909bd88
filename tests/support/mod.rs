//! What the test programs share: an issuer that mints tokens like GitLab's, and a whole server in one process.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a helper that cannot do its work ends the test")]
#![allow(dead_code, reason = "each test program uses its own part")]

pub(crate) mod alone;
pub(crate) mod beside;
pub(crate) mod by_webpki;
pub(crate) mod foreign;
pub(crate) mod harness;
pub(crate) mod hierarchy;
pub(crate) mod https;
pub(crate) mod installed;
pub(crate) mod issuer;
pub(crate) mod kubernetes;
pub(crate) mod of_bundle;
pub(crate) mod vault;

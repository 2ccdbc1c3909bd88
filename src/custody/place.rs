//! A place that keeps keys and signs with them.

use super::{Label, PlaceFault};
use crate::crypto::PublicKey;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

/// An answer to come, within the place's own time limit.
pub type Waiting<'a, T> = Pin<Box<dyn Future<Output = Result<T, PlaceFault>> + Send + 'a>>;

/// A place that keeps P-256 keys under labels and signs with them. It never gives a key away.
pub trait Place: Debug + Send + Sync + 'static {
    /// Makes a key under a label that nothing has yet.
    fn make<'a>(&'a self, label: &'a Label) -> Waiting<'a, PublicKey>;

    /// The key under a label, if there is one.
    ///
    /// One that could leave the place is none that we would sign with, and an error.
    fn find<'a>(&'a self, label: &'a Label) -> Waiting<'a, Option<PublicKey>>;

    /// Signs a message (ECDSA with SHA-256, ASN.1).
    fn sign<'a>(&'a self, label: &'a Label, message: &'a [u8]) -> Waiting<'a, Vec<u8>>;

    /// The names of all keys that we are let see, ours or not.
    fn list(&self) -> Waiting<'_, Vec<String>>;

    /// What is to be told of a key that should be there and is not.
    fn lacks(&self, label: &Label) -> PlaceFault {
        PlaceFault::NotThere { label: label.clone() }
    }

    /// Deletes a key, for good. One that is not there is deleted.
    fn delete<'a>(&'a self, label: &'a Label) -> Waiting<'a, ()>;
}

//! A place that wraps a secret of ours: only it can open what it has closed.

use super::Label;
use super::place::Waiting;
use std::fmt::Debug;
use zeroize::Zeroizing;

/// A place that keeps AES keys under labels, and closes and opens secrets with them. It never gives a key away.
pub trait Wrap: Debug + Send + Sync + 'static {
    /// Wraps a secret under the key of that label, which is made if it is not there.
    fn wrap<'a>(&'a self, label: &'a Label, secret: &'a [u8]) -> Waiting<'a, Vec<u8>>;

    /// Opens what was wrapped. Whoever changed it gets an error.
    fn open<'a>(&'a self, label: &'a Label, wrapped: &'a [u8]) -> Waiting<'a, Zeroizing<Vec<u8>>>;
}

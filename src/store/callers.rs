//! Which threads that bring commits are at work: whoever is may bring another one soon, and whoever rests will not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many threads are at work; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Callers(Arc<AtomicUsize>);

impl Callers {
    /// A thread goes to work.
    pub fn go_to_work(&self) {
        // A hint to whoever waits: nothing else is read or written by this order.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// It has nothing to do until something comes from outside.
    pub fn rest(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether any is.
    pub(super) fn are_at_work(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

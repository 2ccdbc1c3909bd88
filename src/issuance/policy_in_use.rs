//! The policy that decides now. It is replaced in one step, and whoever began with one goes on with it.

use crate::policy::Policy;
use arc_swap::ArcSwap;
use std::sync::Arc;

/// The policy that decides now; clones share it.
#[derive(Clone, Debug)]
pub struct PolicyInUse(Arc<ArcSwap<Policy>>);

impl PolicyInUse {
    /// This one, until it is replaced.
    pub fn new(policy: Policy) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(policy)))
    }

    /// The one that decides now. A request asks once.
    pub fn now(&self) -> Arc<Policy> {
        self.0.load_full()
    }

    /// Lets another decide from now on.
    pub fn replace(&self, policy: Policy) {
        self.0.store(Arc::new(policy));
    }
}

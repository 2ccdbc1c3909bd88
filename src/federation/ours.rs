//! What the rest of the server, which stands below this room, publishes as ours.

use crate::bundle::Bundle;
use crate::identity::TrustDomain;
use std::fmt::Debug;

/// Our own trust domain.
pub trait Ours: Debug + Send + Sync {
    /// Its name.
    fn trust_domain(&self) -> &TrustDomain;
    /// Its bundle, as it is now.
    fn bundle(&self) -> Bundle;
}

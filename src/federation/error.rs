//! Why a bundle is not taken, or not given up.

use super::Source;
use crate::bundle::ForeignBundleError;
use crate::identity::{SpiffeId, TrustDomain};
use crate::store::StoreError;

/// Of one bundle as it is handed out: fifty roots and more, where a trust domain has one or two. Each renewal of a job
/// carries the bundles of its rule, and many clients read no message above 4 MiB.
pub(super) const BYTES_MAX: usize = 64 * 1024;

/// Why a bundle is not taken, or not given up.
#[derive(Debug, thiserror::Error)]
pub enum FederationError {
    /// Nothing is held of it.
    #[error("no bundle of {0} is held; `lanyard bundle list` shows those that are")]
    Absent(TrustDomain),
    /// No bundle that could be taken.
    #[error(transparent)]
    Bundle(#[from] ForeignBundleError),
    /// The configuration says from where it comes.
    #[error(
        "the bundle of {trust_domain} comes from {source_named}, as a [[federation]] of the server's configuration says; \
         change it there, or take the [[federation]] out and restart the server"
    )]
    Configured {
        /// Whose.
        trust_domain: TrustDomain,
        /// From where.
        source_named: Box<Source>,
    },
    /// An endpoint that proves itself by a bundle of which there is none.
    #[error(
        "an endpoint with an SVID of {0} is known by that trust domain's bundle, and none is held: give the first one, as \
         --spiffe FILE or --pem FILE"
    )]
    NoFirst(TrustDomain),
    /// Our own.
    #[error(
        "{0} is this server's own trust domain: its bundle is made here and taken from nobody (see `lanyard authority`)"
    )]
    Own(TrustDomain),
    /// An endpoint that a job of ours could pass for.
    #[error("{0} is an ID of this server's own trust domain, which vouches for no other: name the endpoint's own ID")]
    OwnEndpoint(SpiffeId),
    /// It shows less than it has shown.
    #[error(
        "its sequence is {shown}, and {held} is held: the source went back to an older bundle; if that trust domain began \
         anew, {}",
        if *.is_endpoint { "give its new bundle by `lanyard bundle set`" }
        else { "start the server once without its [[federation]]" }
    )]
    Older {
        /// What the source shows.
        shown: u64,
        /// What is held.
        held: u64,
        /// Whether an operator's word goes before it.
        is_endpoint: bool,
    },
    /// One of its keys is ours.
    #[error(
        "its {authority} has a key of this server's own trust domain, so that each of the two could speak as the other; take \
         it out of the bundle, or, where both hang under one CA, give one of them a root of its own"
    )]
    OurKey {
        /// Which of its authorities.
        authority: String,
    },
    /// The change cannot be recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// More than agents and workloads could be handed with each renewal.
    #[error(
        "the bundle has {actual} bytes as a SPIFFE document, at most {BYTES_MAX} are taken: leave out old authorities"
    )]
    TooLarge {
        /// What came.
        actual: usize,
    },
}

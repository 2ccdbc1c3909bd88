//! Where a bundle is written.

use super::cluster::Seen;
use super::{Bucket, ClusterObject, FileTarget, ObjectKind, PublishError};
use crate::authority::Published;
use crate::clock::Clock;
use crate::crypto::Random;
use std::fmt;
use std::time::Duration;

/// A file that was changed is soon as it was; looking costs nothing.
const LOOK_AT_FILE_EVERY: Duration = Duration::from_secs(5);
/// Each look at a bucket is paid for; readers of one look about as often.
const LOOK_AT_BUCKET_EVERY: Duration = Duration::from_secs(300);

/// One place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// An object of S3, or of what speaks like it.
    Bucket(Box<Bucket>),
    /// An object of a Kubernetes cluster.
    Cluster(ClusterObject),
    /// A file on this machine.
    File(FileTarget),
}

/// What a look came to.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// It holds what it should already.
    AsItWas,
    /// Somebody had changed it, in these words.
    Restored(String),
    /// It was written, and what it holds cannot be seen, in these words.
    Unseen(String),
    Written,
}

impl Outcome {
    /// Why nobody can say whether it is still there.
    pub(super) fn doubt(&self) -> Option<&str> {
        if let Self::Unseen(why) = self { Some(why) } else { None }
    }
}

/// What tells that a place may hold something else.
#[derive(Debug)]
pub(super) enum Watch {
    Every(Duration),
    Object(Box<Seen>),
}

impl Target {
    /// Looks, and writes what differs; `wrote` says whether this was written here before, so that a difference is
    /// somebody's doing.
    pub(super) async fn put(
        &self,
        published: &Published,
        wrote: bool,
        (clock, random): (&dyn Clock, &Random),
    ) -> Result<(Outcome, Watch), PublishError> {
        match self {
            Self::Bucket(bucket) => {
                Ok((bucket.put(published, (wrote, clock)).await?, Watch::Every(LOOK_AT_BUCKET_EVERY)))
            }
            Self::Cluster(object) => {
                let (outcome, seen) = object.put(published, (wrote, clock)).await?;
                Ok((outcome, Watch::Object(Box::new(seen))))
            }
            Self::File(file) => Ok((file.put(published, (wrote, random)).await?, Watch::Every(LOOK_AT_FILE_EVERY))),
        }
    }
}

impl Watch {
    /// Waits until it may.
    pub(super) async fn disturbed(&self, clock: &dyn Clock) {
        match self {
            Self::Every(span) => clock.wait_until(clock.now() + *span).await,
            Self::Object(seen) => seen.disturbed().await,
        }
    }
}

/// The name under which an operator knows it.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bucket(bucket) => write!(f, "s3 {}/{}", bucket.bucket, bucket.key),
            Self::Cluster(ClusterObject { kind: ObjectKind::ConfigMap { namespace, .. }, name, .. }) => {
                write!(f, "config map {namespace}/{name}")
            }
            Self::Cluster(ClusterObject { kind: ObjectKind::ClusterTrustBundle { .. }, name, .. }) => {
                write!(f, "cluster trust bundle {name}")
            }
            Self::File(file) => write!(f, "file {}", file.path.display()),
        }
    }
}

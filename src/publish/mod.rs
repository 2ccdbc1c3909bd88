//! Our own trust bundle, written to where others read it, and kept there.
//!
//! ```text
//!   published (watch) ─▶ publisher ─▶ target: ConfigMap, ClusterTrustBundle · file · object storage
//!                            └─▶ holders: what was written, and when; the gate of rotation waits for it
//! ```
//! A publisher compares before it writes, writes again what somebody deleted or edited, and never takes what belongs to
//! somebody else unless the configuration says so. A target that is away is tried again and shown; nothing stops for it.
//! That a bundle was written proves nothing of who has read it.

mod form;
mod object;
mod error;
mod cluster;
mod file;
mod sigv4;
mod object_store;
mod target;
mod publisher;

pub use cluster::{ClusterObject, Kubeconfig};
pub use error::PublishError;
pub use file::FileTarget;
pub use form::Form;
pub use object::{MapKeys, ObjectKind};
pub use object_store::{Addressing, Bucket, BucketKeys};
pub use publisher::Publisher;
pub use sigv4::{Credentials, SigningTime, sign};
pub use target::Target;

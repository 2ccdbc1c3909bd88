//! The store of several replicas: etcd decides, each replica's journal is evidence, a copy that a watch keeps is read.
//!
//! ```text
//!   commit ─▶ one transaction (conditions, writes) ─▶ journal of this replica ─▶ copy has come as far ─▶ answer
//!                         etcd ─▶ watch ─▶ copy (read by all) ─▶ whoever keeps something of it in memory
//! ```
//! Below a prefix stand the keys of the store as they are called, and beside them, with names that begin with `~`, what
//! only replicas read: `~tick` (who wrote last), `~lead` (who does periodic work), `~replica/…`, `~keyring`.
//!
//! Invariants: the copy is never the judge of anything that must be unique; it shows all writes up to one revision and none
//! after. Every transaction that writes also writes `~tick`: so a reader learns how far it must have come, and a writer
//! whose answer was lost learns whether it wrote. Not here: how an endpoint is reached (`wire`).

mod proto;
mod error;
mod client;
mod request;
pub(super) mod evidence;
mod copy;
mod follower;
mod lead;
mod tide;
mod cluster;
mod replica;
mod reconcile;

pub use cluster::{Blob, Channels, Etcd, EtcdLogin, EtcdSettings, Peer};
pub use error::{EtcdError, WentBack};
pub use reconcile::{Reconciled, reconciled};
pub use replica::{Behind, Replica};

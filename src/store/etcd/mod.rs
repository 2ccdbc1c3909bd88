//! The store of several replicas: etcd decides, each replica's journal is evidence, a copy that a watch keeps is read.
//!
//! ```text
//!   commit ─▶ one transaction (conditions, writes) ─▶ journal of this replica ─▶ copy has come as far ─▶ answer
//!                         etcd ─▶ watch ─▶ copy (read by all) ─▶ whoever keeps something of it in memory
//! ```
//! Below a prefix stand the keys of the store as they are called, and beside them, with names that begin with `~`, what
//! only replicas read: `~tick/…` (who wrote last, of each replica), `~~intent/…` (what is done and perhaps in no journal
//! yet; the one thing that no watch brings), `~clock/…` (what their clocks show), `~lead` (who does periodic work), `~epoch` (how
//! many restores there were), `~reconcile`, `~restored/…`, `~replica/…`, `~known/…`, `~keyring`.
//!
//! Invariants: the copy is never the judge of anything that must be unique; it shows all writes up to one revision and none
//! after. Every transaction wants the last writes of all replicas to be there: an etcd that lost one decides nothing. One that
//! writes also writes its replica's tick and an intent: so a reader learns how far it must have come, an attempt whose answer
//! was lost is not done twice, and what is done gets into a journal. Not here: how an endpoint is reached (`wire`).

mod proto;
mod error;
mod client;
mod mark;
mod request;
mod tide;
mod epoch;
pub(super) mod evidence;
mod hearing;
mod copy;
mod clocks;
mod follower;
mod lead;
mod intents;
mod cluster;
mod decide;
mod joint;
mod wakes;
mod late;
mod replica;
mod lost;
mod waiting;
mod reconcile;

pub use client::EtcdLogin;
pub(crate) use clocks::APART_MAX;
pub use clocks::ClockStand;
pub use cluster::{Blob, Channels, Etcd, EtcdSettings, Peer};
pub use error::{EtcdError, WentBack};
pub use hearing::Hearing;
pub use late::take_over;
pub use reconcile::{Reconciled, reconciled};
pub use replica::{Behind, Replica};

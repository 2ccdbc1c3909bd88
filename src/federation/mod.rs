//! The bundles of other trust domains that we hold, each from one source, and who may have which.
//!
//! ```text
//!   operator's word ──▶ by_hand ────────────┐
//!   file, ConfigMap ──▶ follower ─▶ looked ─▶ keeper: record (journal + index) ─▶ held ─▶ foreign: handed out, as a watch
//!   endpoint ─▶ poller (schedule) ────┘
//! ```
//! A bundle is a set of trust roots, so each change of one is a record before it is in use, whoever brings it. A source
//! that goes bad changes nothing: the last good bundle stays, beside what is wrong. Ours is taken from nobody.
//! Not here: which workload may have which (`policy`, `session`), how they reach it (`api`).

mod config_map;
mod endpoint;
mod source;
mod ours;
mod foreign;
mod record;
mod held;
mod error;
mod turns;
mod keeper;
mod by_hand;
mod heard;
mod looked;
mod review;
mod schedule;
mod sight;
mod early;
mod warning;
mod poller;
mod follower;
mod unheld;

pub use config_map::ConfigMapKey;
pub use endpoint::{Endpoint, Profile};
pub use error::FederationError;
pub use follower::Follower;
pub use foreign::{Foreign, ForeignBundles, Stamp};
pub use held::{Kept, Relation};
pub use keeper::Federation;
pub use ours::Ours;
pub use source::{Relationship, Source};

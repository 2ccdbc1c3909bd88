//! The numbers that operators watch, one file a concern.

mod agent;
mod answers;
mod decisions;
mod numbers;
mod page;
mod records;
mod revocation;
mod sessions;
mod trust;

pub use agent::AgentMetrics;
pub use numbers::{Door, Metrics};

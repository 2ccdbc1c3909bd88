//! The numbers that operators watch, one file a concern.

mod agent;
mod answers;
mod decisions;
mod doors;
mod facts;
mod foreign;
mod keys;
mod numbers;
mod page;
mod records;
mod revocation;
mod sessions;
mod trust;

pub use agent::AgentMetrics;
pub use doors::Port;
pub use facts::SourceMetrics;
pub use foreign::ForeignStanding;
pub use keys::KeyStock;
pub use numbers::{Door, Metrics};

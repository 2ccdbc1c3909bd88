//! How we speak to operators: logs, metrics, readiness, and how they tell us to stop.

mod fault;
mod logs;
mod metrics;
mod panics;
mod readiness;
mod shutdown;

pub use fault::{chain, quotable};
pub use logs::{LogFormat, LogsError, NotALogFormat, install};
pub use metrics::{AgentMetrics, Door, ForeignStanding, KeyStock, Metrics, Port, SourceMetrics};
pub use panics::{Panicked, contained, watch_panics};
pub use readiness::{Readiness, Unready, Worry};
pub use shutdown::{Shutdown, ShutdownTrigger};

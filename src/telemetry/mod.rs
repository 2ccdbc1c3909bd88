//! How we speak to operators: logs, metrics, traces, readiness, and how they tell us to stop.

mod fault;
mod logs;
mod metrics;
mod panics;
mod readiness;
mod shutdown;
mod told_time;
mod traces;

pub use fault::{chain, quotable};
pub use logs::{Log, LogFilter, LogFormat, LogInstalled, LogLevel, NotALogFilter, NotALogFormat};
pub use metrics::{AgentMetrics, Door, ForeignStanding, KeyStock, Metrics, Port, SourceMetrics};
pub use panics::{Panicked, contained, watch_panics};
pub use readiness::{Readiness, Standing, Unready, Worry};
pub use shutdown::{Shutdown, ShutdownTrigger};
pub use told_time::rfc3339;
pub use traces::{Delivery, TracesError, Tracing, request_span, traced};

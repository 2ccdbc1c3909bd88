//! How we speak to operators: logs, metrics, readiness, and how they tell us to stop.

mod fault;
mod logs;
mod metrics;
mod readiness;
mod shutdown;

pub use fault::chain;
pub use logs::{LogFormat, LogsError, NotALogFormat, install};
pub use metrics::{Door, Metrics};
pub use readiness::{Readiness, Unready};
pub use shutdown::{Shutdown, ShutdownTrigger};

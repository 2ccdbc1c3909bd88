//! What a request passed on its way, told to whoever collects traces; nothing is made where nobody does.
//!
//! ```text
//!   spans of this program ─▶ queue: bounded, never waits ─▶ delivery: batches over OTLP
//! ```
//! A span names a step, a door, a code, an issuer, a rule: never a person, a token or an identity.

mod caller;
mod delivery;
mod queue;

pub use caller::{request_span, traced};
pub use delivery::{Delivery, TracesError, Tracing};
pub(super) use queue::{spans_dropped, spans_sent};

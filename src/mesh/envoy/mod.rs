//! Envoy without a control plane: a whole bootstrap for the proxy beside a job, and one for the proxy before a service.
//!
//! ```text
//!   parts: Envoy's messages, as far as these two need them ─▶ caller: beside a job · callee: before a service
//! ```

mod parts;
mod caller;
mod callee;
mod place;

pub use callee::Callee;
pub use caller::Caller;
pub use place::{Endpoint, NotAnEndpoint, Place};

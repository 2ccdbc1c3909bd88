//! `lanyard doctor`: looks at what usually goes wrong, in the order in which one thing needs the other, and says what to do.
//!
//! It changes nothing, and uses no token up. What it looks at follows from what is named: in a job by variables, on a
//! runner or a server by `--config`.

mod finding;
mod named;
mod server;
mod token;
mod sockets;
mod at_rest;
mod host;
mod look;

pub(super) use look::{Args, run};
pub(super) use server::distrusted;

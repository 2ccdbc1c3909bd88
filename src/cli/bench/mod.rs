//! `lanyard bench exchange|renew`: puts load on a server of one's own, and says how fast it answers.
//!
//! ```text
//!   command ─▶ tokens, agents ─▶ load: closed or open, one pace after the other ─▶ measured ─▶ table, JSON, plot
//! ```

mod agents;
mod tokens;
mod measured;
mod load;
mod plot;
mod command;

pub(super) use command::{Args, run};

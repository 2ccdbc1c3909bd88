//! `lanyard bench exchange|renew|streams|rotation`: puts load on a server of one's own, and says how fast it answers.
//!
//! ```text
//!   command ─▶ tokens, agents ─▶ load: closed or open, one pace after the other ─▶ measured ─▶ table, JSON, plot
//!           └▶ tokens, listeners ─▶ listening: streams that open, and hear of a change ─▶ measured
//! ```

mod agents;
mod tokens;
mod measured;
mod load;
mod left;
mod listeners;
mod listening;
mod plot;
mod command;

pub(super) use command::{Args, run};

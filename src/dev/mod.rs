//! Everything in one process: a stand-in GitLab, the server and an agent.
//!
//! ```text
//!   folder (kept, locked) ─▶ keys ─▶ stand-in GitLab over HTTPS ─┐
//!                        └─▶ files: server.toml, policy.toml ────┴▶ server ─▶ agent ─▶ the first SVID ─▶ report, dev.env
//! ```
//! The files are real: `lanyard server --config DIR/server.toml` runs on them too. Nothing else imports this room.

mod error;
mod folder;
mod keys;
mod job;
mod jobs;
mod gitlab;
mod files;
mod workload;
mod report;
mod run;

pub use error::DevError;
pub use folder::DevFolder;
pub use job::{Claim, Mint, NotAClaim};
pub use report::{Limit, Part, Report, Signer};
pub use run::RunningDev;

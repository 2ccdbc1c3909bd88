//! The sidecar on the runner: opens a session with the job's token, renews its SVID, and serves it to workloads.
//!
//! ```text
//!   token_source, login_door ─▶ renewer ─▶ link ─▶ server ─▶ events ─▶ ears ─▶ renewer
//!                                  │
//!                                keeper ─▶ shown ─▶ served ─▶ workload_api, sds (behind any_authority)
//!                                            └────▶ files, sds ◀─ crls ◀─ ears
//! ```
//! One job has one keeper and one renewer, and so has the runner's own identity, shown while no job has one. Where an agent serves many (`host`, `jobs`), `desk` brings each connection to
//! its own by what `caller` tells of the process.
//! Not here: anything that signs. What the agent may be is the server's decision at each renewal.

mod run;
mod limits;
mod token_source;
mod login_door;
mod caller;
mod turned_away;
mod desk;
mod host;
mod jobs;
mod renewer;
mod waiting;
mod order;
mod outcome;
mod attempts;
mod renewal;
mod session_file;
mod kept;
mod request;
mod setback;
mod link;
mod events;
mod crls;
mod federated;
mod ears;
mod keeper;
mod shown;
mod workload_door;
mod served;
mod workload_api;
mod sds;
mod reflection;
mod jwt_svids;
mod newer_keys;
mod socket;
mod lasting_socket;
mod own_program;
mod places;
mod calls;
mod incoming;
mod any_authority;
mod header_block;
mod huffman;
mod file_output;
mod files;
mod layout;
mod memory;
mod metrics_port;

pub use any_authority::{FrameFilter, Violation};
pub use caller::{
    Accepted, CgroupPath, CgroupTextError, Hierarchy, HostRules, JobPattern, NoPattern, TreeError, cgroup_of,
};
pub use file_output::FileOutput;
pub use files::SvidFiles;
pub use header_block::{BlockError, BlockRewriter};
pub use host::{HostError, HostSettings};
pub use layout::{Layout, NoLayout};
pub use link::Refused;
pub use login_door::AgentHandle;
pub use memory::on_memory;
pub use outcome::{LoggedIn, LoggedOut};
pub use own_program::OwnProgramError;
pub use request::fresh_key;
pub use run::{Agent, AgentError, AgentSettings, MODE_EVERYBODY, MODE_OWNER, OnStop};
pub use sds::{SecretNames, Validator};
pub use session_file::{SessionFileError, remove_session_key, remove_unused_session_key};
pub use setback::Setback;
pub use socket::SocketError;
pub use token_source::{TOKEN_VARIABLE, TokenSource};
pub use workload_api::Callers;

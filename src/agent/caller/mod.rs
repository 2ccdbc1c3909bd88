//! Which job a process is of, where one agent serves many: what the kernel says of it, read anew each time, and the rules.
//!
//! ```text
//!   socket ─▶ process (pid, pidfd, start time) ─▶ facts ─▶ which_job ─▶ the job's cgroup, by its inode
//! ```
//! Not here: what the process says of itself.

mod cgroup_path;
mod process_text;
mod job_pattern;
mod which_job;
mod cgroup_tree;
mod process;

pub use cgroup_path::{CgroupPath, CgroupTextError, Hierarchy, cgroup_of};
pub(super) use cgroup_tree::Tree;
pub use cgroup_tree::TreeError;
pub use job_pattern::{JobPattern, NoPattern};
pub(super) use process::Process;
pub use which_job::{Accepted, HostRules};
pub(super) use which_job::{NotAJob, which_job};

//! How an agent knows that a job is over, in the words of the journal.

use super::lanyard::JobEnd;

impl JobEnd {
    /// As logs, sockets and entries say it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AgentStopped => "agent_stopped",
            Self::CgroupEmpty => "cgroup_empty",
            Self::ExecEnd => "exec_end",
            Self::Logout | Self::Unspecified => "logout",
        }
    }
}

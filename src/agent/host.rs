//! Mode `host`: what an operator settles, and whether this machine can tell jobs apart at all.

use super::caller::{Hierarchy, HostRules, Process, Tree, TreeError};
use super::jobs::{Begun, Jobs, Tools};
use super::session_file::SessionFileError;
use std::io;
use tokio::sync::mpsc;

/// Where jobs are on this host, and what is accepted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostSettings {
    /// The tree of cgroups that tells them apart.
    pub hierarchy: Hierarchy,
    /// Where jobs are in it.
    pub rules: HostRules,
}

/// Why jobs cannot be told apart here.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The kernel does not say for certain who has connected.
    #[error(
        "this system cannot say for certain which process has connected; mode host needs Linux 6.5 or newer (SO_PEERPIDFD)"
    )]
    Peers(#[source] io::Error),
    /// The file of all sessions.
    #[error(transparent)]
    SessionFile(#[from] SessionFileError),
    /// The cgroups.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// The parts of mode `host`.
pub(super) struct Host {
    pub(super) jobs: Jobs,
    pub(super) begun: mpsc::Receiver<Begun>,
    pub(super) tools: Tools,
}

impl HostSettings {
    /// Looks at the machine, says aloud what is accepted, and goes on with the jobs of a former run.
    pub(super) fn open(self, tools: Tools) -> Result<Host, HostError> {
        Process::can_be_told().map_err(HostError::Peers)?;
        let tree = Tree::open(&self.hierarchy)?;
        let accepted = &self.rules.accepted;
        for (what, reason) in [
            ("callers in the host's pid namespace, which can reach into other jobs", &accepted.host_pid),
            ("privileged callers, which can enter other jobs", &accepted.privileged),
            (
                "cgroups that several jobs may share: the last login there speaks for all of them",
                &accepted.shared_cgroup,
            ),
        ] {
            if let Some(reason) = reason {
                tracing::warn!(reason, "accepted: {what}");
            }
        }
        let (jobs, begun) = Jobs::open((tree, self.rules), &tools)?;
        Ok(Host { jobs, begun, tools })
    }
}

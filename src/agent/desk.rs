//! Whom the sockets serve: what each mode makes of a connection, looked at anew for every call and every push.

use super::caller::{NotAJob, Process};
use super::jobs::Jobs;
use super::jwt_svids::JwtSvids;
use super::keeper::{Keeper, KeeperWatch};
use super::login_door::AgentHandle;
use super::places::Holder;
use std::sync::Arc;
use tokio::net::UnixStream;
use tonic::{Code, Status};

/// The text that clients look for.
pub(super) const NO_IDENTITY: &str = "no identity issued";

/// What one job has here.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) keeper: KeeperWatch,
    pub(super) jwt_svids: Arc<JwtSvids>,
    pub(super) agent: AgentHandle,
}

/// The jobs behind the sockets.
#[derive(Clone, Debug)]
pub(super) enum Desk {
    /// Every process that may ask is of the one job; processes of every user may unless one is named.
    OneJob { job: Job, keeper: Arc<Keeper>, only_uid: Option<u32> },
    /// A process's cgroup tells.
    Host(Jobs),
}

impl Desk {
    /// Looks at who has connected; once for each connection.
    pub(super) fn meet(&self, stream: &UnixStream) -> Guest {
        Guest(Arc::new(match self {
            Self::OneJob { job, only_uid, .. } => {
                let uid = stream.peer_cred().ok().map(|peer| peer.uid());
                Met::OneJob { job: job.clone(), admitted: may_ask(*only_uid, uid), holder: Holder::of(stream) }
            }
            Self::Host(jobs) => {
                let bound = Process::of(stream).and_then(|process| {
                    let (inode, _job) = jobs.job_of(&process)?;
                    Ok((process, inode))
                });
                Met::Host { jobs: jobs.clone(), bound }
            }
        }))
    }

    /// The process ends: whatever is served says so.
    pub(super) fn stop(&self) {
        match self {
            Self::OneJob { keeper, .. } => keeper.stop(),
            Self::Host(jobs) => jobs.stop(),
        }
    }
}

/// Whether a process of this uid may ask where only one may; a process that the system does not name may not.
fn may_ask(only_uid: Option<u32>, uid: Option<u32>) -> bool {
    only_uid.is_none_or(|only| uid == Some(only))
}

/// Whoever is at a connection's other end.
#[derive(Clone, Debug)]
pub(super) struct Guest(Arc<Met>);

#[derive(Debug)]
enum Met {
    OneJob {
        job: Job,
        admitted: bool,
        holder: Holder,
    },
    /// A connection is of one process in one job for good; whoever else comes to hold it gets nothing.
    Host {
        jobs: Jobs,
        bound: Result<(Process, u64), NotAJob>,
    },
}

impl Guest {
    /// The job of this guest, by what is so now.
    pub(super) fn job(&self) -> Result<Job, NotAJob> {
        match &*self.0 {
            Met::OneJob { job, admitted: true, .. } => Ok(job.clone()),
            Met::OneJob { admitted: false, .. } => Err(NotAJob::OtherUser),
            Met::Host { jobs, bound } => {
                let (process, bound_to) = bound.as_ref().map_err(Clone::clone)?;
                let (inode, job) = jobs.job_of(process)?;
                if inode == *bound_to { Ok(job) } else { Err(NotAJob::Moved) }
            }
        }
    }

    /// Whose share of the connections this one is.
    pub(super) fn holder(&self) -> Holder {
        match &*self.0 {
            Met::Host { bound: Ok((_process, inode)), .. } => Holder::Job(*inode),
            // All that are of no job have one share together.
            Met::Host { bound: Err(_), .. } => Holder::Unknown,
            Met::OneJob { holder, .. } => *holder,
        }
    }
}

impl NotAJob {
    /// The code of a refusal at the agent's own socket.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::OtherUser => "caller_not_admitted",
            Self::Gone | Self::Moved => "caller_changed",
            Self::TooMany(_) => "too_many_jobs",
            Self::AgentsOwn(_)
            | Self::Cgroup(_)
            | Self::HostPid
            | Self::OtherPids
            | Self::Privileged
            | Self::Shared(_)
            | Self::Unreadable { .. } => "caller_not_told_apart",
        }
    }
}

impl From<&NotAJob> for Status {
    fn from(why: &NotAJob) -> Self {
        let code = if matches!(why, NotAJob::TooMany(_)) { Code::Unavailable } else { Code::PermissionDenied };
        Self::new(code, format!("{NO_IDENTITY}: {why}"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::link::ServerLink;
    use super::*;
    use crate::clock::SystemClock;
    use tonic::transport::Endpoint;

    /// Serves whoever comes, with nothing.
    pub(in crate::agent) fn desk_for_all() -> Desk {
        let link = ServerLink::new(Endpoint::from_static("http://localhost").connect_lazy());
        let (keeper, (agent, _orders)) = (Arc::<Keeper>::default(), AgentHandle::pair());
        let jwt_svids = Arc::new(JwtSvids::new(link, Arc::new(SystemClock)));
        Desk::OneJob { job: Job { keeper: keeper.watch(), jwt_svids, agent }, keeper, only_uid: None }
    }

    /// Shows: EP-10.
    #[test]
    fn another_user_may_ask_only_where_everybody_may() {
        for (only_uid, uid, admitted) in [
            (None, Some(7), true),
            (None, None, true),
            (Some(7), Some(7), true),
            (Some(7), Some(8), false),
            (Some(7), Some(0), false),
            (Some(7), None, false),
        ] {
            assert_eq!(may_ask(only_uid, uid), admitted, "{only_uid:?} {uid:?}");
        }
    }
}

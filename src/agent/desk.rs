//! Whom the sockets serve: what each mode makes of a connection, looked at anew for every call and every push.

use super::caller::{NotAJob, Process};
use super::jobs::Jobs;
use super::jwt_svids::JwtSvids;
use super::keeper::Keeper;
use super::link::ServerLink;
use super::login_door::AgentHandle;
use super::newer_keys::NewerKeys;
use super::places::Holder;
use super::shown::Shown;
use super::turned_away::{Peer, TurnedAway};
use crate::clock::Clock;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::net::UnixStream;
use tonic::{Code, Status};

/// The text that clients look for.
pub(super) const NO_IDENTITY: &str = "no identity issued";

/// What one job has here.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) shown: Shown,
    pub(super) jwt_svids: Arc<JwtSvids>,
    pub(super) newer_keys: Arc<NewerKeys>,
    pub(super) agent: AgentHandle,
}

impl Job {
    pub(super) fn new(shown: Shown, (link, clock): (&ServerLink, &Arc<dyn Clock>), agent: AgentHandle) -> Self {
        let jwt_svids = Arc::new(JwtSvids::new(link.clone(), Arc::clone(clock)));
        Self { shown, jwt_svids, newer_keys: Arc::new(NewerKeys::new(link.clone(), Arc::clone(clock))), agent }
    }
}

/// The jobs behind the sockets, and who hears of those that are turned away.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    jobs: Served,
    turned_away: Arc<TurnedAway>,
}

#[derive(Clone, Debug)]
enum Served {
    /// A process's cgroup tells.
    Host(Jobs),
    /// Every process that may ask is of the one job.
    OneJob { job: Job, keeper: Arc<Keeper>, only: Users },
}

/// Whose processes may ask; everybody's where nobody is named.
pub(super) type Users = Option<BTreeSet<u32>>;

impl Desk {
    /// For one job.
    pub(super) fn one_job((job, keeper): (Job, Arc<Keeper>), only: Users, turned_away: TurnedAway) -> Self {
        Self { jobs: Served::OneJob { job, keeper, only }, turned_away: Arc::new(turned_away) }
    }

    /// For all jobs of a host.
    pub(super) fn host(jobs: Jobs, turned_away: TurnedAway) -> Self {
        Self { jobs: Served::Host(jobs), turned_away: Arc::new(turned_away) }
    }

    pub(super) const fn is_host(&self) -> bool {
        matches!(self.jobs, Served::Host(_))
    }

    /// Logs in and out of the one job.
    pub(super) fn handle(&self) -> Option<AgentHandle> {
        match &self.jobs {
            Served::Host(_) => None,
            Served::OneJob { job, .. } => Some(job.agent.clone()),
        }
    }

    /// Looks at who has connected; once for each connection.
    pub(super) fn meet(&self, stream: &UnixStream) -> Guest {
        let peer = Peer::of(stream);
        let met = match &self.jobs {
            Served::OneJob { job, only, .. } => {
                Met::OneJob { job: job.clone(), admitted: may_ask(only.as_ref(), peer.uid) }
            }
            Served::Host(jobs) => {
                let bound = Process::of(stream).and_then(|process| {
                    let (inode, _job) = jobs.job_of(&process)?;
                    Ok((process, inode))
                });
                Met::Host { jobs: jobs.clone(), bound }
            }
        };
        Guest { met: Arc::new(met), peer, turned_away: Arc::clone(&self.turned_away) }
    }

    /// The process ends: whatever is served says so.
    pub(super) fn stop(&self) {
        match &self.jobs {
            Served::Host(jobs) => jobs.stop(),
            Served::OneJob { keeper, .. } => keeper.stop(),
        }
    }
}

/// Whether a process of this uid may ask where only some may; a process that the system does not name may not.
fn may_ask(only: Option<&BTreeSet<u32>>, uid: Option<u32>) -> bool {
    only.is_none_or(|only| uid.is_some_and(|uid| only.contains(&uid)))
}

/// Whoever is at a connection's other end.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    met: Arc<Met>,
    peer: Peer,
    turned_away: Arc<TurnedAway>,
}

#[derive(Debug)]
enum Met {
    OneJob {
        job: Job,
        admitted: bool,
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
        self.met.job().inspect_err(|why| self.turned_away.count(self.peer, why))
    }

    /// Whose share of the connections this one is.
    pub(super) fn holder(&self) -> Holder {
        match &*self.met {
            Met::Host { bound: Ok((_process, inode)), .. } => Holder::Job(*inode),
            // All that are of no job have one share together.
            Met::Host { bound: Err(_), .. } => Holder::Unknown,
            Met::OneJob { .. } => Holder::of(self.peer),
        }
    }
}

impl Met {
    fn job(&self) -> Result<Job, NotAJob> {
        match self {
            Self::OneJob { job, admitted: true } => Ok(job.clone()),
            Self::OneJob { admitted: false, .. } => Err(NotAJob::OtherUser),
            Self::Host { jobs, bound } => {
                let (process, bound_to) = bound.as_ref().map_err(Clone::clone)?;
                let (inode, job) = jobs.job_of(process)?;
                if inode == *bound_to { Ok(job) } else { Err(NotAJob::Moved) }
            }
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
    use crate::telemetry::AgentMetrics;
    use tonic::transport::Endpoint;

    /// Serves whoever comes, with nothing.
    pub(in crate::agent) fn desk_for_all() -> Desk {
        let link = ServerLink::new(Endpoint::from_static("http://localhost").connect_lazy());
        let (keeper, (agent, _orders)) = (Arc::<Keeper>::default(), AgentHandle::pair());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let job = Job::new(Shown::new(keeper.watch(), None), (&link, &clock), agent);
        Desk::one_job((job, keeper), None, TurnedAway::new(clock, AgentMetrics::default()))
    }

    /// Shows: EP-10.
    #[test]
    fn another_user_may_ask_only_where_everybody_may() {
        let (seven, some) = (BTreeSet::from([7]), BTreeSet::from([7, 1337]));
        for (only, uid, admitted) in [
            (None, Some(7), true),
            (None, None, true),
            (Some(&seven), Some(7), true),
            (Some(&seven), Some(8), false),
            (Some(&seven), Some(0), false),
            (Some(&seven), None, false),
            (Some(&some), Some(1337), true),
            (Some(&some), Some(8), false),
        ] {
            assert_eq!(may_ask(only, uid), admitted, "{only:?} {uid:?}");
        }
    }
}

//! The decision: which cgroup is the job of a caller, or why it is of none. Whatever is not told apart is refused.

use super::cgroup_path::{CgroupPath, CgroupTextError};
use super::job_pattern::JobPattern;
use std::io::ErrorKind;

/// What an operator has accepted, each with the reason that was written down.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Accepted {
    /// Callers that see every process of the host.
    pub host_pid: Option<String>,
    /// Callers that could leave their container.
    pub privileged: Option<String>,
    /// Cgroups in which not one job is alone: all that is in such a one is one job.
    pub shared_cgroup: Option<String>,
}

/// What holds on this host.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HostRules {
    /// Where jobs are.
    pub jobs: Vec<JobPattern>,
    /// What is let through all the same.
    pub accepted: Accepted,
}

/// What the kernel says of a caller.
#[derive(Clone, Debug)]
pub(in crate::agent) struct Facts {
    pub(super) cgroup: CgroupPath,
    /// Whether it is in a pid namespace below the agent's.
    pub(super) own_pids: bool,
    /// Whether it has, or could get, powers over the host.
    pub(super) powerful: bool,
}

/// Why a caller is of no job, or not of the one that it was of.
#[derive(Clone, Debug, thiserror::Error)]
pub(in crate::agent) enum NotAJob {
    #[error("it is in the agent's own cgroup {0}; run the agent in a cgroup of its own")]
    AgentsOwn(CgroupPath),
    #[error("its cgroup cannot be told: {0}")]
    Cgroup(#[from] CgroupTextError),
    #[error("the process that connected is gone")]
    Gone,
    #[error(
        "it is in the host's pid namespace, so other jobs' processes are in its reach; run jobs in containers without --pid=host, or accept host_pid in the agent's configuration"
    )]
    HostPid,
    #[error("the process that connected is in another cgroup now")]
    Moved,
    #[error("it is in a pid namespace that the agent does not see; run the agent in the host's pid namespace")]
    OtherPids,
    #[error("its user is not one that this agent answers: its own in mode own-uid, those of uids in mode pod")]
    OtherUser,
    #[error(
        "it is privileged and could enter other jobs; run jobs without --privileged, or accept privileged in the agent's configuration"
    )]
    Privileged,
    #[error(
        "its cgroup {0} is not one that holds a single job; add its place to host.jobs, or accept shared_cgroup in the agent's configuration"
    )]
    Shared(CgroupPath),
    #[error("this agent serves {0} jobs already; try again when one has ended")]
    TooMany(usize),
    #[error("the agent cannot read {what}: {why}")]
    Unreadable { what: &'static str, why: ErrorKind },
}

/// The cgroup of the caller's job, with the agent's own cgroup in mind.
pub(in crate::agent) fn which_job(
    caller: &Facts,
    agent: &CgroupPath,
    rules: &HostRules,
) -> Result<CgroupPath, NotAJob> {
    let Accepted { host_pid, privileged, shared_cgroup } = &rules.accepted;
    let alone = rules.jobs.iter().find_map(|pattern| pattern.job_of(&caller.cgroup));
    let job = match (alone, shared_cgroup) {
        (Some(job), None) if job.contains(agent) => return Err(NotAJob::AgentsOwn(job)),
        (Some(job), _) => job,
        (None, Some(_reason)) => caller.cgroup.clone(),
        (None, None) => return Err(NotAJob::Shared(caller.cgroup.clone())),
    };
    match caller {
        Facts { own_pids: false, .. } if host_pid.is_none() => Err(NotAJob::HostPid),
        Facts { powerful: true, .. } if privileged.is_none() => Err(NotAJob::Privileged),
        Facts { .. } => Ok(job),
    }
}

#[cfg(test)]
mod tests {
    use super::super::cgroup_path::{Hierarchy, cgroup_of};
    use super::*;

    fn path(text: &str) -> CgroupPath {
        cgroup_of(format!("0::{text}").as_bytes(), &Hierarchy::V2).unwrap()
    }

    /// What `accepted` makes of a caller; the agent is in a container too.
    fn decided(cgroup: &str, own_pids: bool, powerful: bool, accepted: &[&str]) -> String {
        let reason = |name| accepted.contains(&name).then(|| "because".to_owned());
        let accepted = Accepted {
            host_pid: reason("host_pid"),
            privileged: reason("privileged"),
            shared_cgroup: reason("shared_cgroup"),
        };
        let rules = HostRules { jobs: vec!["/docker/*".parse().unwrap()], accepted };
        let caller = Facts { cgroup: path(cgroup), own_pids, powerful };
        match which_job(&caller, &path("/docker/agent/x"), &rules) {
            Ok(job) => job.to_string(),
            Err(NotAJob::AgentsOwn(_)) => "the agent's own".to_owned(),
            Err(NotAJob::HostPid) => "host pid".to_owned(),
            Err(NotAJob::Privileged) => "privileged".to_owned(),
            Err(NotAJob::Shared(_)) => "shared".to_owned(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn what_is_not_told_apart_is_refused_unless_that_very_thing_is_accepted() {
        for (cgroup, own_pids, powerful, accepted, expected) in [
            ("/docker/4f", true, false, [].as_slice(), "/docker/4f"),
            ("/docker/4f/init", true, false, &[], "/docker/4f"),
            ("/", true, false, &[], "shared"),
            ("/docker", true, false, &[], "shared"),
            ("/system.slice/gitlab-runner.service", false, true, &[], "shared"),
            ("/system.slice/gitlab-runner.service", false, true, &["shared_cgroup"], "host pid"),
            ("/system.slice/gitlab-runner.service", false, true, &["shared_cgroup", "host_pid"], "privileged"),
            (
                "/system.slice/gitlab-runner.service",
                false,
                true,
                &["shared_cgroup", "host_pid", "privileged"],
                "/system.slice/gitlab-runner.service",
            ),
            ("/", true, false, &["shared_cgroup"], "/"),
            ("/docker/agent/x", true, false, &[], "the agent's own"),
            ("/docker/agent/x", true, false, &["shared_cgroup"], "/docker/agent"),
            ("/docker/4f", false, false, &[], "host pid"),
            ("/docker/4f", false, false, &["privileged", "shared_cgroup"], "host pid"),
            ("/docker/4f", true, true, &[], "privileged"),
            ("/docker/4f", true, true, &["host_pid", "shared_cgroup"], "privileged"),
            ("/docker/4f", true, true, &["privileged"], "/docker/4f"),
        ] {
            assert_eq!(decided(cgroup, own_pids, powerful, accepted), expected, "{cgroup} {accepted:?}");
        }
    }
}

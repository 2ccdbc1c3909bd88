//! The `[host]` part of an agent's file: how many jobs are told apart, and what of it an operator does without, in writing.

use super::section::Section;
use crate::agent::{Accepted, Callers, Hierarchy, HostRules, HostSettings, JobPattern};

/// Reads `[host]`; what it needs of the other parts is told too.
pub(super) fn read_host(root: &mut Section<'_, '_>) -> Callers {
    for (key, instead) in [
        ("files", "these would be one job's; let each job run lanyard svid x509 --write"),
        ("token", "each job brings its own: leave it out, jobs log in on listen.agent"),
    ] {
        if root.holds(key) {
            root.problem(key, root.line_of(key), "given in mode host", instead);
        }
        root.skip(key);
    }
    let mut host = root.section("host");
    let hierarchy = host.parsed(
        "hierarchy",
        "\"v2\", or the version 1 hierarchy that containers are in by its name in /proc/PID/cgroup, such as \"pids\"",
        str::parse::<Hierarchy>,
    );
    let would_do = "the cgroups that hold one job each, such as [\"/docker/*\", \"/system.slice/docker-*.scope\"]";
    let (line, given) = (host.line_of("jobs"), host.holds("jobs"));
    let jobs = host.list("jobs", would_do, str::parse::<JobPattern>).unwrap_or_default();
    let accepted = read_accepted(host.section("accept"));
    if jobs.is_empty() && !given && accepted.shared_cgroup.is_none() {
        host.problem("jobs", line, "nothing", format!("write {would_do}"));
    }
    host.finish();
    let rules = HostRules { jobs, accepted };
    Callers::Jobs(HostSettings { hierarchy: hierarchy.unwrap_or(Hierarchy::V2), rules })
}

/// What is accepted, each with its reason for who reads it next.
fn read_accepted(mut accept: Section<'_, '_>) -> Accepted {
    let mut reason = |key| {
        let would_do = "in quotes why that is fine here, for who reads it next";
        accept.parsed(key, would_do, |text| if text.trim().is_empty() { Err("no reason") } else { Ok(text.to_owned()) })
    };
    let (host_pid, privileged) = (reason("host_pid"), reason("privileged"));
    let shared_cgroup = reason("shared_cgroup");
    accept.finish();
    Accepted { host_pid, privileged, shared_cgroup }
}

#[cfg(test)]
mod tests {
    use super::super::MapEnvironment;
    use super::super::agent::load_agent;
    use super::super::problem::Problem;
    use super::*;
    use crate::agent::{AgentSettings, OnStop};

    fn load(more: &str) -> Result<AgentSettings, Vec<Problem>> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("agent.toml");
        let head = "server = \"https://lanyard.test:8443\"\nmode = \"host\"\nstate_dir = \"/run/x\"\n\
                    [listen]\nworkload = \"/run/x/workload.sock\"\n";
        std::fs::write(&file, [head, more].concat()).unwrap();
        load_agent(&file, &MapEnvironment::default())
    }

    fn wrong(more: &str) -> Vec<String> {
        load(more).unwrap_err().into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn jobs_are_where_the_operator_says_and_a_signal_is_a_restart() {
        let settings = load("agent = \"/run/x/agent.sock\"\n[host]\njobs = [\"/docker/*\"]").unwrap();
        let Callers::Jobs(host) = settings.callers else { panic!("mode host") };
        assert_eq!(host.hierarchy, Hierarchy::V2);
        assert_eq!(host.rules, HostRules { jobs: vec!["/docker/*".parse().unwrap()], accepted: Accepted::default() });
        assert_eq!(settings.on_stop, OnStop::KeepSession);
    }

    #[test]
    fn what_a_host_cannot_do_is_told_by_its_key() {
        let door = "agent = \"/run/x/agent.sock\"\n";
        let host = |text: &str| wrong(&format!("{door}[host]\n{text}"));
        assert_eq!(host(""), ["host.jobs"]);
        assert_eq!(host("jobs = [\"/docker\"]"), ["host.jobs"]);
        assert_eq!(host("jobs = \"/docker/*\"\n[host.accept]\nprivileged = \" \""), ["host.accept.privileged"]);
        assert_eq!(host("jobs = \"/docker/*\"\n[files]\nfolder = \"x\"\n[token]\nfile = \"t\""), ["files", "token"]);
        assert_eq!(wrong("[host]\njobs = \"/docker/*\""), ["listen.agent"]);
        load(&format!("{door}[host.accept]\nshared_cgroup = \"one user's shell executor\"")).unwrap();
    }
}

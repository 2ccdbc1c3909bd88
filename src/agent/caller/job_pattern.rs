//! Where an operator says that jobs are: cgroups of which each holds one job, with all below it.

use super::cgroup_path::CgroupPath;
use std::str::FromStr;

/// A path in which `*` stands for any text within a name, at most once in each: `/system.slice/docker-*.scope`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JobPattern(Vec<Name>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Name {
    Exactly(String),
    Around(String, String),
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoPattern {
    /// Not a path from the root.
    #[error("it must be a path from the hierarchy's root, such as /docker/*")]
    NoPath,
    /// One cgroup for all jobs.
    #[error("its last name has no *: it would be one cgroup for all jobs")]
    OneForAll,
    /// More stars than we look for.
    #[error("a name holds * twice")]
    Stars,
}

impl FromStr for JobPattern {
    type Err = NoPattern;

    fn from_str(text: &str) -> Result<Self, NoPattern> {
        let names = text.strip_prefix('/').ok_or(NoPattern::NoPath)?.split('/');
        let names = names.map(str::parse).collect::<Result<Vec<Name>, _>>()?;
        if !matches!(names.last(), Some(Name::Around(..))) {
            return Err(NoPattern::OneForAll);
        }
        Ok(Self(names))
    }
}

impl FromStr for Name {
    type Err = NoPattern;

    fn from_str(text: &str) -> Result<Self, NoPattern> {
        match text.split_once('*') {
            _ if matches!(text, "" | "." | "..") => Err(NoPattern::NoPath),
            None => Ok(Self::Exactly(text.to_owned())),
            Some((_, behind)) if behind.contains('*') => Err(NoPattern::Stars),
            Some((before, behind)) => Ok(Self::Around(before.to_owned(), behind.to_owned())),
        }
    }
}

impl Name {
    fn is(&self, name: &str) -> bool {
        match self {
            Self::Exactly(wanted) => name == wanted,
            Self::Around(before, behind) => {
                name.strip_prefix(before.as_str()).is_some_and(|rest| rest.ends_with(behind.as_str()))
            }
        }
    }
}

impl JobPattern {
    /// The job's cgroup on the way to this one, if there is one.
    pub(super) fn job_of(&self, cgroup: &CgroupPath) -> Option<CgroupPath> {
        let mut names = cgroup.names();
        let fits = self.0.iter().all(|wanted| names.next().is_some_and(|name| wanted.is(name)));
        fits.then(|| cgroup.first(self.0.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::cgroup_path::{Hierarchy, cgroup_of};
    use super::*;

    #[test]
    fn a_job_is_the_cgroup_that_fits_whatever_is_below_it() {
        for (pattern, cgroup, job) in [
            ("/docker/*", "/docker/4f", Some("/docker/4f")),
            ("/docker/*", "/docker/4f/init/docker/5a", Some("/docker/4f")),
            ("/docker/*", "/docker", None),
            ("/docker/*", "/dockers/4f", None),
            ("/docker/*", "/x/docker/4f", None),
            ("/system.slice/docker-*.scope", "/system.slice/docker-4f.scope", Some("/system.slice/docker-4f.scope")),
            ("/system.slice/docker-*.scope", "/system.slice/docker.service", None),
            ("/*/pod*", "/burst/pod7/c", Some("/burst/pod7")),
            (
                "/kubepods.slice/kubepods-pod*.slice",
                "/kubepods.slice/kubepods-pod7f_1c.slice/cri-containerd-4f.scope",
                Some("/kubepods.slice/kubepods-pod7f_1c.slice"),
            ),
            (
                "/kubepods.slice/*/kubepods-burstable-pod*.slice",
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod7f_1c.slice/cri-containerd-4f.scope",
                Some("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod7f_1c.slice"),
            ),
            ("/kubepods.slice/*/kubepods-burstable-pod*.slice", "/kubepods.slice/kubepods-burstable.slice", None),
            ("/a*a", "/a", None),
        ] {
            let cgroup = cgroup_of(format!("0::{cgroup}").as_bytes(), &Hierarchy::V2).unwrap();
            let found = pattern.parse::<JobPattern>().unwrap().job_of(&cgroup);
            assert_eq!(found.as_ref().map(CgroupPath::as_str), job, "{pattern} {cgroup}");
        }
    }

    #[test]
    fn a_pattern_that_would_put_all_jobs_into_one_is_none() {
        for (text, error) in [
            ("/docker", NoPattern::OneForAll),
            ("/docker*/x", NoPattern::OneForAll),
            ("/", NoPattern::NoPath),
            ("/docker/", NoPattern::NoPath),
            ("docker/*", NoPattern::NoPath),
            ("/../*", NoPattern::NoPath),
            ("/docker/*-*", NoPattern::Stars),
            ("/kubepods.slice/*/kubepods-*-pod*.slice", NoPattern::Stars),
        ] {
            assert_eq!(text.parse::<JobPattern>(), Err(error), "{text}");
        }
    }
}

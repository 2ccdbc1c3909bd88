//! A process's cgroup as `/proc/PID/cgroup` names it (cgroups(7)): one line for each hierarchy, `ID:NAMES:PATH`.
//!
//! The kernel lets no newline into a cgroup's name, so nobody can write a line of their own; colons stay in the path.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// A dozen hierarchies, each with a path of a hundred bytes or two.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// As long as any path of Linux (`PATH_MAX`).
const PATH_BYTES_MAX: usize = 4096;

/// What the kernel appends to the path of a cgroup that has been removed.
const REMOVED: &str = " (deleted)";

/// Which of the machine's trees of cgroups tells jobs apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Hierarchy {
    /// One of version 1, by a name that it has in `/proc/PID/cgroup`: `pids`, or `name=systemd`.
    V1(String),
    /// The only one of version 2.
    V2,
}

impl FromStr for Hierarchy {
    type Err = Infallible;

    fn from_str(name: &str) -> Result<Self, Infallible> {
        Ok(if name == "v2" { Self::V2 } else { Self::V1(name.to_owned()) })
    }
}

impl fmt::Display for Hierarchy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V1(name) => write!(f, "cgroup v1 {name}"),
            Self::V2 => f.write_str("cgroup v2"),
        }
    }
}

impl Hierarchy {
    /// Whether a line begins so (cgroups(7)): version 2 is number 0 and has no names.
    fn begins(&self, id: &[u8], names: &[u8]) -> bool {
        match self {
            Self::V1(wanted) => id != b"0" && names.split(|byte| *byte == b',').any(|name| name == wanted.as_bytes()),
            Self::V2 => id == b"0" && names.is_empty(),
        }
    }
}

/// Why a text names no cgroup.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CgroupTextError {
    /// No line of this hierarchy.
    #[error("it is in no cgroup of this hierarchy")]
    Absent,
    /// A line that is none.
    #[error("a line is not ID:NAMES:PATH")]
    Line,
    /// Above the root of the agent's cgroup namespace.
    #[error("its cgroup is outside of the agent's cgroup namespace; run the agent in the host's")]
    Outside,
    /// Not a path from the root.
    #[error("its cgroup is no path")]
    Path,
    /// A cgroup that is no more.
    #[error("its cgroup has been removed")]
    Removed,
    /// Larger than the kernel writes it.
    #[error("the list of its cgroups has {0} bytes")]
    TooLong(usize),
    /// Two lines of one hierarchy.
    #[error("it is in two cgroups of one hierarchy")]
    Twice,
}

/// The path of a cgroup below its hierarchy's root: `/` or `/a/b`, without `.` and `..`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct CgroupPath(String);

impl CgroupPath {
    fn parse(path: &[u8]) -> Result<Self, CgroupTextError> {
        let path = str::from_utf8(path).map_err(|_not_text| CgroupTextError::Path)?;
        let below = path.strip_prefix('/').filter(|_| path.len() <= PATH_BYTES_MAX).ok_or(CgroupTextError::Path)?;
        if path.ends_with(REMOVED) {
            return Err(CgroupTextError::Removed);
        }
        if below.split('/').any(|name| name == "..") {
            return Err(CgroupTextError::Outside);
        }
        let is_name = |name: &str| !name.is_empty() && name != "." && !name.contains(char::is_control);
        if below.is_empty() || below.split('/').all(is_name) {
            return Ok(Self(path.to_owned()));
        }
        Err(CgroupTextError::Path)
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0 == "/"
    }

    /// The names from the root down.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').skip(1).filter(|name| !name.is_empty())
    }

    /// Whether the other one is this or below it.
    pub fn contains(&self, other: &Self) -> bool {
        let mut names = other.names();
        self.names().all(|name| names.next() == Some(name))
    }

    /// The cgroup so many names below the root, on the way to this one.
    pub(super) fn first(&self, names: usize) -> Self {
        Self(self.names().take(names).fold(String::new(), |path, name| path + "/" + name))
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The cgroup that a process has in one hierarchy, by the text of its `/proc/PID/cgroup`.
///
/// # Errors
/// When the text names none, or not exactly one that can be found from here.
pub fn cgroup_of(text: &[u8], hierarchy: &Hierarchy) -> Result<CgroupPath, CgroupTextError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(CgroupTextError::TooLong(text.len()));
    }
    let mut found = None;
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let mut fields = line.splitn(3, |byte| *byte == b':');
        let (Some(id), Some(names), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(CgroupTextError::Line);
        };
        if hierarchy.begins(id, names) && found.replace(path).is_some() {
            return Err(CgroupTextError::Twice);
        }
    }
    CgroupPath::parse(found.ok_or(CgroupTextError::Absent)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &[u8] =
        b"9:name=systemd:/\n8:pids:/docker/4f\n3:cpu,cpuacct:/a:b\n0::/system.slice/docker-4f.scope/x\n";

    #[test]
    fn each_hierarchy_has_its_own_line() {
        for (hierarchy, path) in [
            ("v2", Ok("/system.slice/docker-4f.scope/x")),
            ("pids", Ok("/docker/4f")),
            ("cpuacct", Ok("/a:b")),
            ("name=systemd", Ok("/")),
            ("memory", Err(CgroupTextError::Absent)),
            ("", Err(CgroupTextError::Absent)),
        ] {
            let found = cgroup_of(HYBRID, &hierarchy.parse().unwrap());
            assert_eq!(found.as_ref().map(CgroupPath::as_str).map_err(|error| *error), path, "{hierarchy}");
        }
    }

    #[test]
    fn what_cannot_be_found_from_here_is_no_cgroup() {
        for (text, error) in [
            ("", CgroupTextError::Absent),
            ("0::", CgroupTextError::Path),
            ("0::a", CgroupTextError::Path),
            ("0::/a//b", CgroupTextError::Path),
            ("0::/a/", CgroupTextError::Path),
            ("0::/a/./b", CgroupTextError::Path),
            ("0::/../../docker/4f", CgroupTextError::Outside),
            ("0::/docker/4f (deleted)", CgroupTextError::Removed),
            ("0::/a\n0::/b", CgroupTextError::Twice),
            ("0::/a\nb", CgroupTextError::Line),
        ] {
            assert_eq!(cgroup_of(text.as_bytes(), &Hierarchy::V2), Err(error), "{text}");
        }
        let long = [b"0::/".as_slice(), &[b'a'; PATH_BYTES_MAX]].concat();
        assert_eq!(cgroup_of(&long, &Hierarchy::V2), Err(CgroupTextError::Path));
        let long = vec![b'\n'; TEXT_BYTES_MAX + 1];
        assert_eq!(cgroup_of(&long, &Hierarchy::V2), Err(CgroupTextError::TooLong(TEXT_BYTES_MAX + 1)));
    }

    #[test]
    fn a_cgroup_contains_what_is_below_it_and_no_namesake() {
        let path = |text: &str| CgroupPath::parse(text.as_bytes()).unwrap();
        for (above, below, contains) in
            [("/", "/a", true), ("/a", "/a", true), ("/a", "/a/b", true), ("/a", "/ab", false), ("/a/b", "/a", false)]
        {
            assert_eq!(path(above).contains(&path(below)), contains, "{above} {below}");
        }
        assert_eq!(path("/a/b/c").first(2), path("/a/b"));
    }
}

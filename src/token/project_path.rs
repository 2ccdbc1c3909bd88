//! Paths of groups and projects, which GitLab writes in ASCII and compares without case.

/// Whether a path is below a group's, at whatever depth.
pub fn is_under(path: &str, group: &str) -> bool {
    let split = path.split_at_checked(group.len());
    split.is_some_and(|(above, below)| above.eq_ignore_ascii_case(group) && below.starts_with('/'))
}

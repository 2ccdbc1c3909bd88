//! What whoever renders knows of projects and groups beside what the rules say: which path an id has.

use crate::policy::{Condition, Test};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A project that is asked for: `4711`, `acme/payments/api`, or both as `4711=acme/payments/api`.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Project {
    /// Its id, if known.
    pub id: Option<u64>,
    /// Its path, if known.
    pub path: Option<String>,
}

/// A group and its path, `812=acme/payments`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Group {
    /// Its id.
    pub id: u64,
    /// Its path.
    pub path: String,
}

/// What is known.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Known {
    /// Only these projects are rendered, if any are named.
    pub projects: Vec<Project>,
    /// Paths of groups by id.
    pub groups: BTreeMap<u64, String>,
}

/// A text that names no project or group.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotKnown {
    /// Not `ID=PATH`.
    #[error("write a group with its path, as 812=acme/payments")]
    Group,
    /// None of the three forms.
    #[error("write a project as acme/payments/api, as 4711, or with both as 4711=acme/payments/api")]
    Project,
}

fn id(text: &str) -> Option<u64> {
    text.parse().ok().filter(|id| *id > 0)
}

fn path(text: &str) -> Option<String> {
    let legal = |segment: &str| !segment.is_empty() && segment != "-" && !segment.contains('*');
    text.split('/').all(legal).then(|| text.to_owned())
}

impl FromStr for Project {
    type Err = NotKnown;

    fn from_str(text: &str) -> Result<Self, NotKnown> {
        let (id_text, path_text) = match text.split_once('=') {
            Some((id, path)) => (Some(id), Some(path)),
            None if text.contains('/') => (None, Some(text)),
            None => (Some(text), None),
        };
        let read_id = id_text.map(|text| id(text).ok_or(NotKnown::Project)).transpose()?;
        let is_project = |path: &String| path.contains('/');
        let read_path = path_text.map(|text| path(text).filter(is_project).ok_or(NotKnown::Project)).transpose()?;
        Ok(Self { id: read_id, path: read_path })
    }
}

impl FromStr for Group {
    type Err = NotKnown;

    fn from_str(text: &str) -> Result<Self, NotKnown> {
        let read = text.split_once('=').and_then(|(group, at)| Some(Self { id: id(group)?, path: path(at)? }));
        read.ok_or(NotKnown::Group)
    }
}

impl fmt::Display for Project {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.id, &self.path) {
            (Some(id), Some(path)) => write!(f, "{id}={path}"),
            (Some(id), None) => id.fmt(f),
            (None, path) => f.write_str(path.as_deref().unwrap_or_default()),
        }
    }
}

impl Known {
    /// What is true of whoever is right below this path.
    pub(super) fn of_namespace(&self, path: &str) -> Vec<Condition> {
        let by_path = Condition::unwritten("namespace_path", Test::Text(path.to_owned()));
        let by_id = self.groups.iter().map(|(id, known)| {
            let is = Condition::unwritten("namespace_id", Test::Id(*id));
            if known == path { is } else { Condition::Not(Box::new(is)) }
        });
        std::iter::once(by_path).chain(by_id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projects_and_groups_are_read_as_they_are_told() {
        for (text, id, path) in [
            ("acme/api", None, Some("acme/api")),
            ("4711", Some(4711), None),
            ("4711=acme/payments/api", Some(4711), Some("acme/payments/api")),
        ] {
            let project: Project = text.parse().unwrap();
            assert_eq!((project.id, project.path.as_deref(), project.to_string().as_str()), (id, path, text));
        }
        for text in
            ["", "acme", "0", "4711=", "=acme/api", "4711=api", "acme//api", "acme/*", "acme/-/api", "x=acme/api"]
        {
            assert_eq!(text.parse::<Project>(), Err(NotKnown::Project), "{text}");
        }
        assert_eq!("812=acme".parse(), Ok(Group { id: 812, path: "acme".to_owned() }));
        assert_eq!("acme=812".parse::<Group>(), Err(NotKnown::Group));
    }
}

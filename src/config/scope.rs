//! The `scope` of a policy file: whose jobs its rules may decide about, whatever they say.

use super::conditions::id;
use super::section::Section;
use super::words::an;
use crate::policy::{Condition, Test};
use std::fmt;

pub(super) const SCOPE: &str =
    "{ namespaces = [\"acme/payments\"] }, { projects = [\"acme/payments/api\"] }, both, or \"everything\"";

/// Projects and namespaces, by path or by id; a namespace's path holds all below it, its id its own projects only.
#[derive(Debug, Default)]
pub(super) struct Scope {
    namespaces: Vec<String>,
    namespace_ids: Vec<u64>,
    projects: Vec<String>,
    project_ids: Vec<u64>,
}

impl Scope {
    /// Reads `scope`: `"everything"`, which limits nothing, or a table of paths and ids.
    pub(super) fn read(root: &mut Section<'_, '_>) -> Option<Self> {
        let (line, before) = (root.line_of("scope")?, root.problems_so_far());
        if root.holds_text("scope") {
            root.parsed("scope", SCOPE, |text| if text == "everything" { Ok(()) } else { Err("no scope") });
            return None;
        }
        let mut table = root.section("scope");
        let namespaces = table.list("namespaces", "a namespace's path, such as \"acme/payments\"", path);
        let projects = table.list("projects", "a project's path, such as \"acme/payments/api\"", path);
        let scope = Self {
            namespaces: namespaces.unwrap_or_default(),
            projects: projects.unwrap_or_default(),
            namespace_ids: read_ids(&mut table, "namespace_ids"),
            project_ids: read_ids(&mut table, "project_ids"),
        };
        table.finish();
        if root.problems_so_far() > before {
            // Rules held against half a scope would have false problems.
            return None;
        }
        if scope.to_string().is_empty() {
            root.problem("scope", Some(line), "nothing, so that no rule could stay inside", format!("write {SCOPE}"));
            return None;
        }
        Some(scope)
    }

    /// Whether terms that all must hold can only hold inside.
    pub(super) fn holds(&self, when: &[Condition]) -> bool {
        when.iter().any(|term| self.confines(term))
    }

    fn confines(&self, term: &Condition) -> bool {
        match term {
            Condition::All(all) => self.holds(all),
            Condition::Any(some) => !some.is_empty() && some.iter().all(|one| self.confines(one)),
            Condition::Claim { name, test, .. } => self.confines_claim(name, test),
            Condition::Not(_) => false,
        }
    }

    fn confines_claim(&self, name: &str, test: &Test) -> bool {
        match (name, test) {
            (_, Test::OneOf { tests, .. }) => tests.iter().all(|test| self.confines_claim(name, test)),
            ("project_id", Test::Id(id)) => self.project_ids.contains(id),
            ("namespace_id", Test::Id(id)) => self.namespace_ids.contains(id),
            ("project_path", Test::Text(path)) => self.projects.contains(path) || self.is_below(path),
            ("namespace_path", Test::Text(path)) => self.namespaces.contains(path) || self.is_below(path),
            ("project_path" | "namespace_path", Test::Glob(glob)) => self.is_below(glob.literal_prefix()),
            ("project_path" | "namespace_path", Test::Prefix(prefix)) => self.is_below(prefix),
            _ => false,
        }
    }

    /// Whether all paths that begin so are below one of the namespaces.
    fn is_below(&self, begins: &str) -> bool {
        self.namespaces.iter().any(|space| begins.strip_prefix(space).is_some_and(|rest| rest.starts_with('/')))
    }

    /// A term that stays inside.
    pub(super) fn example(&self) -> String {
        let id = |claim: &str, ids: &[u64]| ids.first().map(|id| format!("{claim} = {id}"));
        let namespace = self.namespaces.first().map(|space| format!("project_path = \"{space}/**\""));
        let by_path = namespace.or_else(|| self.projects.first().map(|path| format!("project_path = \"{path}\"")));
        let by_id = || id("namespace_id", &self.namespace_ids).or_else(|| id("project_id", &self.project_ids));
        by_path.or_else(by_id).unwrap_or_default()
    }
}

/// As a person reads it.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = self.namespaces.iter().map(|space| format!("{space}/**"));
        let namespaces = self.namespace_ids.iter().map(|id| format!("namespace {id}"));
        let projects = self.project_ids.iter().map(|id| format!("project {id}"));
        let all: Vec<String> = below.chain(self.projects.iter().cloned()).chain(namespaces).chain(projects).collect();
        f.write_str(&all.join(", "))
    }
}

fn path(text: &str) -> Result<String, &'static str> {
    let is_name = |name: &str| !name.is_empty() && !name.contains('*') && !name.starts_with('@');
    if text.split('/').all(is_name) { Ok(text.to_owned()) } else { Err("no path of names") }
}

fn read_ids(table: &mut Section<'_, '_>, key: &'static str) -> Vec<u64> {
    table
        .values(key)
        .into_iter()
        .filter_map(|(line, value)| {
            let read = id(&value);
            if read.is_none() {
                table.problem(key, Some(line), an(&value), "write ids as numbers, without quotes, such as [812]");
            }
            read
        })
        .collect()
}

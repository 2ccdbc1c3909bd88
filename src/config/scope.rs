//! The `scope` of a policy file: whose jobs its rules may decide about, whatever they say.

use super::conditions::id;
use super::issuer::KnownIssuer;
use super::section::Section;
use super::words::an;
use crate::policy::{Condition, Test};
use std::fmt;

pub(super) const SCOPE: &str =
    "{ namespaces = [\"acme/payments\"] }, { projects = [\"acme/payments/api\"] }, both, or \"everything\"";

/// Projects and namespaces, by path or by id, of some issuers; a namespace's path holds all below it, its id its own
/// projects only. Without any, all that those issuers say is inside.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// Empty where the server has but one, or nobody knows how many.
    issuers: Vec<String>,
    namespaces: Vec<String>,
    namespace_ids: Vec<u64>,
    projects: Vec<String>,
    project_ids: Vec<u64>,
}

impl Scope {
    /// Reads `scope`: `"everything"`, which limits nothing, or a table of issuers, paths and ids.
    pub(super) fn read(root: &mut Section<'_, '_>, known: &[KnownIssuer]) -> Option<Self> {
        let (line, before) = (root.line_of("scope")?, root.problems_so_far());
        if root.holds_text("scope") {
            root.parsed("scope", SCOPE, |text| if text == "everything" { Ok(()) } else { Err("no scope") });
            return None;
        }
        let mut table = root.section("scope");
        let namespaces = table.list("namespaces", "a namespace's path, such as \"acme/payments\"", path);
        let projects = table.list("projects", "a project's path, such as \"acme/payments/api\"", path);
        let scope = Self {
            issuers: read_issuers(&mut table, known),
            namespaces: namespaces.unwrap_or_default(),
            projects: projects.unwrap_or_default(),
            namespace_ids: read_ids(&mut table, "namespace_ids"),
            project_ids: read_ids(&mut table, "project_ids"),
        };
        scope.check_whose(&table, known);
        table.finish();
        if root.problems_so_far() > before {
            // Rules held against half a scope would have false problems.
            return None;
        }
        if scope.issuers.is_empty() && scope.names_no_place() {
            root.problem("scope", Some(line), "nothing, so that no rule could stay inside", format!("write {SCOPE}"));
            return None;
        }
        Some(scope)
    }

    /// Whether terms that all must hold can only hold inside.
    pub(super) fn holds(&self, when: &[Condition]) -> bool {
        let of_issuers = self.issuers.is_empty() || confined(when, &|name, test| self.confines_issuer(name, test));
        let in_places = self.names_no_place() || confined(when, &|name, test| self.confines_claim(name, test));
        of_issuers && in_places
    }

    /// Where several issuers can call theirs so, it is said whose places are meant.
    fn check_whose(&self, table: &Section<'_, '_>, known: &[KnownIssuer]) {
        let is_said = self.names_no_place() || !self.issuers.is_empty() || table.line_of("issuers").is_some();
        if let ([_, _, ..], false) = (known, is_said) {
            let names: Vec<&str> = known.iter().map(|issuer| &*issuer.name.0).collect();
            let found =
                "nothing, while several issuers can each have projects and namespaces of these names and numbers";
            let remedy = format!("write whose they are: issuers = [\"…\"], of {}", names.join(", "));
            table.problem("issuers", None, found, remedy);
        }
    }

    const fn names_no_place(&self) -> bool {
        let by_path = self.namespaces.is_empty() && self.projects.is_empty();
        by_path && self.namespace_ids.is_empty() && self.project_ids.is_empty()
    }

    fn confines_issuer(&self, name: &str, test: &Test) -> bool {
        match (name, test) {
            ("issuer", Test::OneOf { tests, .. }) => tests.iter().all(|test| self.confines_issuer(name, test)),
            ("issuer", Test::Text(issuer)) => self.issuers.contains(issuer),
            _ => false,
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

    /// Terms that stay inside.
    pub(super) fn example(&self) -> String {
        let issuer = self.issuers.first().map(|name| format!("issuer = \"{name}\""));
        let place = Some(self.example_of_place()).filter(|place| !place.is_empty());
        issuer.into_iter().chain(place).collect::<Vec<_>>().join(" and ")
    }

    fn example_of_place(&self) -> String {
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
        f.write_str(&all.join(", "))?;
        match self.issuers.as_slice() {
            [] => Ok(()),
            some if all.is_empty() => write!(f, "all of issuer {}", some.join(" and ")),
            some => write!(f, " of issuer {}", some.join(" and ")),
        }
    }
}

/// Whether terms that all must hold rest on a claim that confines them.
fn confined(when: &[Condition], claim: &impl Fn(&str, &Test) -> bool) -> bool {
    when.iter().any(|term| match term {
        Condition::All(all) => confined(all, claim),
        Condition::Any(some) => !some.is_empty() && some.iter().all(|one| confined(std::slice::from_ref(one), claim)),
        Condition::Claim { name, test, .. } => claim(name, test),
        Condition::Not(_) => false,
    })
}

/// Whose projects and namespaces are meant.
fn read_issuers(table: &mut Section<'_, '_>, known: &[KnownIssuer]) -> Vec<String> {
    let names: Vec<&str> = known.iter().map(|issuer| &*issuer.name.0).collect();
    let is_known = |name: &str| names.is_empty() || names.contains(&name);
    let one_of = format!("the short name of an issuer, one of: {}", names.join(", "));
    let would_do = if names.is_empty() { "the short name of an issuer, such as \"corp\"" } else { &one_of };
    let (line, before) = (table.line_of("issuers"), table.problems_so_far());
    let issuers =
        table.list(
            "issuers",
            would_do,
            |name| {
                if is_known(name) { Ok(name.to_owned()) } else { Err("no configured issuer") }
            },
        );
    if issuers.as_ref().is_some_and(Vec::is_empty) && table.problems_so_far() == before {
        table.problem("issuers", line, "no name in it", "name at least one issuer");
    }
    issuers.unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::super::{Lifetimes, Problem, check_policy};
    use super::*;
    use crate::token::{IssuerKind, IssuerName};

    /// What is said of a folder's only file with this scope, for a server with these issuers.
    fn said(issuers: &[&str], scope: &str, when: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let known = |name: &&str| KnownIssuer {
            name: IssuerName((*name).into()),
            kind: IssuerKind::GitLab,
            url: format!("https://{name}.example"),
            facts: Vec::new(),
            groups: None,
        };
        let rule = "[[rule]]\nname = \"a\"\nid = \"/{project_path}/-/a\"";
        let text = format!("owner = \"pay\"\nscope = {scope}\n{rule}\nwhen = {{ {when} }}\n");
        std::fs::write(folder.path().join("10-pay.toml"), text).unwrap();
        let known: Vec<_> = issuers.iter().map(known).collect();
        let told = |problems: Vec<Problem>| problems.iter().map(|one| format!("{}: {}", one.key, one.found)).collect();
        check_policy(folder.path(), &known, Lifetimes::SVID).map_or_else(told, |_loads| Vec::new())
    }

    #[test]
    fn a_scope_is_of_some_issuers_where_there_are_several() {
        let (one, both) = (&["corp"][..], &["corp", "com"][..]);
        let (plain, of_corp) = ("{ project_ids = [7] }", "{ project_ids = [7], issuers = [\"corp\"] }");
        let (at_corp, at_com) = ("issuer = \"corp\", project_id = 7", "issuer = \"com\", project_id = 7");
        for (issuers, scope, when, told) in [
            (one, plain, at_corp, ""),
            (one, of_corp, at_corp, ""),
            (&[], plain, at_com, ""),
            (&[], of_corp, at_com, "outside the file's scope (project 7 of issuer corp)"),
            (both, plain, at_corp, "scope.issuers: nothing, while several issuers"),
            (both, of_corp, at_corp, ""),
            (both, of_corp, at_com, "outside the file's scope (project 7 of issuer corp)"),
            (both, of_corp, "issuer = \"corp\", project_id = 8", "outside the file's scope"),
            (both, "{ issuers = \"com\" }", at_com, ""),
            (both, "{ issuers = \"com\" }", at_corp, "outside the file's scope (all of issuer com)"),
            (both, "{ issuers = [\"com\", \"corp\"], project_ids = 7 }", at_corp, ""),
            (both, "{ issuers = [\"lab\"], project_ids = 7 }", at_corp, "no configured issuer"),
            (both, "\"everything\"", at_corp, ""),
        ] {
            let said = said(issuers, scope, when);
            assert_eq!(said.is_empty(), told.is_empty(), "{scope} {when}: {said:#?}");
            assert!(said.iter().all(|line| line.contains(told)), "{scope} {when}: {said:#?}");
        }
    }
}

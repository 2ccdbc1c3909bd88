//! `when`, `unless` and lists of a policy file: from TOML to typed tests, each claim with the values it can have.

use super::section::Section;
use super::words::{an, did_you_mean, key};
use crate::policy::{Condition, Glob, Test};
use crate::token::{ACTOR_KINDS, ClaimKind, ClaimView, KNOWN_CLAIMS, actor_kinds, claim_kind};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Deeper nesting cannot be read by the person who has to approve it.
pub(super) const DEPTH_MAX: usize = 3;

/// How many lists are named to somebody who named none of them.
const LISTS_NAMED_MAX: usize = 20;

/// `[lists]`, by name.
#[derive(Debug, Default)]
pub(super) struct Lists(BTreeMap<String, List>);

#[derive(Debug)]
struct List {
    line: usize,
    tests: Arc<[Test]>,
    used: Cell<bool>,
}

impl Lists {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let mut lists = BTreeMap::new();
        for (line, name, value) in section.entries() {
            let items = value.get_ref().as_array();
            let tests: Option<Arc<[Test]>> =
                items.and_then(|array| array.iter().map(|item| list_item(item.get_ref())).collect());
            match tests {
                Some(tests) if !tests.is_empty() => {
                    lists.insert(name, List { line, tests, used: Cell::new(false) });
                }
                _ => {
                    let found = match items {
                        Some(items) if items.is_empty() => "an empty list".to_owned(),
                        Some(_) => "a list of other things than texts and ids".to_owned(),
                        None => an(value.get_ref()),
                    };
                    let remedy =
                        "write a list of texts or of ids, such as [\"acme/payments/**\"], with at least one entry";
                    section.problem(&name, Some(line), found, remedy);
                }
            }
        }
        Self(lists)
    }

    /// Warns of lists that no rule of the file has asked for.
    pub(super) fn report_unused(&self, root: &Section<'_, '_>) {
        for (name, list) in self.0.iter().filter(|(_, list)| !list.used.get()) {
            let found = "no rule of this file reads it, so that whoever adds to it lets nobody in and keeps nobody out";
            let remedy = format!("write \"@{name}\" where it is meant, or remove it");
            root.warning(&format!("lists.{name}"), Some(list.line), found, remedy);
        }
    }

    fn get(&self, name: &str) -> Option<&Arc<[Test]>> {
        let list = self.0.get(name)?;
        list.used.set(true);
        Some(&list.tests)
    }
}

fn list_item(value: &DeValue<'_>) -> Option<Test> {
    let text = value.as_str().filter(|text| !text.starts_with('@'));
    text.map(pattern).or_else(|| id(value).map(Test::Id))
}

/// The terms of one table; what is wrong with them is reported and left out.
pub(super) fn read_terms(section: &mut Section<'_, '_>, lists: &Lists) -> Vec<(usize, Condition)> {
    let entries = section.entries();
    let reader = Terms { section, lists };
    entries.into_iter().filter_map(|(line, key, value)| Some((line, reader.term(line, &key, &value, 0)?))).collect()
}

struct Terms<'a, 'r, 't> {
    section: &'a Section<'r, 't>,
    lists: &'a Lists,
}

impl Terms<'_, '_, '_> {
    fn problem<T>(&self, line: usize, name: &str, found: impl Into<String>, remedy: &str) -> Option<T> {
        self.section.problem(&key(name), Some(line), found, remedy);
        None
    }

    fn term(&self, line: usize, key: &str, value: &Spanned<DeValue<'_>>, depth: usize) -> Option<Condition> {
        if matches!(key, "all" | "any" | "not") && depth == DEPTH_MAX {
            return self.problem(
                line,
                key,
                "nested a fourth time",
                "make several rules of it; three levels can still be read",
            );
        }
        match (key, value.get_ref()) {
            ("not", DeValue::Table(table)) => {
                Some(Condition::Not(Box::new(self.both((line, key), table, depth + 1)?)))
            }
            ("not", other) => {
                self.problem(line, key, an(other), "write one table, such as not = { ref_type = \"tag\" }")
            }
            ("all" | "any", DeValue::Array(array)) => {
                let each = array.iter().map(|item| match item.get_ref().as_table() {
                    Some(table) => self.both((line, key), table, depth + 1),
                    None => self.problem(line, key, an(item.get_ref()), "write a list of tables"),
                });
                // Every entry is read before the first wrong one counts.
                let each: Vec<Option<Condition>> = each.collect();
                let some: Vec<Condition> = each.into_iter().collect::<Option<_>>()?;
                if some.is_empty() {
                    return self.problem(line, key, "an empty list", "write at least one table, or leave it out");
                }
                Some(if key == "all" { Condition::All(some) } else { Condition::Any(some) })
            }
            ("all" | "any", other) => {
                self.problem(line, key, an(other), "write a list of tables, such as any = [{ ref = \"main\" }]")
            }
            (claim, _) => self.claim(line, claim, value),
        }
    }

    /// All entries of a table together. Of none, all would hold for everybody.
    fn both(&self, (line, key): (usize, &str), table: &DeTable<'_>, depth: usize) -> Option<Condition> {
        if table.is_empty() {
            return self.problem(line, key, "an empty table", "write a condition into it, or leave it out");
        }
        let terms: Vec<Option<Condition>> = table
            .iter()
            .map(|(key, value)| self.term(self.section.line_of_value(key), key.get_ref(), value, depth))
            .collect();
        let mut terms: Vec<Condition> = terms.into_iter().collect::<Option<_>>()?;
        if terms.len() == 1 { terms.pop() } else { Some(Condition::All(terms)) }
    }

    fn claim(&self, line: usize, name: &str, value: &Spanned<DeValue<'_>>) -> Option<Condition> {
        let Some(kind) = claim_kind(name) else {
            let remedy =
                did_you_mean(name, &KNOWN_CLAIMS).unwrap_or_else(|| format!("claims are: {}", KNOWN_CLAIMS.join(", ")));
            return self.problem(line, name, "no claim of a CI token", &remedy);
        };
        let mut test = self.test(line, name, kind, value.get_ref())?;
        if kind == ClaimKind::Actor {
            test = self.actor(line, name, &test)?;
        }
        Some(Condition::Claim { name: name.to_owned(), test, implied: false })
    }

    fn test(&self, line: usize, name: &str, kind: ClaimKind, value: &DeValue<'_>) -> Option<Test> {
        if let DeValue::Array(array) = value {
            let tests: Vec<Option<Test>> =
                array.iter().map(|item| self.test(line, name, kind, item.get_ref())).collect();
            let tests: Vec<Test> = tests.into_iter().collect::<Option<_>>()?;
            if tests.is_empty() {
                return self.problem(line, name, "an empty list", "name at least one value; of none, none can match");
            }
            return Some(Test::OneOf { list: None, tests: tests.into() });
        }
        match kind {
            ClaimKind::Bool => match value.as_bool() {
                Some(is) => Some(Test::Bool(is)),
                None => self.problem(line, name, an(value), "write true or false, without quotes"),
            },
            ClaimKind::Id => match (id(value), value.as_str().and_then(|text| text.strip_prefix('@'))) {
                (Some(id), _) => Some(Test::Id(id)),
                (None, Some(list)) => self.list(line, name, list, kind),
                (None, None) => match value.as_integer() {
                    Some(number) => self.problem(line, name, number.as_str(), "ids are numbers from 1 on"),
                    None => self.problem(line, name, an(value), "write the id as a number, without quotes"),
                },
            },
            ClaimKind::Actor | ClaimKind::Identities | ClaimKind::Path | ClaimKind::Text | ClaimKind::Texts => {
                match (value.as_str(), value.as_str().and_then(|text| text.strip_prefix('@')), value.as_table()) {
                    (_, Some(list), _) => self.list(line, name, list, kind),
                    (Some(text), None, _) => Some(pattern(text)),
                    (None, None, Some(table)) => self.named_test(line, name, table),
                    (None, None, None) => self.problem(line, name, an(value), "write a text in quotes"),
                }
            }
        }
    }

    /// The kinds of actor that a test means, each by its name.
    fn actor(&self, line: usize, name: &str, test: &Test) -> Option<Test> {
        let mut meant = BTreeSet::new();
        if let Err(odd) = add_kinds(test, &mut meant) {
            let remedy = did_you_mean(&odd.to_string(), &ACTOR_KINDS)
                .unwrap_or_else(|| format!("kinds are: {}; bot means both kinds of token too", ACTOR_KINDS.join(", ")));
            return self.problem(line, name, format!("\"{odd}\", no kind of actor"), &remedy);
        }
        let tests: Vec<Test> = meant.into_iter().map(|kind| Test::Text(kind.to_owned())).collect();
        match <[Test; 1]>::try_from(tests) {
            Ok([one]) => Some(one),
            Err(several) => Some(Test::OneOf { list: None, tests: several.into() }),
        }
    }

    fn list(&self, line: usize, claim: &str, name: &str, kind: ClaimKind) -> Option<Test> {
        let Some(tests) = self.lists.get(name) else {
            let known: Vec<&str> = self.lists.0.keys().take(LISTS_NAMED_MAX).map(String::as_str).collect();
            let remedy = match known.as_slice() {
                [] => "add it under [lists]; there are none yet".to_owned(),
                some => format!("add it under [lists]; there are: {}", some.join(", ")),
            };
            return self.problem(line, claim, format!("the list @{name}, which is not there"), &remedy);
        };
        let fits = tests.iter().all(|test| matches!(test, Test::Id(_)) == (kind == ClaimKind::Id));
        if !fits {
            return self.problem(line, claim, format!("the list @{name}"), "use ids for an id and texts for a text");
        }
        Some(Test::OneOf { list: Some(name.to_owned()), tests: Arc::clone(tests) })
    }

    /// `{ prefix = "…" }` and its like, for texts that would otherwise be read as a pattern or a list.
    fn named_test(&self, line: usize, name: &str, table: &DeTable<'_>) -> Option<Test> {
        let remedy = "write one of { equals = \"…\" }, { prefix = \"…\" }, { glob = \"…\" }, { one_of = [\"…\"] }";
        let mut entries = table.iter();
        let (Some((key, value)), None) = (entries.next(), entries.next()) else {
            return self.problem(line, name, "a table of not one entry", remedy);
        };
        match (&**key.get_ref(), value.get_ref()) {
            ("equals", DeValue::String(text)) => Some(Test::Text(text.to_string())),
            ("glob", DeValue::String(text)) => Some(Test::Glob(Glob::parse(text))),
            ("prefix", DeValue::String(text)) if !text.is_empty() => Some(Test::Prefix(text.to_string())),
            ("one_of", DeValue::Array(array)) if !array.is_empty() => {
                let text = |item: &Spanned<DeValue<'_>>| Some(Test::Text(item.get_ref().as_str()?.to_owned()));
                match array.iter().map(text).collect::<Option<Vec<_>>>() {
                    Some(tests) => Some(Test::OneOf { list: None, tests: tests.into() }),
                    None => self.problem(line, name, "a list of other things than texts", remedy),
                }
            }
            (known @ ("equals" | "glob" | "one_of" | "prefix"), _) => {
                self.problem(line, name, format!("nothing that {known} could test"), remedy)
            }
            (other, _) => self.problem(line, name, format!("{other}, no test"), remedy),
        }
    }
}

/// Adds the kinds that a test of `actor.kind` means; the part of it that means none is an error.
fn add_kinds<'t>(test: &'t Test, meant: &mut BTreeSet<&'static str>) -> Result<(), &'t Test> {
    if let Test::OneOf { tests, .. } = test {
        return tests.iter().try_for_each(|one| add_kinds(one, meant));
    }
    let words = ACTOR_KINDS.into_iter().filter(|kind| test.holds(ClaimView::Text(kind)));
    let mut kinds = words.flat_map(actor_kinds).peekable();
    kinds.peek().ok_or(test)?;
    meant.extend(kinds);
    Ok(())
}

fn pattern(text: &str) -> Test {
    if text.contains('*') { Test::Glob(Glob::parse(text)) } else { Test::Text(text.to_owned()) }
}

/// A number above zero, in decimal.
pub(super) fn id(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer().filter(|integer| integer.radix() == 10)?;
    integer.as_str().parse().ok().filter(|id| *id > 0)
}

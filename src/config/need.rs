//! `need`: from TOML to typed questions to other systems, each of which must be one that can be put to somebody.

use super::conditions::{DEPTH_MAX, id};
use super::issuer::KnownIssuer;
use super::section::Section;
use super::words::{an, did_you_mean};
use crate::directory::group_named;
use crate::facts::SOURCES;
use crate::policy::{FactKind, KNOWN_FACTS, Need, Wanted};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// That somebody approved who neither made what is deployed nor deploys it.
const INDEPENDENT: &str = "approvals.independent";
/// The fact whose texts are groups.
const GROUP: &str = "directory.group";

/// Whom the needs of a rule can be put to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sources<'a> {
    /// The rule is checked without the server's configuration.
    NotLookedAt,
    /// To whomever the rule's issuer names.
    Of(&'a KnownIssuer),
    /// The rule has no issuer.
    OfNobody,
}

/// Reads `need`; what is wrong with it is reported and left out.
pub(super) fn read_need(section: &mut Section<'_, '_>, sources: Sources<'_>) -> Vec<Need> {
    let mut table = section.section("need");
    let entries = table.entries();
    let needs = Needs { section: &table, sources };
    entries.into_iter().filter_map(|(line, key, value)| needs.need(line, &key, value.get_ref(), 0)).collect()
}

struct Needs<'a, 'r, 't> {
    section: &'a Section<'r, 't>,
    sources: Sources<'a>,
}

impl Needs<'_, '_, '_> {
    fn problem<T>(&self, line: usize, key: &str, found: impl Into<String>, remedy: &str) -> Option<T> {
        self.section.problem(key, Some(line), found, remedy);
        None
    }

    fn need(&self, line: usize, key: &str, value: &DeValue<'_>, depth: usize) -> Option<Need> {
        if matches!(key, "all" | "any" | "not") && depth == DEPTH_MAX {
            let remedy = "make several rules of it; three levels can still be read";
            return self.problem(line, key, "nested a fourth time", remedy);
        }
        match (key, value) {
            ("not", DeValue::Table(table)) => Some(Need::Not(Box::new(self.both((line, key), table, depth + 1)?))),
            ("all" | "any", DeValue::Array(array)) if array.is_empty() => {
                self.problem(line, key, "an empty list", "write at least one table, or leave it out")
            }
            ("all" | "any", DeValue::Array(array)) => {
                let each = array.iter().map(|item| match item.get_ref().as_table() {
                    Some(table) => self.both((line, key), table, depth + 1),
                    None => self.problem(line, key, an(item.get_ref()), "write a list of tables"),
                });
                // Every entry is read before the first wrong one counts.
                let each: Vec<Option<Need>> = each.collect();
                let some: Vec<Need> = each.into_iter().collect::<Option<_>>()?;
                Some(if key == "all" { Need::All(some) } else { Need::Any(some) })
            }
            ("not", _) => {
                self.problem(line, key, an(value), "write one table, such as not = { \"job.state\" = \"running\" }")
            }
            ("all" | "any", _) => {
                let remedy = "write a list of tables, such as any = [{ \"job.state\" = \"running\" }]";
                self.problem(line, key, an(value), remedy)
            }
            (INDEPENDENT, _) => self.independent(line, value),
            (fact, _) => self.fact(line, fact, value),
        }
    }

    fn both(&self, (line, key): (usize, &str), table: &DeTable<'_>, depth: usize) -> Option<Need> {
        if table.is_empty() {
            return self.problem(line, key, "an empty table", "write a fact into it, or leave it out");
        }
        let line_of = |key: &Spanned<_>| self.section.line_of_value(key);
        let needs: Vec<Option<Need>> =
            table.iter().map(|(key, value)| self.need(line_of(key), key.get_ref(), value.get_ref(), depth)).collect();
        let mut needs: Vec<Need> = needs.into_iter().collect::<Option<_>>()?;
        if needs.len() == 1 { needs.pop() } else { Some(Need::All(needs)) }
    }

    /// Whoever says `approvals.independent` means any way in which somebody else can have approved.
    fn independent(&self, line: usize, value: &DeValue<'_>) -> Option<Need> {
        let key = format!("{INDEPENDENT:?}");
        let Some(wanted) = wanted(FactKind::Count, value) else {
            return self.problem(line, &key, an_or_text(value), &would_do(FactKind::Count));
        };
        // One system tells of both.
        self.check_source(line, &key, "approvals.deployment");
        let way = |name| Need::Fact { name, wanted: wanted.clone() };
        Some(Need::Any(vec![way("approvals.deployment"), way("approvals.merge_request")]))
    }

    fn fact(&self, line: usize, name: &str, value: &DeValue<'_>) -> Option<Need> {
        let key = format!("{name:?}");
        let Some((name, kind)) = KNOWN_FACTS.into_iter().find(|(known, _)| *known == name) else {
            let askable = SOURCES.map(|(fact, _)| fact);
            let remedy = did_you_mean(name, &askable)
                .unwrap_or_else(|| format!("facts are: {}; what the token says is tested in when", askable.join(", ")));
            return self.problem(line, &key, "no fact", &remedy);
        };
        let Some(wanted) = wanted(kind, value) else {
            return self.problem(line, &key, an_or_text(value), &would_do(kind));
        };
        self.check_source(line, &key, name);
        let wanted = if name == GROUP { self.by_name((line, &key), wanted)? } else { wanted };
        Some(Need::Fact { name, wanted })
    }

    /// A group that the server's configuration has no name for is known to nobody.
    fn by_name(&self, (line, key): (usize, &str), wanted: Wanted) -> Option<Wanted> {
        let (Sources::Of(KnownIssuer { groups: Some(groups), .. }), Wanted::OneOf(texts)) = (self.sources, &wanted)
        else {
            return Some(wanted);
        };
        let name = |text: &String| match group_named(groups, text) {
            None => self.problem(
                line,
                key,
                format!("{text:?}, which is no group of [directory.groups] in the server's configuration"),
                "give the group a name there, with its SID or DN, and write that name here",
            ),
            name => name,
        };
        // Every text is looked at before the first wrong one counts.
        let names: Vec<Option<String>> = texts.iter().map(name).collect();
        names.into_iter().collect::<Option<_>>().map(Wanted::OneOf)
    }

    /// A need that nobody can be asked for could never be met.
    fn check_source(&self, line: usize, key: &str, fact: &str) {
        let Some((_, settings)) = SOURCES.into_iter().find(|(known, _)| *known == fact) else {
            let found = "a fact that this version can ask nobody for, so that the rule would refuse everybody";
            return self.section.problem(
                key,
                Some(line),
                found,
                "take the need out, or keep the rule for a version that can",
            );
        };
        match self.sources {
            Sources::Of(issuer) if !issuer.facts.contains(&fact) => {
                let found = format!(
                    "nobody to ask for it about jobs of issuer {}, so that the rule would refuse everybody",
                    issuer.name
                );
                let remedy = format!("give that issuer {settings} in the server's configuration, or take the need out");
                self.section.problem(key, Some(line), found, remedy);
            }
            Sources::NotLookedAt => {
                let found = format!(
                    "whether anybody can be asked for it was not checked: that rests on {settings} of the issuer in the server's configuration"
                );
                self.section.warning(key, Some(line), found, "check it with that: lanyard policy check --config FILE");
            }
            Sources::Of(_) | Sources::OfNobody => {}
        }
    }
}

fn wanted(kind: FactKind, value: &DeValue<'_>) -> Option<Wanted> {
    match kind {
        FactKind::Bool => value.as_bool().map(Wanted::Is),
        FactKind::Count => id(value).map(Wanted::AtLeast),
        FactKind::State(states) => {
            texts(value).filter(|texts| texts.iter().all(|text| states.contains(&text.as_str()))).map(Wanted::OneOf)
        }
        FactKind::Text => texts(value).map(Wanted::OneOf),
    }
}

/// One text or a list of them, none empty.
fn texts(value: &DeValue<'_>) -> Option<Vec<String>> {
    let text = |value: &DeValue<'_>| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    match value.as_array() {
        Some(array) if array.is_empty() => None,
        Some(array) => array.iter().map(|item| text(item.get_ref())).collect(),
        None => text(value).map(|text| vec![text]),
    }
}

fn would_do(kind: FactKind) -> String {
    match kind {
        FactKind::Bool => "write true or false, without quotes".to_owned(),
        FactKind::Count => "write how many at least, as a number above zero without quotes".to_owned(),
        FactKind::State([one]) => format!("write {one:?}"),
        FactKind::State(states) => format!("write one of {}, in quotes, or a list of them", states.join(", ")),
        FactKind::Text => "write a text in quotes, or a list of them".to_owned(),
    }
}

fn an_or_text(value: &DeValue<'_>) -> String {
    value.as_str().map_or_else(|| an(value), |text| format!("{text:?}"))
}

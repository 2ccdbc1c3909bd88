//! A policy as this program understands it: a few kinds of terms, how they are judged and how they are written down.

use super::globs;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Whom every rule's JWT-SVIDs are for.
pub(crate) const AUDIENCE: &str = "https://service.test";

/// A policy.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) refusals: Vec<Refusal>,
    pub(crate) rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) name: String,
    pub(crate) when: Table,
}

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) issuer: &'static str,
    /// Without the issuer, and without what goes without saying.
    pub(crate) when: Table,
    pub(crate) unless: Table,
    /// One for each profile, the default first.
    pub(crate) ids: Vec<String>,
    pub(crate) observe: bool,
}

/// Terms that hold together.
pub(crate) type Table = Vec<Term>;

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Term {
    All(Vec<Table>),
    Any(Vec<Table>),
    Is(&'static str, Wanted),
    Not(Table),
}

/// One of several values is enough; a text with a star is a pattern.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Wanted {
    Bool(bool),
    Ids(Vec<u64>),
    Texts(Vec<&'static str>),
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    Id(u64),
    Text(String),
}

/// What is known of a job, derived claims included.
pub(crate) type Job = BTreeMap<&'static str, Value>;

/// What a policy says of a job.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Said<'p> {
    Granted(&'p Rule),
    NoRule,
    Refused,
}

impl Policy {
    pub(crate) fn says(&self, job: &Job) -> Said<'_> {
        if self.refusals.iter().any(|refusal| all_of(&refusal.when, job) == Some(true)) {
            return Said::Refused;
        }
        self.rules.iter().find(|rule| !rule.observe && rule.matches(job)).map_or(Said::NoRule, Said::Granted)
    }

    /// As a file.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for Refusal { name, when } in &self.refusals {
            write!(text, "[[refuse]]\nname = \"{name}\"\nsay = \"no\"\nwhen = {}\n", table(when)).unwrap();
        }
        for rule in &self.rules {
            let Rule { name, issuer, when, unless, ids, observe } = rule;
            let mut whole = vec![Term::Is("issuer", Wanted::Texts(vec![*issuer]))];
            whole.extend_from_slice(when);
            write!(text, "[[rule]]\nname = \"{name}\"\nobserve = {observe}\nwhen = {}\n", table(&whole)).unwrap();
            writeln!(text, "kinds = [\"x509\", \"jwt\"]\naudiences = [\"{AUDIENCE}\"]").unwrap();
            if !unless.is_empty() {
                writeln!(text, "unless = {}", table(unless)).unwrap();
            }
            match ids.as_slice() {
                [id] => writeln!(text, "id = \"{id}\"").unwrap(),
                several => several.iter().enumerate().for_each(|(at, id)| {
                    write!(text, "[[rule.svid]]\nprofile = \"{}\"\nid = \"{id}\"\n", profile(at)).unwrap();
                }),
            }
        }
        text
    }
}

/// The name of a rule's nth SVID, where it has several.
pub(crate) fn profile(at: usize) -> String {
    format!("p{at}")
}

impl Rule {
    pub(crate) fn matches(&self, job: &Job) -> bool {
        let issuer = job.get("issuer") == Some(&Value::Text(self.issuer.to_owned()));
        issuer
            && all_of(&self.when, job) == Some(true)
            && all_of(&self.unsaid(), job) == Some(true)
            && self.unless.iter().all(|term| term.judge(job) == Some(false))
    }

    /// What goes without saying: no fork's code; and where it deploys, a job that starts it, for no merge request.
    pub(crate) fn unsaid(&self) -> Table {
        let speaks = |claim| self.when.iter().chain(&self.unless).any(|term| term.speaks_of(claim));
        let is = |claim, wanted| Term::Is(claim, wanted);
        let mut unsaid: Table = (!speaks("fork")).then(|| is("fork", Wanted::Bool(false))).into_iter().collect();
        if self.when.iter().any(|term| matches!(term, Term::Is("environment", _))) {
            let start = is("environment_action", Wanted::Texts(vec!["start"]));
            unsaid.extend((!speaks("environment_action")).then_some(start));
            unsaid.push(is("merge_request", Wanted::Bool(false)));
        }
        unsaid
    }

    /// The values that a term of its own fixes a claim to.
    pub(crate) fn fixed(&self, claim: &str) -> Option<Vec<String>> {
        self.when.iter().find_map(|term| match term {
            Term::Is(name, Wanted::Ids(ids)) if *name == claim => Some(ids.iter().map(u64::to_string).collect()),
            Term::Is(name, Wanted::Texts(texts)) if *name == claim && !texts.iter().any(|text| text.contains('*')) => {
                Some(texts.iter().map(|text| (*text).to_owned()).collect())
            }
            Term::All(_) | Term::Any(_) | Term::Is(..) | Term::Not(_) => None,
        })
    }
}

impl Term {
    /// None where that rests on what is not known.
    pub(crate) fn judge(&self, job: &Job) -> Option<bool> {
        let no = |is: Option<bool>| is.map(|is| !is);
        match self {
            Self::All(tables) => all(tables.iter().map(|table| all_of(table, job))),
            Self::Any(tables) => no(all(tables.iter().map(|table| no(all_of(table, job))))),
            Self::Is(claim, wanted) => job.get(claim).map(|value| wanted.holds(value)),
            Self::Not(table) => no(all_of(table, job)),
        }
    }

    /// The claims it rests on.
    pub(crate) fn claims(&self) -> Vec<&'static str> {
        match self {
            Self::All(tables) | Self::Any(tables) => tables.iter().flatten().flat_map(Self::claims).collect(),
            Self::Is(claim, _) => vec![claim],
            Self::Not(table) => table.iter().flat_map(Self::claims).collect(),
        }
    }

    fn speaks_of(&self, claim: &str) -> bool {
        self.claims().contains(&claim)
    }

    fn text(&self) -> String {
        let tables = |all: &[Table]| all.iter().map(|one| table(one)).collect::<Vec<_>>().join(", ");
        match self {
            Self::All(all) => format!("all = [{}]", tables(all)),
            Self::Any(some) => format!("any = [{}]", tables(some)),
            Self::Is(claim, Wanted::Bool(is)) => format!("\"{claim}\" = {is}"),
            Self::Is(claim, Wanted::Ids(ids)) => format!("\"{claim}\" = {ids:?}"),
            Self::Is(claim, Wanted::Texts(texts)) if texts.len() == 1 => format!("\"{claim}\" = {:?}", texts.concat()),
            Self::Is(claim, Wanted::Texts(texts)) => format!("\"{claim}\" = {texts:?}"),
            Self::Not(one) => format!("not = {}", table(one)),
        }
    }
}

impl Wanted {
    fn holds(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Bool(wanted), Value::Bool(is)) => wanted == is,
            (Self::Ids(wanted), Value::Id(id)) => wanted.contains(id),
            (Self::Texts(wanted), Value::Text(text)) => wanted.iter().any(|one| globs::fits(one, text)),
            _ => false,
        }
    }
}

fn all_of(table: &[Term], job: &Job) -> Option<bool> {
    all(table.iter().map(|term| term.judge(job)))
}

fn all(truths: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let truths: Vec<_> = truths.collect();
    if truths.contains(&Some(false)) {
        return Some(false);
    }
    (!truths.contains(&None)).then_some(true)
}

fn table(terms: &[Term]) -> String {
    format!("{{ {} }}", terms.iter().map(Term::text).collect::<Vec<_>>().join(", "))
}

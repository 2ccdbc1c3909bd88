//! Whose jobs a rule is for, and which IDs its template gives them.

use super::{Known, Project, Unfit};
use crate::identity::{IdTemplate, SpiffeId, TrustDomain};
use crate::policy::{Condition, IdPart, IdSet, Rule, Test};
use std::collections::BTreeMap;

/// Projects that a rule is for, as far as the rule or whoever renders it says so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Subject {
    /// Nothing is said of them.
    Anybody,
    /// Those below a folder; `directly` where none is in a subgroup.
    Below { folder: String, directly: bool },
    /// One.
    Of(Project),
}

/// IDs of one subject, and how much of them must be compared before they tell whose they are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Named {
    pub(super) subject: Subject,
    pub(super) ids: IdSet,
    /// How long a beginning is that names the project or the folder, but for what ends the name.
    whose: Option<usize>,
    /// The first hole that is open.
    pub(super) open: Option<String>,
    sample: SpiffeId,
}

impl Subject {
    /// More than a person reads.
    pub(super) const CALLERS_MAX: usize = 256;

    /// The projects of a rule, or those of them that are asked for.
    pub(super) fn of_rule(rule: &Rule, known: &Known) -> Result<Vec<Self>, Unfit> {
        let Some(first) = known.projects.first() else { return Ok(Self::by_rule(rule, known)) };
        let asked = known.projects.iter().filter(|project| Self::not_for(rule, project, known).is_none());
        let asked: Vec<_> = asked.cloned().map(Self::Of).collect();
        if !asked.is_empty() {
            return Ok(asked);
        }
        // The projects asked for are another rule's; this one says its own.
        let own = Self::by_rule(rule, known);
        let says_its_own = own.iter().all(|subject| matches!(subject, Self::Of(_)));
        if says_its_own { Ok(own) } else { Err(Self::not_for(rule, first, known).unwrap_or(Unfit::NamesNobody)) }
    }

    /// Why a project is none of a rule's.
    pub(super) fn not_for(rule: &Rule, project: &Project, known: &Known) -> Option<Unfit> {
        let why = rule.excluded_by(&Self::Of(project.clone()).shown(known, |_| true))?;
        Some(Unfit::NotForProject { project: project.to_string(), why: why.to_string() })
    }

    fn by_rule(rule: &Rule, known: &Known) -> Vec<Self> {
        let one = |id: Option<u64>, path: Option<String>| Self::Of(Project { id, path });
        match (rule.fixed("project_path"), rule.fixed("project_id")) {
            // Which id is which path's only a rule for one of each says; of those both are demanded.
            (Some(paths), Some(ids)) if paths.len() == 1 && ids.len() == 1 => {
                let id = ids.first().and_then(|id| id.parse().ok());
                vec![one(id, paths.first().cloned())]
            }
            (Some(paths), _) => paths.into_iter().map(|path| one(None, Some(path))).collect(),
            (None, Some(ids)) => ids.iter().map(|id| one(id.parse().ok(), None)).collect(),
            (None, None) => Self::folders(rule, known),
        }
    }

    fn folders(rule: &Rule, known: &Known) -> Vec<Self> {
        let directly = |folder: String| Self::Below { folder, directly: true };
        if let Some(paths) = rule.fixed("namespace_path") {
            return paths.into_iter().map(directly).collect();
        }
        let by_path = rule.when.iter().find_map(|term| match term {
            Condition::Claim { name, test, .. } if name == "project_path" => Some(by_test(test)),
            Condition::All(_) | Condition::Any(_) | Condition::Claim { .. } | Condition::Not(_) => None,
        });
        let by_id = || {
            let ids = rule.fixed("namespace_id")?;
            let paths = ids.iter().map(|id| known.groups.get(&id.parse().ok()?).cloned());
            paths.collect::<Option<Vec<_>>>().map(|paths| paths.into_iter().map(directly).collect())
        };
        by_path.or_else(by_id).unwrap_or_else(|| vec![Self::Anybody])
    }

    /// What is true of the subject's projects. `told` says which of a project's names are sure: what a rule demands of both
    /// need not be true of the one that an ID holds.
    fn shown(&self, known: &Known, told: impl Fn(&str) -> bool) -> Vec<Condition> {
        let path_is = |test| Condition::unwritten("project_path", test);
        match self {
            Self::Anybody => Vec::new(),
            Self::Below { folder, directly } => {
                let below = path_is(Test::Prefix(format!("{folder}/")));
                let namespace = if *directly { known.of_namespace(folder) } else { Vec::new() };
                std::iter::once(below).chain(namespace).collect()
            }
            Self::Of(project @ Project { id, path }) => {
                let told = |name| told(name) || known.projects.contains(project);
                let by_id = id.filter(|_| told("project_id"));
                let by_path = path.iter().filter(|_| told("project_path")).flat_map(|path| {
                    let namespace = path.rsplit_once('/').map(|(namespace, _)| known.of_namespace(namespace));
                    std::iter::once(path_is(Test::Text(path.clone()))).chain(namespace.into_iter().flatten())
                });
                by_id.map(|id| Condition::unwritten("project_id", Test::Id(id))).into_iter().chain(by_path).collect()
            }
        }
    }

    /// What stands in a template's hole for them.
    fn value(&self, hole: &str) -> Result<Vec<IdPart>, Unfit> {
        let literal = |text: &str| vec![IdPart::Literal(text.to_owned())];
        Ok(match (hole, self) {
            ("project_path", Self::Of(Project { path: Some(path), .. })) => literal(path),
            ("project_path", Self::Of(Project { id, .. })) => {
                return Err(Unfit::ProjectPathUnknown { id: id.unwrap_or_default() });
            }
            ("project_path", Self::Below { folder, directly }) => {
                let names = if *directly { IdPart::Name } else { IdPart::Path };
                vec![IdPart::Literal(format!("{folder}/")), names]
            }
            ("namespace_path", Self::Of(Project { path: Some(path), .. })) => {
                literal(path.rsplit_once('/').map_or(path.as_str(), |(namespace, _)| namespace))
            }
            ("namespace_path", Self::Below { folder, directly: true }) => literal(folder),
            ("project_path" | "namespace_path", _) => vec![IdPart::Path],
            ("project_id", Self::Of(Project { id: Some(id), .. })) => literal(&id.to_string()),
            ("project_id", Self::Of(Project { path: Some(path), .. })) => {
                return Err(Unfit::ProjectIdUnknown { path: path.clone() });
            }
            _ => vec![IdPart::Digits],
        })
    }

    /// The IDs that a template gives them; several where the rule fixes more than the project.
    pub(super) fn named(
        &self,
        rule: &Rule,
        template: &IdTemplate,
        trust_domain: &TrustDomain,
    ) -> Result<Vec<Named>, Unfit> {
        let mut fixed = vec![BTreeMap::new()];
        let by_subject = ["project_id", "project_path", "namespace_path"];
        for hole in template.holes().filter(|hole| !by_subject.contains(hole)) {
            let Some(values) = rule.fixed(hole) else { continue };
            let with = |before: &BTreeMap<String, String>, value: &String| {
                before.clone().into_iter().chain([(hole.to_owned(), value.clone())]).collect()
            };
            fixed = fixed.iter().flat_map(|before| values.iter().map(move |value| with(before, value))).collect();
            if fixed.len() > Self::CALLERS_MAX {
                return Err(Unfit::TooMany { max: Self::CALLERS_MAX });
            }
        }
        fixed.iter().map(|values| Named::of(self, template, values, trust_domain)).collect()
    }
}

impl Named {
    fn of(
        subject: &Subject,
        template: &IdTemplate,
        fixed: &BTreeMap<String, String>,
        trust_domain: &TrustDomain,
    ) -> Result<Self, Unfit> {
        let text = template.to_string();
        let (mut parts, mut samples, mut open, mut whose) = (Vec::new(), BTreeMap::new(), None, None);
        let mut rest = text.as_str();
        while let Some((literal, hole)) = rest.split_once('{') {
            let (name, behind) = hole.split_once('}').unwrap_or((hole, ""));
            let value = match fixed.get(name) {
                Some(value) => vec![IdPart::Literal(value.clone())],
                None => subject.value(name)?,
            };
            parts.push(IdPart::Literal(literal.to_owned()));
            samples.insert(name.to_owned(), value.iter().map(sample).collect::<String>());
            let (was_open, is_open) = (open.is_some(), value.iter().any(|part| !matches!(part, IdPart::Literal(_))));
            parts.extend(value);
            if is_open && !was_open {
                open = Some(name.to_owned());
            }
            if ["project_id", "project_path"].contains(&name) && !was_open && whose.is_none() {
                let beginning = parts.iter().cloned().collect::<IdSet>();
                whose = Some(beginning.beginning().trim_end_matches('/').len());
            }
            rest = behind;
        }
        parts.push(IdPart::Literal(rest.to_owned()));
        let ids = parts.into_iter().filter(|part| *part != IdPart::Literal(String::new())).collect();
        let sample = template.fill(trust_domain, |hole| samples.get(hole).cloned())?;
        Ok(Self { subject: subject.clone(), ids, whose, open, sample })
    }

    /// The only one of these IDs, if there is no other.
    pub(super) fn only(&self) -> Option<&SpiffeId> {
        self.ids.only().map(|_| &self.sample)
    }

    /// The project's id, and what is true of whoever is known by that id.
    pub(super) fn by_id(&self, known: &Known) -> (Option<u64>, Vec<Condition>) {
        let id = match &self.subject {
            Subject::Of(project) => project.id,
            Subject::Anybody | Subject::Below { .. } => None,
        };
        (id, self.subject.shown(known, |name| name == "project_id"))
    }

    /// What is true of whoever has one of these IDs, by a rule that names projects at the same place.
    pub(super) fn shown(&self, template: &IdTemplate, known: &Known) -> Vec<Condition> {
        self.subject.shown(known, |name| template.holes().any(|hole| hole == name))
    }

    /// Whether a beginning is long enough to tell whose IDs these are.
    fn tells_whose(&self, beginning: &str) -> bool {
        self.whose.is_some_and(|length| beginning.len() > length)
    }

    /// Whether a beginning lets in the rule's other projects, where this one was asked for.
    pub(super) fn lets_in_others(&self, beginning: &str, rule: &Rule, known: &Known) -> bool {
        let is_asked_for = matches!(&self.subject, Subject::Of(project) if known.projects.contains(project));
        let is_the_only_one = matches!(*Subject::by_rule(rule, known), [Subject::Of(_)]);
        is_asked_for && !is_the_only_one && !self.tells_whose(beginning)
    }

    /// The same of whoever has an ID that begins so.
    pub(super) fn shown_by(&self, beginning: &str, template: &IdTemplate, known: &Known) -> Vec<Condition> {
        match &self.subject {
            _ if !self.tells_whose(beginning) => Vec::new(),
            // What begins like a folder may also be of a project of that very path.
            Subject::Below { folder, .. } => vec![Condition::unwritten("project_path", Test::Prefix(folder.clone()))],
            Subject::Anybody | Subject::Of(_) => self.shown(template, known),
        }
    }
}

fn sample(part: &IdPart) -> &str {
    match part {
        IdPart::Digits => "1",
        IdPart::Literal(text) => text,
        IdPart::Name | IdPart::Path | IdPart::Rest => "x",
    }
}

/// Projects by a test of their path.
fn by_test(test: &Test) -> Vec<Subject> {
    match test {
        Test::Text(path) => vec![Subject::Of(Project { id: None, path: Some(path.clone()) })],
        Test::Prefix(begins) => vec![below(begins, false)],
        Test::Glob(glob) => {
            let begins = glob.literal_prefix();
            vec![below(begins, glob.to_string() == format!("{begins}*"))]
        }
        Test::OneOf { tests, .. } => tests.iter().flat_map(by_test).collect(),
        Test::Bool(_) | Test::Id(_) => vec![Subject::Anybody],
    }
}

/// Those whose paths begin so: at least the whole names of it are a folder's.
fn below(begins: &str, one_name: bool) -> Subject {
    match begins.rsplit_once('/') {
        Some((folder, rest)) => Subject::Below { folder: folder.to_owned(), directly: one_name && rest.is_empty() },
        None => Subject::Anybody,
    }
}

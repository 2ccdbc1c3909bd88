//! Two rules that can grant one ID must demand the same: otherwise the ID would promise the stricter rule's
//! conditions to a mesh, and the laxer rule would give it to somebody who does not meet them. And no two templates, of one
//! rule or of two, may give one ID to two projects. The same holds for a claim by which a consumer names its bearers.
//! What rules of two issuers give is told apart from its beginning on, see [`super::shared_prefix`].

use super::naming::Naming;
use super::segments::{Segment, Step, Templates, can_meet};
use super::{Condition, ProfileTemplate, Rule, shared_prefix};
use crate::token::IssuerName;
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

/// Two rules, or two templates of one, that could give the same ID and must not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SharedId {
    /// The earlier rule.
    pub first: String,
    /// The later rule, or the same.
    pub second: String,
    /// The later rule's template.
    pub template: String,
    /// Why they must not.
    pub because: Clash,
}

/// Why two templates must not give the same ID.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Clash {
    /// The rules demand different things.
    Demands {
        /// What only the first demands, in words.
        only_first: Vec<String>,
        /// What only the second demands, in words.
        only_second: Vec<String>,
    },
    /// They are for two issuers, and what names a bearer of one can begin an ID of the other.
    Issuers {
        /// Whose jobs the first and the second are for.
        issuers: [IssuerName; 2],
        /// The earlier rule's template.
        other: String,
    },
    /// They name the project in different places, so that one project's ID reads like another's.
    Projects {
        /// The earlier rule's template.
        other: String,
    },
}

/// A thousand rules of one template would make half a million pairs; whoever mends the first sees the rest.
pub(super) const PAIRS_MAX: usize = 100;

/// A rule for more projects than this is compared with all of its template: rare, and its values would fill the memory.
const VALUES_MAX: usize = 64;

/// The first hundred of such pairs, by their IDs. Rules that only observe grant nothing and do not count.
pub(super) fn find<R: Borrow<Rule>>(rules: &[R]) -> Vec<SharedId> {
    let mut known: HashMap<&[ProfileTemplate], Rc<[Naming<'_>]>> = HashMap::new();
    let granting = rules.iter().map(Borrow::borrow).filter(|rule| !rule.observe);
    find_by(granting.map(|rule| {
        let names = known.entry(&rule.gives.svids).or_insert_with(|| Naming::ids(rule).into());
        (rule, Rc::clone(names))
    }))
}

/// The same by the values of a claim, among rules that write it.
pub fn find_shared_claims(rules: &[&Rule], claim: &str) -> Vec<SharedId> {
    let granting = rules.iter().filter(|rule| !rule.observe);
    find_by(granting.map(|rule| (*rule, Naming::claim(rule, claim).into_iter().collect())))
}

/// Rules of two issuers that can give one value to something by which AWS tells sessions apart. What both write as a word of their
/// own means the same by it; what a token fills in is each issuer's own.
pub fn find_shared_in_aws(rules: &[&Rule], key: &str) -> Vec<SharedId> {
    let mut prefixes = shared_prefix::Beginnings::default();
    for rule in rules.iter().filter(|rule| !rule.observe) {
        prefixes.add(rule, &Naming::aws(rule, key).into_iter().collect::<Vec<_>>());
    }
    let is_filled = |shared: &SharedId| match &shared.because {
        Clash::Issuers { other, .. } => [other, &shared.template].iter().any(|text| text.contains('{')),
        Clash::Demands { .. } | Clash::Projects { .. } => true,
    };
    prefixes.into_shared().into_iter().filter(is_filled).collect()
}

fn find_by<'r>(granting: impl Iterator<Item = (&'r Rule, Rc<[Naming<'r>]>)>) -> Vec<SharedId> {
    let mut of_issuers: BTreeMap<&IssuerName, Vec<Granting<'r>>> = BTreeMap::new();
    let mut prefixes = shared_prefix::Beginnings::default();
    for (rule, names) in granting {
        prefixes.add(rule, &names);
        of_issuers.entry(&rule.issuer).or_default().push(Granting { rule, names });
    }
    let unlike = of_issuers.values().flat_map(|granting| find_of_one(granting));
    prefixes.into_shared().into_iter().chain(unlike).take(PAIRS_MAX).collect()
}

/// Among rules for one issuer.
fn find_of_one(granting: &[Granting<'_>]) -> Vec<SharedId> {
    let (mut before, of_rules) = Before::none(granting);
    let mut found = Vec::new();
    for (at, (second, grants)) in granting.iter().zip(&of_rules).enumerate() {
        let others = grants.iter().flat_map(|grant| before.suspects(grant));
        let suspects: BTreeSet<usize> = others.chain([at]).collect();
        let pairs = suspects.into_iter().filter_map(|first| granting.get(first)?.shared_with(second));
        found.extend(pairs.take(PAIRS_MAX.saturating_sub(found.len())));
        if found.len() >= PAIRS_MAX {
            break;
        }
        for grant in grants {
            before.add(grant, at);
        }
    }
    found
}

/// The rules before one, found by what they grant: of ten thousand rules for a thousand projects only a project's own are
/// compared.
#[derive(Debug)]
struct Before(Vec<OfTemplate>);

/// The rules that grant one template.
#[derive(Debug, Default)]
struct OfTemplate {
    /// The other templates that can give an ID of this one and name the project alike.
    meeting: Vec<usize>,
    /// Those that name it otherwise.
    mistaken: Vec<usize>,
    all: ByDemand,
    /// By the values that they fix the template's pivot to.
    fixed: HashMap<String, ByDemand>,
    /// Those that fix it to nothing.
    loose: ByDemand,
}

/// Rules by what they demand. Those that demand the same may share an ID.
type ByDemand = HashMap<usize, Vec<usize>>;

/// One SVID of a rule, for comparison.
#[derive(Debug)]
struct Grant {
    template: usize,
    demand: usize,
    /// What the template's pivot, the hole that most rules fix, is fixed to.
    fixed: Option<Box<[String]>>,
}

impl Before {
    /// No rules yet, and what each will grant.
    fn none(granting: &[Granting<'_>]) -> (Self, Vec<Vec<Grant>>) {
        let (mut places, mut templates): (HashMap<&str, usize>, Vec<&Naming<'_>>) = (HashMap::new(), Vec::new());
        let mut pivots: Vec<BTreeMap<&str, usize>> = Vec::new();
        for (rule, name) in granting.iter().flat_map(|one| one.names.iter().map(|name| (one.rule, name))) {
            let place = *places.entry(&name.text).or_insert_with(|| {
                templates.push(name);
                pivots.push(BTreeMap::new());
                templates.len() - 1
            });
            let Some(fixed) = pivots.get_mut(place) else { continue };
            for hole in name.holes.iter().filter(|hole| rule.fixed(hole).is_some()) {
                *fixed.entry(hole).or_default() += 1;
            }
        }
        let pivots: Vec<Option<&str>> = pivots
            .into_iter()
            .map(|fixed| fixed.into_iter().max_by_key(|(_, rules)| *rules).map(|(hole, _)| hole))
            .collect();
        let steps: Vec<&[Step<Segment>]> = templates.iter().map(|name| &*name.steps).collect();
        let tree = Templates::of(&steps);
        let of_template = |(own, name): (usize, &&Naming<'_>)| {
            let others = tree.meeting(&name.steps).into_iter().filter(|other| *other != own);
            let alike = |other: &usize| templates.get(*other).is_some_and(|other| name.names_project_as(other));
            let (meeting, mistaken) = others.partition(alike);
            OfTemplate { meeting, mistaken, ..OfTemplate::default() }
        };
        let before = Self(templates.iter().enumerate().map(of_template).collect());
        let mut known = HashMap::new();
        let mut grant = |rule: &Rule, name: &Naming<'_>| {
            let template = places.get(&*name.text).copied()?;
            let new = known.len();
            let demand = *known.entry(demands(rule, name).into_keys().collect::<Vec<_>>()).or_insert(new);
            let fixed = pivots.get(template).copied().flatten().and_then(|hole| rule.fixed(hole));
            let few = fixed.filter(|values| values.len() <= VALUES_MAX);
            Some(Grant { template, demand, fixed: few.map(|values| values.into_iter().collect()) })
        };
        let of_rule = |one: &Granting<'_>| one.names.iter().filter_map(|name| grant(one.rule, name)).collect();
        (before, granting.iter().map(of_rule).collect())
    }

    /// Every rule that can give an ID of this grant and demands something else, or names another project by it; and a
    /// few that cannot.
    fn suspects(&self, grant: &Grant) -> BTreeSet<usize> {
        let Some(own) = self.0.get(grant.template) else { return BTreeSet::new() };
        let mut among: Vec<&ByDemand> = match &grant.fixed {
            Some(values) => values.iter().filter_map(|value| own.fixed.get(value)).chain([&own.loose]).collect(),
            None => vec![&own.all],
        };
        among.extend(own.meeting.iter().filter_map(|other| Some(&self.0.get(*other)?.all)));
        let unequal = among.into_iter().flatten().filter(|(demand, _)| **demand != grant.demand);
        let mistaken = own.mistaken.iter().filter_map(|other| Some(&self.0.get(*other)?.all)).flatten();
        unequal.chain(mistaken).flat_map(|(_, rules)| rules).copied().collect()
    }

    fn add(&mut self, grant: &Grant, rule: usize) {
        let Some(own) = self.0.get_mut(grant.template) else { return };
        let put = |to: &mut ByDemand| to.entry(grant.demand).or_default().push(rule);
        put(&mut own.all);
        match &grant.fixed {
            Some(values) => values.iter().for_each(|value| put(own.fixed.entry(value.clone()).or_default())),
            None => put(&mut own.loose),
        }
    }
}

/// A rule, and its templates taken apart once for all pairs and for all rules that have the same.
struct Granting<'r> {
    rule: &'r Rule,
    names: Rc<[Naming<'r>]>,
}

impl Granting<'_> {
    fn shared_with(&self, second: &Self) -> Option<SharedId> {
        let pairs = self.names.iter().flat_map(|one| second.names.iter().map(move |other| (one, other)));
        let mut alike = pairs.filter(|(a, b)| {
            if a.text == b.text { !told_apart(self.rule, second.rule, a) } else { can_meet(&a.steps, &b.steps) }
        });
        alike.find_map(|(a, b)| {
            let because = self.unequal_demands(a, second, b).or_else(|| self.mistaken_projects(a, second, b))?;
            let (first, second) = (self.rule.name.clone(), second.rule.name.clone());
            Some(SharedId { first, second, template: b.text.clone(), because })
        })
    }

    fn unequal_demands(&self, name: &Naming<'_>, second: &Self, other: &Naming<'_>) -> Option<Clash> {
        if std::ptr::eq(self.rule, second.rule) {
            return None;
        }
        let (mine, theirs) = (demands(self.rule, name), demands(second.rule, other));
        // Lists of two files may have one name.
        let only = |one: &Demands, other: &Demands| {
            let missing = one.iter().filter(|(exactly, _)| !other.contains_key(*exactly));
            let told =
                missing.map(|(exactly, words)| if other.values().any(|same| same == words) { exactly } else { words });
            told.cloned().collect()
        };
        (!mine.keys().eq(theirs.keys()))
            .then(|| Clash::Demands { only_first: only(&mine, &theirs), only_second: only(&theirs, &mine) })
    }

    fn mistaken_projects(&self, name: &Naming<'_>, second: &Self, other: &Naming<'_>) -> Option<Clash> {
        let project = self.rule.only_project();
        let of_one = project.is_some() && project == second.rule.only_project();
        (name.text != other.text && !of_one && !name.names_project_as(other))
            .then(|| Clash::Projects { other: name.text.clone() })
    }
}

/// In words, by an exact text.
type Demands = BTreeMap<String, String>;

/// What a rule demands beyond what the name itself shows.
fn demands(rule: &Rule, name: &Naming<'_>) -> Demands {
    let mut shown = Vec::new();
    for hole in &name.holes {
        shown.extend_from_slice(match *hole {
            "project_path" | "project_id" => &["project_path", "project_id", "namespace_path", "namespace_id"],
            "namespace_path" | "namespace_id" => &["namespace_path", "namespace_id"],
            "pipeline_id" | "job_id" => &["pipeline_id"][..],
            _ => &[],
        });
    }
    let counts = |term: &&Condition| !term.tests().iter().all(|(name, ..)| shown.contains(name));
    let when = rule.when.iter().filter(counts).map(|term| (term.exactly(), term.to_string()));
    let unless = rule.unless.iter().filter(counts);
    let unless = unless.map(|term| (format!("unless {}", term.exactly()), format!("unless {term}")));
    let needs = rule.needs.iter().map(|need| (format!("need {need:?}"), format!("need {need}")));
    when.chain(unless).chain(needs).collect()
}

/// Whether two rules of one template fix a claim of it to different values, so that no ID is of both.
fn told_apart(first: &Rule, second: &Rule, name: &Naming<'_>) -> bool {
    name.holes.iter().any(|hole| match (first.fixed(hole), second.fixed(hole)) {
        (Some(mine), Some(theirs)) => mine.is_disjoint(&theirs),
        _ => false,
    })
}

#[cfg(test)]
pub(super) fn find_among_all_pairs(rules: &[Rule]) -> Vec<SharedId> {
    let granting: Vec<Granting<'_>> = rules
        .iter()
        .filter(|rule| !rule.observe)
        .map(|rule| Granting { rule, names: Naming::ids(rule).into() })
        .collect();
    let pairs =
        granting.iter().enumerate().flat_map(|(at, second)| granting[..=at].iter().map(move |one| (one, second)));
    pairs.filter_map(|(first, second)| first.shared_with(second)).take(PAIRS_MAX).collect()
}

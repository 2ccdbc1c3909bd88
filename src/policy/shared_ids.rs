//! Two rules that can grant one ID must demand the same: otherwise the ID would promise the stricter rule's
//! conditions to a mesh, and the laxer rule would give it to somebody who does not meet them.

use super::{Condition, Rule, Test};
use crate::identity::IdTemplate;
use std::collections::BTreeSet;

/// Two rules that could give the same ID while demanding different things.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("rules {first:?} and {second:?} can both give {template}, and demand different things")]
pub struct SharedId {
    /// The earlier rule.
    pub first: String,
    /// The later rule.
    pub second: String,
    /// The later rule's template.
    pub template: String,
    /// What only the first demands, in words.
    pub only_first: Vec<String>,
    /// What only the second demands, in words.
    pub only_second: Vec<String>,
}

/// A thousand rules of one template would make half a million pairs; whoever mends the first sees the rest.
const PAIRS_MAX: usize = 100;

/// The first hundred of such pairs. Rules that only observe grant nothing and do not count.
pub(super) fn find(rules: &[Rule]) -> Vec<SharedId> {
    let granting: Vec<Granting<'_>> = rules.iter().filter(|rule| !rule.observe).map(Granting::of).collect();
    let with_all_before = granting.iter().enumerate();
    let pairs = with_all_before.flat_map(|(at, second)| granting.iter().take(at).map(move |first| (first, second)));
    pairs.filter_map(|(first, second)| first.shared_with(second)).take(PAIRS_MAX).collect()
}

/// A rule, and its templates taken apart once for all pairs.
struct Granting<'r> {
    rule: &'r Rule,
    ids: Vec<(&'r IdTemplate, Vec<Step<Segment>>)>,
}

impl<'r> Granting<'r> {
    fn of(rule: &'r Rule) -> Self {
        Self { rule, ids: rule.svids.iter().map(|svid| (&svid.id, segments(&svid.id))).collect() }
    }

    fn shared_with(&self, second: &Self) -> Option<SharedId> {
        let pairs = self.ids.iter().flat_map(|one| second.ids.iter().map(move |other| (one, other)));
        let alike = pairs.filter(
            |((a, in_a), (b, in_b))| {
                if a == b { !told_apart(self.rule, second.rule, a) } else { can_meet(in_a, in_b) }
            },
        );
        alike.map(|((a, _), (b, _))| (a, b)).find_map(|(a, b)| {
            let (mine, theirs) = (demands(self.rule, a), demands(second.rule, b));
            (mine != theirs).then(|| SharedId {
                first: self.rule.name.clone(),
                second: second.rule.name.clone(),
                template: b.to_string(),
                only_first: mine.difference(&theirs).cloned().collect(),
                only_second: theirs.difference(&mine).cloned().collect(),
            })
        })
    }
}

/// What a rule demands beyond what the ID itself shows, in words. The issuer always counts: no template shows it.
fn demands(rule: &Rule, template: &IdTemplate) -> BTreeSet<String> {
    let mut shown = Vec::new();
    for hole in template.holes() {
        shown.extend_from_slice(match hole {
            "project_path" | "project_id" => &["project_path", "project_id", "namespace_path", "namespace_id"],
            "namespace_path" | "namespace_id" => &["namespace_path", "namespace_id"],
            "pipeline_id" | "job_id" => &["pipeline_id"][..],
            _ => &[],
        });
    }
    let counts = |term: &&Condition| !term.tests().iter().all(|(name, ..)| shown.contains(name));
    let when = rule.when.iter().filter(counts).map(ToString::to_string);
    let unless = rule.unless.iter().filter(counts).map(|term| format!("unless {term}"));
    when.chain(unless).collect()
}

/// Whether two rules of one template fix a claim of it to different values, so that no ID is of both.
fn told_apart(first: &Rule, second: &Rule, template: &IdTemplate) -> bool {
    template.holes().any(|hole| match (exact(first, hole), exact(second, hole)) {
        (Some(mine), Some(theirs)) => mine.is_disjoint(&theirs),
        _ => false,
    })
}

/// The values that a rule fixes a claim to.
fn exact(rule: &Rule, claim: &str) -> Option<BTreeSet<String>> {
    rule.when.iter().find_map(|term| match term {
        Condition::Claim { name, test, .. } if name == claim => values(test),
        Condition::All(_) | Condition::Any(_) | Condition::Claim { .. } | Condition::Not(_) => None,
    })
}

fn values(test: &Test) -> Option<BTreeSet<String>> {
    match test {
        Test::Id(id) => Some(BTreeSet::from([id.to_string()])),
        Test::Text(exactly) => Some(BTreeSet::from([exactly.clone()])),
        Test::OneOf { tests, .. } => {
            let each: Option<Vec<_>> = tests.iter().map(values).collect();
            Some(each?.into_iter().flatten().collect())
        }
        Test::Bool(_) | Test::Glob(_) | Test::Prefix(_) => None,
    }
}

/// Whether some claims give the same ID by both templates.
fn can_meet(a: &[Step<Segment>], b: &[Step<Segment>]) -> bool {
    meet(a, b, &|a, b| match (a, b) {
        (Segment::AnyName, Segment::AnyName | Segment::Pieces(_)) | (Segment::Pieces(_), Segment::AnyName) => true,
        (Segment::AnyName, Segment::Literal(text)) | (Segment::Literal(text), Segment::AnyName) => text != NO_NAME,
        (Segment::Literal(a), Segment::Literal(b)) => a == b,
        (Segment::Literal(text), Segment::Pieces(pieces)) | (Segment::Pieces(pieces), Segment::Literal(text)) => {
            meet(pieces, &letters(text), &|a, b| a.can_be(*b))
        }
        (Segment::Pieces(a), Segment::Pieces(b)) => a == b || meet(a, b, &|a, b| a.can_be(*b)),
    })
}

/// A thing that stands once, or any number of times.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Step<T> {
    Any(T),
    One(T),
}

/// One segment of an ID.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Segment {
    /// A name in a path; never `-`.
    AnyName,
    Literal(String),
    /// With an id in it.
    Pieces(Vec<Step<Letter>>),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Letter {
    Digit,
    This(char),
}

impl Letter {
    fn can_be(self, other: Self) -> bool {
        match (self, other) {
            (Self::Digit, Self::Digit) => true,
            (Self::Digit, Self::This(c)) | (Self::This(c), Self::Digit) => c.is_ascii_digit(),
            (Self::This(a), Self::This(b)) => a == b,
        }
    }
}

/// Whether two patterns have a sequence in common. The work is bounded by one length times the other: rows run from the
/// end of `a` to its start, and a cell says whether what is left of both meets.
fn meet<T>(a: &[Step<T>], b: &[Step<T>], can_be: &impl Fn(&T, &T) -> bool) -> bool {
    let (mut row, mut below) = (vec![false; b.len() + 1], vec![false; b.len() + 1]);
    for from_a in std::iter::once(None).chain(a.iter().rev().map(Some)) {
        for at in (0..=b.len()).rev() {
            let is = |row: &[bool], at: usize| row.get(at) == Some(&true);
            let met = match (from_a, b.get(at)) {
                (None, None) => true,
                (Some(Step::Any(_)), _) if is(&below, at) => true,
                (_, Some(Step::Any(_))) if is(&row, at + 1) => true,
                (Some(Step::One(x)), Some(Step::One(y))) => is(&below, at + 1) && can_be(x, y),
                (Some(Step::One(x)), Some(Step::Any(y))) => is(&below, at) && can_be(x, y),
                (Some(Step::Any(x)), Some(Step::One(y))) => is(&row, at + 1) && can_be(x, y),
                _ => false,
            };
            if let Some(cell) = row.get_mut(at) {
                *cell = met;
            }
        }
        std::mem::swap(&mut row, &mut below);
    }
    below.first() == Some(&true)
}

fn segments(template: &IdTemplate) -> Vec<Step<Segment>> {
    let text = template.to_string();
    let mut steps = Vec::new();
    for segment in text.split('/').skip(1) {
        if matches!(segment, "{project_path}" | "{namespace_path}") {
            steps.extend([Step::One(Segment::AnyName), Step::Any(Segment::AnyName)]);
        } else if segment.contains('{') {
            steps.push(Step::One(Segment::Pieces(letters(segment))));
        } else {
            steps.push(Step::One(Segment::Literal(segment.to_owned())));
        }
    }
    steps
}

/// A hole that is no path is an id: digits.
fn letters(segment: &str) -> Vec<Step<Letter>> {
    let mut steps = Vec::new();
    let mut inside_hole = false;
    for c in segment.chars() {
        match c {
            '{' => steps.extend([Step::One(Letter::Digit), Step::Any(Letter::Digit)]),
            _ if inside_hole || c == '}' => {}
            _ => steps.push(Step::One(Letter::This(c))),
        }
        inside_hole = c == '{' || (inside_hole && c != '}');
    }
    steps
}

/// What no GitLab namespace or project can be called.
const NO_NAME: &str = "-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_that_can_give_one_id_are_seen() {
        for (a, b, shared) in [
            ("/{project_path}/-/pipelines/{pipeline_id}", "/{project_path}/-/pipelines/{pipeline_id}", true),
            ("/{project_path}/-/pipelines/{pipeline_id}", "/{project_path}/-/jobs/{job_id}", false),
            ("/{project_path}/-/pipelines/{pipeline_id}", "/{project_path}/-/pipelines/{job_id}", true),
            ("/{project_path}/-/pipelines/{pipeline_id}", "/acme/api/-/pipelines/7", true),
            ("/{project_path}/-/pipelines/{pipeline_id}", "/acme/api/-/pipelines/latest", false),
            ("/{project_path}/-/pipelines/{pipeline_id}", "/{namespace_path}/-/pipelines/{pipeline_id}", true),
            (
                "/{project_path}/-/pipelines/{pipeline_id}",
                "/{project_path}/-/environments/production/pipelines/{pipeline_id}",
                false,
            ),
            ("/projects/{project_id}/-/ci", "/projects/p{project_id}/-/ci", false),
            ("/projects/{project_id}/-/ci", "/{project_path}/-/ci", true),
            ("/corp/{project_path}/-/ci", "/partner/{project_path}/-/ci", false),
        ] {
            let [a, b] = [a, b].map(|text| segments(&IdTemplate::parse(text).unwrap()));
            assert_eq!((can_meet(&a, &b), can_meet(&b, &a)), (shared, shared), "{a:?} and {b:?}");
        }
    }

    #[test]
    fn templates_with_many_holes_are_compared_in_a_moment() {
        let ids = vec!["{project_id}-{pipeline_id}"; 60].join("-");
        let (a, b) = (format!("/{ids}-x"), format!("/{ids}-y"));
        let [a, b] = [a, b].map(|text| segments(&IdTemplate::parse(&text).unwrap()));
        assert!(!can_meet(&a, &b) && can_meet(&a, &a));
        let paths = vec!["{project_path}/-"; 100].join("/");
        let (a, b) = (format!("/{paths}/x"), format!("/{paths}/y"));
        let [a, b] = [a, b].map(|text| segments(&IdTemplate::parse(&text).unwrap()));
        assert!(!can_meet(&a, &b) && can_meet(&a, &a));
    }
}

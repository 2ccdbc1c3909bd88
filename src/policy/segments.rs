//! Which IDs a template can give, and which templates can give one ID.

use crate::identity::IdTemplate;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Whether some claims give the same ID by both templates.
pub(super) fn can_meet(a: &[Step<Segment>], b: &[Step<Segment>]) -> bool {
    meet(a, b, &Segment::can_be)
}

/// Whether the project can be read back alike from an ID of both: all that stands before it and the hole itself are the
/// same, and a path ends at `-`.
pub(super) fn name_project_alike(a: &IdTemplate, b: &IdTemplate) -> bool {
    let [a, b] = [a, b].map(IdTemplate::to_string);
    up_to_project(&a).is_some_and(|project| Some(project) == up_to_project(&b))
}

/// A template's text up to the segment that holds the project, that included.
pub(super) fn up_to_project(text: &str) -> Option<&str> {
    let hole = ["{project_path}", "{project_id}"].into_iter().filter_map(|hole| text.find(hole)).min()?;
    let (before, behind) = text.split_at_checked(hole)?;
    text.get(..before.len() + behind.find('/').unwrap_or(behind.len()))
}

/// A thing that stands once, or any number of times.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Step<T> {
    Any(T),
    One(T),
}

impl<T> Step<T> {
    pub(super) const fn what(&self) -> &T {
        match self {
            Self::Any(what) | Self::One(what) => what,
        }
    }
}

/// One segment of an ID.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Segment {
    /// A name in a path; never `-`.
    AnyName,
    Literal(String),
    /// With an id in it.
    Pieces(Vec<Step<Letter>>),
}

impl Segment {
    pub(super) fn can_be(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::AnyName, Self::AnyName | Self::Pieces(_)) | (Self::Pieces(_), Self::AnyName) => true,
            (Self::AnyName, Self::Literal(text)) | (Self::Literal(text), Self::AnyName) => text != NO_NAME,
            (Self::Literal(a), Self::Literal(b)) => a == b,
            (Self::Literal(text), Self::Pieces(pieces)) | (Self::Pieces(pieces), Self::Literal(text)) => {
                meet(pieces, &letters(text), &|a, b| a.can_be(*b))
            }
            (Self::Pieces(a), Self::Pieces(b)) => a == b || meet(a, b, &|a, b| a.can_be(*b)),
        }
    }
}

/// What can stand for one letter.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Letter {
    Any,
    Digit,
    /// Of `true` and `false`, and of the name of a kind.
    Lower,
    /// Of names with slashes.
    Path,
    This(char),
}

impl Letter {
    /// Whether it can be this one.
    pub(super) const fn holds(self, character: char) -> bool {
        match self {
            Self::Any => true,
            Self::Digit => character.is_ascii_digit(),
            Self::Lower => character.is_ascii_lowercase() || character == '_',
            Self::Path => character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.' | '/'),
            Self::This(this) => this == character,
        }
    }

    const fn can_be(self, other: Self) -> bool {
        match (self, other) {
            (Self::This(this), some) | (some, Self::This(this)) => some.holds(this),
            (Self::Digit, Self::Lower) | (Self::Lower, Self::Digit) => false,
            (
                Self::Any | Self::Digit | Self::Lower | Self::Path,
                Self::Any | Self::Digit | Self::Lower | Self::Path,
            ) => true,
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

/// A template, segment by segment.
pub(super) fn segments(template: &IdTemplate) -> Vec<Step<Segment>> {
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

/// Many templates, read from the last segment to the first: what tells templates apart stands near their end.
#[derive(Debug)]
pub(super) struct Templates(Vec<Node>);

#[derive(Debug, Default)]
struct Node {
    /// The templates that are read to their start here.
    complete: Vec<usize>,
    /// Where the literals before this lead.
    literals: HashMap<String, usize>,
    /// Where other steps lead.
    others: Vec<(Step<Segment>, usize)>,
}

impl Templates {
    /// Of templates, each known by its place among them.
    pub(super) fn of(templates: &[&[Step<Segment>]]) -> Self {
        let mut all = Self(vec![Node::default()]);
        for (name, steps) in templates.iter().enumerate() {
            let start = steps.iter().rev().fold(0, |at, step| all.before(at, step));
            if let Some(node) = all.0.get_mut(start) {
                node.complete.push(name);
            }
        }
        all
    }

    /// Where a step leads, made where it is not there yet.
    fn before(&mut self, at: usize, step: &Step<Segment>) -> usize {
        let new = self.0.len();
        let Some(node) = self.0.get_mut(at) else { return at };
        let known = match step {
            Step::One(Segment::Literal(text)) => node.literals.get(text).copied(),
            other @ (Step::Any(_) | Step::One(Segment::AnyName | Segment::Pieces(_))) => {
                node.others.iter().find(|(step, _)| step == other).map(|(_, to)| *to)
            }
        };
        if let Some(known) = known {
            return known;
        }
        match step {
            Step::One(Segment::Literal(text)) => drop(node.literals.insert(text.clone(), new)),
            other @ (Step::Any(_) | Step::One(Segment::AnyName | Segment::Pieces(_))) => {
                node.others.push((other.clone(), new));
            }
        }
        self.0.push(Node::default());
        new
    }

    /// Those that can give an ID that this one can give: itself, and rarely another.
    pub(super) fn meeting(&self, steps: &[Step<Segment>]) -> BTreeSet<usize> {
        let (mut found, mut seen, mut next) = (BTreeSet::new(), HashSet::new(), vec![(0, steps.len())]);
        while let Some((at, left)) = next.pop() {
            let Some(node) = self.0.get(at).filter(|_| seen.insert((at, left))) else { continue };
            let Some((last, before)) = steps.get(..left).and_then(<[_]>::split_last) else {
                found.extend(&node.complete);
                next.extend(
                    node.others.iter().filter(|(step, _)| matches!(step, Step::Any(_))).map(|(_, to)| (*to, 0)),
                );
                continue;
            };
            let left_then = match last {
                Step::Any(_) => left,
                Step::One(_) => before.len(),
            };
            if let Step::Any(_) = last {
                next.push((at, before.len()));
            }
            node.follow(at, last.what(), |to| next.push((to, left_then)));
            next.extend(node.others.iter().filter(|(step, _)| matches!(step, Step::Any(_))).map(|(_, to)| (*to, left)));
        }
        found
    }
}

impl Node {
    /// Where one segment leads.
    fn follow(&self, at: usize, segment: &Segment, mut lead: impl FnMut(usize)) {
        match segment {
            Segment::Literal(text) => self.literals.get(text).into_iter().for_each(|to| lead(*to)),
            other @ (Segment::AnyName | Segment::Pieces(_)) => {
                let literals = self.literals.iter();
                let fitting = literals.filter(|(text, _)| other.can_be(&Segment::Literal((*text).clone())));
                fitting.for_each(|(_, to)| lead(*to));
            }
        }
        for (step, to) in self.others.iter().filter(|(step, _)| step.what().can_be(segment)) {
            lead(if let Step::Any(_) = step { at } else { *to });
        }
    }
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

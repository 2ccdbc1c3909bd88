//! A set of IDs, as a mesh can be told of it: literals, and what may stand between and behind them.

use super::segments::{Letter, Segment, Step, can_meet};
use std::fmt;

/// What stands at one place of an ID's path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum IdPart {
    /// An id as digits, without a leading zero.
    Digits,
    /// This text; may hold slashes.
    Literal(String),
    /// One name in a path; never `-`.
    Name,
    /// One name or several with slashes between; none is `-`.
    Path,
    /// Whatever an ID may hold, at least one character; only at the end.
    Rest,
}

/// The IDs of one trust domain whose paths read so. No two literals stand side by side.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct IdSet(Vec<IdPart>);

impl IdSet {
    /// All that goes on behind this beginning.
    pub fn prefix(beginning: &str) -> Self {
        Self::from_iter([IdPart::Literal(beginning.to_owned()), IdPart::Rest])
    }

    /// What it is made of.
    pub fn parts(&self) -> &[IdPart] {
        &self.0
    }

    /// Its only path, if it has no other.
    pub fn only(&self) -> Option<&str> {
        match self.0.as_slice() {
            [IdPart::Literal(path)] => Some(path),
            _ => None,
        }
    }

    /// How all its paths begin.
    pub fn beginning(&self) -> &str {
        match self.0.first() {
            Some(IdPart::Literal(text)) => text,
            Some(IdPart::Digits | IdPart::Name | IdPart::Path | IdPart::Rest) | None => "",
        }
    }

    /// Whether an ID can be of both.
    pub fn meets(&self, other: &Self) -> bool {
        can_meet(&self.steps(), &other.steps())
    }

    /// As templates are compared.
    pub(super) fn steps(&self) -> Vec<Step<Segment>> {
        let (mut steps, mut letters) = (Vec::new(), Vec::new());
        let text = self.0.iter().flat_map(|part| match part {
            IdPart::Literal(text) => text.chars().map(Piece::Char).collect(),
            part @ (IdPart::Digits | IdPart::Name | IdPart::Path | IdPart::Rest) => vec![Piece::Part(part)],
        });
        for piece in text.skip(1) {
            match piece {
                Piece::Char('/') => steps.extend(segment(&mut letters)),
                Piece::Char(c) => letters.push(Step::One(Letter::This(c))),
                Piece::Part(IdPart::Digits) => letters.extend([Step::One(Letter::Digit), Step::Any(Letter::Digit)]),
                Piece::Part(IdPart::Path) => {
                    steps.extend([Step::One(Segment::AnyName), Step::Any(Segment::AnyName)]);
                }
                Piece::Part(IdPart::Name) => steps.push(Step::One(Segment::AnyName)),
                Piece::Part(IdPart::Rest) => {
                    letters.push(Step::Any(Letter::Any));
                    steps.extend(segment(&mut letters));
                    steps.push(Step::Any(Segment::Pieces(vec![Step::Any(Letter::Any)])));
                }
                Piece::Part(IdPart::Literal(_)) => {}
            }
        }
        steps.extend(segment(&mut letters));
        steps
    }
}

enum Piece<'s> {
    Char(char),
    Part(&'s IdPart),
}

/// What was read of a segment, whole; none where nothing was, as behind a path.
fn segment(letters: &mut Vec<Step<Letter>>) -> Option<Step<Segment>> {
    let letters = std::mem::take(letters);
    let literal = letters.iter().map(|step| match step {
        Step::One(Letter::This(c)) => Some(*c),
        Step::Any(_) | Step::One(Letter::Any | Letter::Digit | Letter::Lower | Letter::Path) => None,
    });
    match literal.collect::<Option<String>>() {
        Some(text) if text.is_empty() => None,
        Some(text) => Some(Step::One(Segment::Literal(text))),
        None => Some(Step::One(Segment::Pieces(letters))),
    }
}

impl FromIterator<IdPart> for IdSet {
    fn from_iter<T: IntoIterator<Item = IdPart>>(parts: T) -> Self {
        let mut set = Self::default();
        for part in parts {
            match (set.0.last_mut(), part) {
                (Some(IdPart::Literal(before)), IdPart::Literal(text)) => before.push_str(&text),
                (_, part) => set.0.push(part),
            }
        }
        set
    }
}

/// As a person reads it.
impl fmt::Display for IdSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            IdPart::Digits => f.write_str("<id>"),
            IdPart::Literal(text) => f.write_str(text),
            IdPart::Name => f.write_str("<name>"),
            IdPart::Path => f.write_str("<path>"),
            IdPart::Rest => f.write_str("*"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::segments::segments;
    use super::*;
    use crate::identity::IdTemplate;

    #[test]
    fn a_set_meets_exactly_the_templates_that_give_an_id_of_it() {
        let literal = |text: &str| IdPart::Literal(text.to_owned());
        let production = literal("/-/environments/production/pipelines/");
        let below = IdSet::from_iter([literal("/acme/"), IdPart::Name, production, IdPart::Digits]);
        let usual = "/{project_path}/-/pipelines/{pipeline_id}";
        let deploys = "/{project_path}/-/environments/production/pipelines/{pipeline_id}";
        for (set, template, meets) in [
            (IdSet::prefix("/acme/api/-/pipelines/"), usual, true),
            (IdSet::prefix("/acme/api/-/pipelines/"), deploys, false),
            (IdSet::prefix("/acme/api/-/pipelines/"), "/{project_path}/-/pipelines/latest", true),
            (IdSet::prefix("/acme/api/-/pipelines/"), "/{project_path}/-/pipelines/{pipeline_id}/jobs/{job_id}", true),
            (IdSet::prefix("/acme/api/-/pipelines/"), "/acme/api-v2/-/pipelines/{pipeline_id}", false),
            (IdSet::prefix("/acme/"), usual, true),
            (IdSet::prefix("/acme/"), "/{project_path}", true),
            (IdSet::prefix("/"), "/projects/{project_id}", true),
            (IdSet::prefix("/projects/4/"), "/projects/{project_id}/-/x", true),
            (IdSet::prefix("/projects/4/"), "/projects/42/-/x", false),
            (IdSet::prefix("/ns/ci/sa/p4."), "/ns/ci/sa/p{project_id}.pl{pipeline_id}", true),
            (IdSet::prefix("/ns/ci/sa/p4."), "/ns/ci/sa/p42.pl{pipeline_id}", false),
            (below.clone(), deploys, true),
            (below.clone(), usual, false),
            (below, "/{namespace_path}/-/environments/production/pipelines/5", true),
            (IdSet::from_iter([literal("/acme/api")]), "/{project_path}", true),
            (IdSet::from_iter([literal("/acme/api")]), usual, false),
        ] {
            let template = segments(&IdTemplate::parse(template).unwrap());
            assert_eq!(can_meet(&set.steps(), &template), meets, "{set} and {template:?}");
        }
    }
}

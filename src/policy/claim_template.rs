//! The text of a claim with holes to be filled from the token's claims, such as `{project_id}.{pipeline_id}`.
//!
//! **Invariant:** filling is injective, as with SPIFFE IDs: two bearers whose claims differ never get one text, because a
//! hole ends where a character stands that its value cannot have, and at most one hole can have them all.

use super::segments::{Letter, Segment, Step};
use super::{Answer, Answers, SHOWN_FACTS, Seen};
use crate::token::{ClaimKind, Claims, claim_kind};
use std::fmt;

/// The longest text of a claim; several consumers read no header of more than a few of these.
const TEXT_BYTES_MAX: usize = 1024;

/// A legal template: with values that fit it gives a text that names its values.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ClaimTemplate {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Piece {
    Hole(String),
    Literal(String),
}

/// Why a text is no template.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ClaimTemplateError {
    /// Two holes that can run into each other.
    #[error(
        "{{{before}}} and {{{behind}}} can run into each other, so that two jobs get one text; put a character between them \
         that neither can have, such as ':' between a path and a ref"
    )]
    Ambiguous {
        /// The first hole.
        before: String,
        /// The second.
        behind: String,
    },
    /// Nothing, or control characters.
    #[error("a claim is a text of visible characters, and not empty")]
    Characters,
    /// A hole for something that is no text.
    #[error("the claim {claim:?} is a list, and only texts, ids and truth values can stand in a text")]
    List {
        /// Which.
        claim: String,
    },
    /// A text that is too long for any value.
    #[error("a claim has at most {TEXT_BYTES_MAX} bytes")]
    TooLong,
    /// Two holes, each of which can hold anything.
    #[error(
        "{{{first}}} and {{{second}}} can both hold anything, so that two jobs could get one text; make two claims of them"
    )]
    TwoFree {
        /// The first of them.
        first: String,
        /// The second.
        second: String,
    },
    /// A brace without its partner.
    #[error("a '{{' and its '}}' belong together")]
    UnbalancedBraces,
    /// A hole for what no token has.
    #[error("no token has a claim {claim:?}")]
    Unknown {
        /// Which.
        claim: String,
    },
}

/// Why a job's values do not make a claim. They are never cut, escaped or cleaned up.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ClaimFillError {
    /// A control character.
    #[error("{claim:?} of this job holds a control character")]
    Characters {
        /// Which of the token's claims.
        claim: String,
    },
    /// The token lacks it, or it is empty.
    #[error("this job's token has no {claim:?}, or an empty one")]
    Missing {
        /// Which of the token's claims.
        claim: String,
    },
    /// Longer than anybody reads.
    #[error("it would have {actual} bytes, at most {TEXT_BYTES_MAX} are written")]
    TooLong {
        /// How many it would have.
        actual: usize,
    },
    /// Another system should have told it.
    #[error("no other system told {fact:?} of this job")]
    Untold {
        /// What.
        fact: String,
    },
}

impl ClaimTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// See [`ClaimTemplateError`].
    pub fn parse(text: &str) -> Result<Self, ClaimTemplateError> {
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(ClaimTemplateError::Characters);
        }
        if text.len() > TEXT_BYTES_MAX {
            return Err(ClaimTemplateError::TooLong);
        }
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((literal, hole)) = rest.split_once('{') {
            let (claim, behind) = hole.split_once('}').ok_or(ClaimTemplateError::UnbalancedBraces)?;
            letters_of(claim)?;
            pieces.extend(Piece::literal(literal)?);
            pieces.push(Piece::Hole(claim.to_owned()));
            rest = behind;
        }
        pieces.extend(Piece::literal(rest)?);
        let template = Self { text: text.to_owned(), pieces };
        template.check_that_holes_end()?;
        Ok(template)
    }

    /// Fills the holes, from the token or from what other systems told.
    ///
    /// # Errors
    /// See [`ClaimFillError`].
    pub fn fill(&self, claims: &Claims, facts: &Answers) -> Result<String, ClaimFillError> {
        let filled = self.pieces.iter().map(|piece| match piece {
            Piece::Literal(literal) => Ok(literal.clone()),
            Piece::Hole(fact) if is_shown(fact) => match facts.of(fact) {
                Some(Answer::Is(Seen::Count(number))) => Ok(number.to_string()),
                Some(_) | None => Err(ClaimFillError::Untold { fact: fact.clone() }),
            },
            Piece::Hole(claim) => {
                let value = claims.view(claim).map(|value| value.to_string()).filter(|value| !value.is_empty());
                let value = value.ok_or_else(|| ClaimFillError::Missing { claim: claim.clone() })?;
                let is_plain = !value.chars().any(char::is_control);
                is_plain.then_some(value).ok_or_else(|| ClaimFillError::Characters { claim: claim.clone() })
            }
        });
        let text: String = filled.collect::<Result<_, _>>()?;
        let actual = text.len();
        if actual > TEXT_BYTES_MAX { Err(ClaimFillError::TooLong { actual }) } else { Ok(text) }
    }

    /// The text with the same value in each hole.
    pub(super) fn with(&self, value: &str) -> String {
        self.pieces.iter().map(|piece| piece.hole().map_or_else(|| piece.text(), |_claim| value)).collect()
    }

    /// Letter by letter, each a segment of its own, to be held against another.
    pub(super) fn steps(&self) -> Vec<Step<Segment>> {
        let of_piece = |piece: &Piece| match piece {
            Piece::Literal(text) => {
                text.chars().map(|letter| Step::One(Segment::Literal(letter.to_string()))).collect::<Vec<_>>()
            }
            Piece::Hole(claim) => {
                let letter = Segment::Pieces(vec![Step::One(letters_of(claim).unwrap_or(Letter::Any))]);
                vec![Step::One(letter.clone()), Step::Any(letter)]
            }
        };
        self.pieces.iter().flat_map(of_piece).collect()
    }

    /// The token's claims that it wants, in order.
    pub fn holes(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(Piece::hole)
    }

    /// Read from either end, each hole ends where a character stands that its value cannot have; the one that can have
    /// them all is what is left.
    fn check_that_holes_end(&self) -> Result<(), ClaimTemplateError> {
        let mut free = self.holes().filter(|claim| letters_of(claim) == Ok(Letter::Any));
        if let (Some(first), Some(second)) = (free.next(), free.next()) {
            return Err(ClaimTemplateError::TwoFree { first: first.to_owned(), second: second.to_owned() });
        }
        let free_at = self.pieces.iter().position(|piece| piece.hole().map(letters_of) == Some(Ok(Letter::Any)));
        let ends = |hole: &str, next: Option<char>| {
            let letters = letters_of(hole).unwrap_or(Letter::Any);
            next.is_some_and(|next| !letters.holds(next))
        };
        let holes = || self.pieces.iter().enumerate().filter_map(|(at, piece)| Some((at, piece.hole()?)));
        for ((at, before), (next_at, behind)) in holes().zip(holes().skip(1)) {
            let between = self.pieces.get(at + 1..next_at).and_then(|pieces| pieces.first()).map(Piece::text);
            // Before the free hole one reads forwards, behind it backwards.
            let fits = if free_at.is_none_or(|free_at| at < free_at) {
                ends(before, between.and_then(|text| text.chars().next()))
            } else {
                ends(behind, between.and_then(|text| text.chars().next_back()))
            };
            if !fits {
                return Err(ClaimTemplateError::Ambiguous { before: before.to_owned(), behind: behind.to_owned() });
            }
        }
        Ok(())
    }
}

/// What a claim's value can be written with.
/// Whether another system tells it.
fn is_shown(hole: &str) -> bool {
    SHOWN_FACTS.iter().any(|(shown, _)| *shown == hole)
}

fn letters_of(claim: &str) -> Result<Letter, ClaimTemplateError> {
    match claim_kind(claim) {
        None if is_shown(claim) => Ok(Letter::Digit),
        Some(ClaimKind::Actor | ClaimKind::Bool) => Ok(Letter::Lower),
        Some(ClaimKind::Id) => Ok(Letter::Digit),
        Some(ClaimKind::Path) => Ok(Letter::Path),
        Some(ClaimKind::Text) => Ok(Letter::Any),
        Some(ClaimKind::Identities | ClaimKind::Texts) => Err(ClaimTemplateError::List { claim: claim.to_owned() }),
        None => Err(ClaimTemplateError::Unknown { claim: claim.to_owned() }),
    }
}

impl Piece {
    fn literal(text: &str) -> Result<Option<Self>, ClaimTemplateError> {
        if text.contains('}') {
            return Err(ClaimTemplateError::UnbalancedBraces);
        }
        Ok((!text.is_empty()).then(|| Self::Literal(text.to_owned())))
    }

    fn hole(&self) -> Option<&str> {
        if let Self::Hole(claim) = self { Some(claim) } else { None }
    }

    fn text(&self) -> &str {
        match self {
            Self::Hole(text) | Self::Literal(text) => text,
        }
    }
}

impl fmt::Display for ClaimTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::tests::claims_of;
    use proptest::prelude::*;
    use serde_json::json;

    fn filled(template: &str, changes: &[(&str, serde_json::Value)]) -> Result<String, ClaimFillError> {
        let changes: Vec<_> = changes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let claims = claims_of("deploy_production_protected", &changes).unwrap();
        ClaimTemplate::parse(template).unwrap().fill(claims.claims(), &Answers::NONE)
    }

    #[test]
    fn texts_are_filled_from_ids_paths_truths_and_one_free_text() {
        let changes = [
            ("project_id", json!("42")),
            ("job_project_id", json!("42")),
            ("pipeline_id", json!("7")),
            ("ref", json!("a:b")),
            ("ref_protected", json!("true")),
        ];
        for (template, text) in [
            ("{project_id}.{pipeline_id}", "42.7"),
            ("job of {project_id}", "job of 42"),
            ("{project_id}:{ref}:{pipeline_id}", "42:a:b:7"),
            ("{ref_protected}-{ref}", "true-a:b"),
            ("plain", "plain"),
        ] {
            assert_eq!(filled(template, &changes).as_deref(), Ok(text), "{template}");
        }
    }

    #[test]
    fn what_two_jobs_could_share_is_no_template() {
        for (template, is) in [
            ("{project_id}{pipeline_id}", "run into"),
            ("{project_id}0{pipeline_id}", "run into"),
            ("{project_path}/{ref}", "run into"),
            ("{ref}x/{project_path}", "run into"),
            ("{project_path}-{project_id}", "run into"),
            ("{ref}:{environment}", "both hold anything"),
            ("{groups_direct}", "list"),
            ("{nobody}", "no token"),
            ("{project_id", "belong together"),
            ("project_id}", "belong together"),
            ("", "not empty"),
            ("a\nb", "visible"),
        ] {
            let refused = ClaimTemplate::parse(template).unwrap_err().to_string();
            assert!(refused.contains(is), "{template}: {refused}");
        }
        for fine in ["{project_path}:{ref}", "{ref}:{project_path}", "{project_id}-{ref}-{pipeline_id}"] {
            assert!(ClaimTemplate::parse(fine).is_ok(), "{fine}");
        }
    }

    #[test]
    fn values_that_do_not_fit_are_refused_and_never_cut() {
        let long = "x".repeat(1020);
        let missing = filled("{environment}", &[("environment", json!(null)), ("environment_action", json!(null))]);
        assert!(matches!(missing, Err(ClaimFillError::Missing { .. })), "{missing:?}");
        assert!(matches!(filled("{ref}", &[("ref", json!(""))]), Err(ClaimFillError::Missing { .. })));
        assert!(matches!(filled("{ref}", &[("ref", json!("a\u{7}b"))]), Err(ClaimFillError::Characters { .. })));
        assert_eq!(filled("1234{ref}", &[("ref", json!(long))]).map(|text| text.len()), Ok(1024));
        assert_eq!(filled("12345{ref}", &[("ref", json!(long))]), Err(ClaimFillError::TooLong { actual: 1025 }));
    }

    proptest! {
        #[test]
        fn distinct_values_never_give_one_text(
            (p, q) in (1_u64..120, 1_u64..120),
            (r, s) in ("[0-9a:.-]{1,6}", "[0-9a:.-]{1,6}"),
            (i, j) in (1_u64..120, 1_u64..120),
        ) {
            for template in ["{project_id}:{ref}", "{ref}.{pipeline_id}", "{project_id}-{ref}:{pipeline_id}"] {
                let of = |project: u64, name: &str, pipeline: u64| filled(template, &[
                    ("project_id", json!(project.to_string())),
                    ("job_project_id", json!(project.to_string())),
                    ("ref", json!(name)),
                    ("pipeline_id", json!(pipeline.to_string())),
                ]).unwrap();
                let same = (!template.contains("project") || p == q) && r == s && (!template.contains("pipe") || i == j);
                prop_assert_eq!(of(p, &r, i) == of(q, &s, j), same);
            }
        }

        #[test]
        fn any_text_is_a_template_or_refused(text in "[{}a-z_:.0-9]{0,40}") {
            if let Ok(template) = ClaimTemplate::parse(&text) {
                prop_assert_eq!(template.to_string(), text);
            }
        }
    }
}

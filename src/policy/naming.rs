//! What a rule calls its bearers, taken apart to be held against what other rules call theirs: their IDs, or a claim of
//! their JWT-SVIDs.

use super::segments::{Segment, Step, segments, up_to_project};
use super::{ClaimTemplate, Rule};

/// A template by which a rule names its bearers.
#[derive(Clone, Debug)]
pub(super) struct Naming<'r> {
    pub(super) text: String,
    /// The claims that it shows.
    pub(super) holes: Vec<&'r str>,
    pub(super) steps: Vec<Step<Segment>>,
    /// All of it up to the project, where what stands there can be read as nothing else.
    project: Option<String>,
}

impl<'r> Naming<'r> {
    /// By its IDs.
    pub(super) fn ids(rule: &'r Rule) -> Vec<Self> {
        let each = rule.gives.svids.iter().map(|svid| {
            let text = svid.id.to_string();
            let project = up_to_project(&text).map(str::to_owned);
            Self { text, holes: svid.id.holes().collect(), steps: segments(&svid.id), project }
        });
        each.collect()
    }

    /// By a claim, where it writes that.
    pub(super) fn claim(rule: &'r Rule, name: &str) -> Option<Self> {
        rule.gives.claims.text(name).map(Self::text)
    }

    /// By something that AWS reads, where it writes that.
    pub(super) fn aws(rule: &'r Rule, name: &str) -> Option<Self> {
        rule.gives.claims.aws.text(name).map(Self::text)
    }

    /// A text can have any hole in it, so nothing tells where a project ends.
    fn text(template: &'r ClaimTemplate) -> Self {
        let (text, holes) = (template.to_string(), template.holes().collect());
        Self { text, holes, steps: template.steps(), project: None }
    }

    /// Whether the project can be read back alike from a name of both.
    pub(super) fn names_project_as(&self, other: &Self) -> bool {
        self.project.is_some() && self.project == other.project
    }

    /// All that stands before the first hole, and the first step of that: who writes a pattern for some bearers of this
    /// rule writes at least so much.
    pub(super) fn beginning(&self) -> &[Step<Segment>] {
        let fixed = |step: &&Step<Segment>| matches!(step, Step::One(Segment::Literal(_)));
        let before = self.steps.iter().take_while(fixed).count();
        self.steps.get(..=before).unwrap_or(&self.steps)
    }

    /// Whether what some bearers of one are called can begin as what names some of the other.
    pub(super) fn begins_as(&self, other: &Self) -> bool {
        let mut both = self.beginning().iter().zip(other.beginning());
        both.all(|(one, other)| one.what().can_be(other.what()))
    }
}

//! Who would gain, lose or change if another policy had decided: counts by project and rule, for a reviewer.

use super::{Answers, Policy, Ruling};
use crate::token::Claims;
use serde::Serialize;
use std::collections::BTreeMap;

/// What another policy changes for a request.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It got an identity and would get none.
    Loses,
    /// It would get another identity.
    Changes,
    /// It was refused and would get an identity.
    Gains,
    /// It would be refused as well, with another code.
    OtherwiseRefused,
    /// Nothing.
    Same,
}

impl Change {
    /// As tables say it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Changes => "changes",
            Self::Gains => "gains",
            Self::Loses => "loses",
            Self::OtherwiseRefused => "otherwise refused",
            Self::Same => "same",
        }
    }

    /// From what was said, and now would be.
    pub fn between(granted: Option<&str>, code: &str, now: &Ruling) -> Self {
        match (granted, now) {
            (Some(id), Ruling::Granted { spiffe_id, .. }) if id == spiffe_id => Self::Same,
            (Some(_), Ruling::Granted { .. }) => Self::Changes,
            (Some(_), Ruling::Denied { .. }) => Self::Loses,
            (None, Ruling::Granted { .. }) => Self::Gains,
            (None, Ruling::Denied { code: now, .. }) if now == code => Self::Same,
            (None, Ruling::Denied { .. }) => Self::OtherwiseRefused,
        }
    }
}

/// Requests of one project that change in one way, by the rules that spoke and would speak.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Group {
    /// How.
    pub change: Change,
    /// Whose.
    pub project: String,
    /// The rule that spoke, or the code of the no.
    pub before: String,
    /// The rule that would speak, or the code of its no.
    pub after: String,
}

/// What is told of a group.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Told {
    /// How many requests.
    pub requests: u64,
    /// The first of them.
    pub first_request: String,
    /// What it got: the identity, or the code.
    pub first_got: String,
    /// What it would get.
    pub first_would_get: String,
    /// The first term that decides it now.
    pub decided_by: Option<String>,
}

/// All that was decided again.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// What changes.
    pub groups: BTreeMap<Group, Told>,
    /// How many requests would end as they did.
    pub same: u64,
    /// How many the very policy decided that is asked again: what changes of those is not the policy's doing.
    pub by_itself: u64,
    /// How many cannot be decided again, because their claims are not on record.
    pub without_claims: u64,
    /// How many cannot, because the policy reads claims that are not kept.
    pub withheld: u64,
    /// How many cannot, because the policy needs facts that nobody was asked for.
    pub without_facts: u64,
}

/// A request as the journal tells it.
#[derive(Clone, Copy, Debug)]
pub struct Before<'a> {
    /// Its name.
    pub request: &'a str,
    /// The project's path.
    pub project: &'a str,
    /// Rule and identity, where it got one.
    pub granted: Option<(&'a str, &'a str)>,
    /// The code, where it got none.
    pub code: &'a str,
}

impl Replay {
    /// Adds a request that was decided again.
    pub fn add(&mut self, before: Before<'_>, now: &Ruling, decided_by: impl FnOnce() -> Option<String>) {
        let Before { request, project, granted, code } = before;
        let change = Change::between(granted.map(|(_, id)| id), code, now);
        if change == Change::Same {
            self.same += 1;
            return;
        }
        let after = match now {
            Ruling::Granted { rule, .. } => rule.clone(),
            Ruling::Denied { code, .. } => code.clone(),
        };
        let rule = granted.map_or(code, |(rule, _)| rule).to_owned();
        let group = Group { change, project: project.to_owned(), before: rule, after };
        let told = self.groups.entry(group).or_insert_with(|| Told {
            requests: 0,
            first_request: request.to_owned(),
            first_got: granted.map_or(code, |(_, id)| id).to_owned(),
            first_would_get: now.to_string(),
            decided_by: decided_by(),
        });
        told.requests += 1;
    }

    /// How many requests change so.
    pub fn count(&self, change: Change) -> u64 {
        self.groups.iter().filter(|(group, _)| group.change == change).map(|(_, told)| told.requests).sum()
    }

    /// Whether a policy can be asked with the facts that were heard then; counts it if not.
    pub fn knows_facts(&mut self, (claims, facts): (&Claims, &Answers), policy: &Policy) -> bool {
        let waits = policy.waits_for_facts(claims, facts);
        self.without_facts += u64::from(waits);
        !waits
    }

    /// Whether a policy can be asked although these claims are not kept; counts it if not.
    pub fn can_do_without(&mut self, withheld: &[String], policy: &Policy) -> bool {
        let can = !withheld.iter().any(|claim| policy.reads(claim));
        self.withheld += u64::from(!can);
        can
    }
}

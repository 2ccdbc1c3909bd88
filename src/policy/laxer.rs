//! What an ID of some set promises: whether every rule that can give one demands all that a certain rule demands.
//!
//! **Why:** whoever admits the set for the sake of that rule must not admit anybody else's jobs with it.

use super::segments::{can_meet, name_project_alike, segments};
use super::{Condition, Contradiction, IdSet, Kind, Policy, Rule, Test};
use crate::identity::IdTemplate;
use std::sync::Arc;

/// A rule that can give an ID of a set, and is not known to demand all that another demands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Laxer {
    /// Its name.
    pub rule: String,
    /// What it does not demand, in words.
    pub lacks: String,
}

/// What an ID of a set tells of its bearer, if its project can be read back from it: only for rules of the same issuer
/// whose template names the project at the same place.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The template that the set is of.
    pub template: &'a IdTemplate,
    /// What is true of the bearer.
    pub terms: &'a [Condition],
    /// Where it is read: only rules that give such count.
    pub within: ShownIn<'a>,
}

/// What shows an ID.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ShownIn<'a> {
    /// An X.509-SVID.
    Certificate,
    /// A JWT-SVID for this audience.
    TokenFor(&'a str),
}

impl ShownIn<'_> {
    /// Whether a rule gives such.
    pub fn is_given_by(self, rule: &Rule) -> bool {
        match self {
            Self::Certificate => rule.gives.kinds.contains(&Kind::X509),
            Self::TokenFor(whom) => {
                rule.gives.kinds.contains(&Kind::Jwt) && rule.gives.audiences.iter().any(|name| name == whom)
            }
        }
    }
}

impl Policy {
    /// The first rule that can give an ID of the set, where it is read, and is laxer than this one.
    pub fn laxer_within(&self, rule: &Rule, ids: &IdSet, shown: Shown<'_>) -> Option<Laxer> {
        let wanted = ids.steps();
        let terms_for = |other: &Rule, template| {
            let alike = other.issuer == rule.issuer && name_project_alike(shown.template, template);
            if alike { shown.terms } else { &[] }
        };
        self.others(rule, shown.within).find_map(|other| {
            let mut met = other.gives.svids.iter().filter(|svid| can_meet(&wanted, &segments(&svid.id)));
            met.find_map(|svid| rule.laxer(other, terms_for(other, &svid.id)))
        })
    }

    /// The first rule that can give a certificate to a project of this id, of whatever issuer, and is laxer than this
    /// one. `shown` is what is true of the project at this rule's issuer.
    pub fn laxer_for_project(&self, rule: &Rule, project_id: u64, shown: &[Condition]) -> Option<Laxer> {
        let same_number = [Condition::unwritten("project_id", Test::Id(project_id))];
        self.others(rule, ShownIn::Certificate)
            .find_map(|other| rule.laxer(other, if other.issuer == rule.issuer { shown } else { &same_number }))
    }

    fn others(&self, rule: &Rule, shown: ShownIn<'_>) -> impl Iterator<Item = &Arc<Rule>> {
        let granting = self.rules().iter().filter(move |other| !other.observe && shown.is_given_by(other));
        granting.filter(|other| other.name != rule.name)
    }
}

impl Rule {
    /// Why it cannot speak for a bearer of whom this is true, if it cannot.
    pub fn excluded_by(&self, shown: &[Condition]) -> Option<Contradiction> {
        self.knowing(shown).contradiction()
    }

    /// The other, where it can speak for a bearer of whom this is true, and not only for those for whom this rule would.
    fn laxer(&self, other: &Self, shown: &[Condition]) -> Option<Laxer> {
        let other = other.knowing(shown);
        if other.contradiction().is_some() {
            return None;
        }
        let lacks = other.lacks_of(self)?;
        Some(Laxer { rule: other.name, lacks })
    }

    fn knowing(&self, shown: &[Condition]) -> Self {
        Self { when: self.when.and(shown), ..self.clone() }
    }

    /// The first thing that the stricter rule demands and this one does not, in words.
    fn lacks_of(&self, stricter: &Self) -> Option<String> {
        let when = stricter.when.iter().find(|term| !self.demands(term)).map(ToString::to_string);
        let unless = || stricter.unless.iter().find(|term| !self.rules_out(term)).map(|term| format!("unless {term}"));
        let need = || stricter.needs.iter().find(|need| !self.needs.contains(need)).map(|need| format!("need {need}"));
        when.or_else(unless).or_else(need)
    }
}

//! What can be told of rules before any job comes: which of them grants tokens that their consumer could not take.

use super::table::{ENTRA_TEXT_MAX, GOOGLE_SUBJECT_MAX, SUB};
use super::{Consumer, ConsumerKind, Consumers};
use crate::identity::{IdTemplate, TrustDomain};
use crate::policy::{Kind, Policy, Rule};
use std::fmt;

/// The longest id that a token of GitLab's has.
const ID_DIGITS_MAX: usize = 19;

/// What a rule and a consumer have against each other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Doubt {
    /// The rule; none where no rule grants the consumer anything.
    pub rule: Option<String>,
    /// The consumer, as operators call it.
    pub consumer: String,
    /// What it is.
    pub kind: DoubtKind,
}

/// What there is to doubt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DoubtKind {
    /// It compares `sub` whole, and this one is another for each pipeline.
    NeverTheSame {
        /// The claim that changes.
        claim: String,
    },
    /// No rule grants a token for any of its audiences.
    NoRule,
    /// The rule says nothing by the claim that names the bearer.
    NoSubject {
        /// Which claim.
        claim: String,
    },
    /// What names the bearer can be longer than it takes.
    TooLong {
        /// How long; none where a path in it has no bound.
        longest: Option<usize>,
        /// How long it may be.
        most: usize,
    },
}

impl Consumers {
    /// What there is to doubt of a policy.
    pub fn doubts(&self, policy: &Policy, trust_domain: &TrustDomain) -> Vec<Doubt> {
        self.declared.iter().flat_map(|consumer| consumer.doubts(policy, trust_domain)).collect()
    }
}

impl Consumer {
    fn doubts(&self, policy: &Policy, trust_domain: &TrustDomain) -> Vec<Doubt> {
        let doubt = |rule: Option<&str>, kind| {
            let (rule, consumer) = (rule.map(str::to_owned), self.name.clone());
            Doubt { rule, consumer, kind }
        };
        let mut granting = policy.rules().iter().filter(|rule| self.is_granted_by(rule)).peekable();
        if granting.peek().is_none() {
            return vec![doubt(None, DoubtKind::NoRule)];
        }
        let found = granting.flat_map(|rule| {
            let of_svids = rule.svids.iter().filter_map(|svid| self.doubt_of(rule, &svid.id, trust_domain));
            of_svids.take(1).map(|kind| doubt(Some(&rule.name), kind)).collect::<Vec<_>>()
        });
        found.collect()
    }

    fn is_granted_by(&self, rule: &Rule) -> bool {
        rule.kinds.contains(&Kind::Jwt) && self.audiences.iter().any(|audience| rule.audiences.contains(audience))
    }

    fn doubt_of(&self, rule: &Rule, id: &IdTemplate, trust_domain: &TrustDomain) -> Option<DoubtKind> {
        if self.subject != SUB {
            let is_said = rule.claims.names().any(|name| name == self.subject);
            return (!is_said).then(|| DoubtKind::NoSubject { claim: self.subject.clone() });
        }
        let most = match self.kind {
            ConsumerKind::Entra => {
                let changes =
                    id.holes().find(|hole| matches!(*hole, "pipeline_id" | "job_id" | "runner_id" | "user_id"));
                if let Some(claim) = changes {
                    return Some(DoubtKind::NeverTheSame { claim: claim.to_owned() });
                }
                ENTRA_TEXT_MAX
            }
            ConsumerKind::Google => GOOGLE_SUBJECT_MAX,
            // Beyond 255 bytes, AWS's limit, GitLab's own paths end for all but a few; issuing tells those.
            ConsumerKind::Aws
            | ConsumerKind::Envoy
            | ConsumerKind::Istio
            | ConsumerKind::Okta
            | ConsumerKind::Spiffe
            | ConsumerKind::Vault => return None,
        };
        let longest = id.longest(trust_domain, |claim| match rule.fixed(claim) {
            Some(values) => values.iter().map(String::len).max(),
            None => (!claim.ends_with("_path")).then_some(ID_DIGITS_MAX),
        });
        longest.is_none_or(|longest| longest > most).then_some(DoubtKind::TooLong { longest, most })
    }
}

impl DoubtKind {
    /// What to do about it.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::NeverTheSame { .. } => {
                "grant an id without it, such as \"/{project_path}/-/environments/production\", as a profile of its own"
            }
            Self::NoRule => "add the audience to a rule whose kinds hold \"jwt\", or remove the consumer",
            Self::NoSubject { .. } => "add it to the rule: [rule.claims], or change the consumer's subject",
            Self::TooLong { .. } => {
                "let the consumer name the bearer by a short claim: subject = \"workload\" there, and here [rule.claims] \
                 workload = \"{project_id}.{pipeline_id}\""
            }
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let consumer = &self.consumer;
        match &self.kind {
            DoubtKind::NeverTheSame { claim } => {
                write!(
                    f,
                    "{consumer} compares sub whole with what is written there, and {{{claim}}} makes it another each time"
                )
            }
            DoubtKind::NoRule => write!(f, "no rule grants a JWT-SVID for an audience of {consumer}"),
            DoubtKind::NoSubject { claim } => {
                write!(f, "{consumer} names the bearer by the claim {claim:?}, which the rule does not set")
            }
            DoubtKind::TooLong { longest: Some(longest), most } => {
                write!(f, "{consumer} takes a subject of {most} bytes, and this ID can have {longest}")
            }
            DoubtKind::TooLong { longest: None, most } => {
                write!(f, "{consumer} takes a subject of {most} bytes, and a path in this ID can be longer than that")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Digest;
    use crate::policy::tests::rule_for;
    use crate::policy::{ClaimTemplate, Condition, Test};

    /// What is doubted of one rule with this template, for a consumer that names its bearer so.
    fn doubted(kind: ConsumerKind, id: &str, subject: &str, change: fn(&mut Rule)) -> Vec<DoubtKind> {
        let consumer = Consumer {
            name: "it".to_owned(),
            kind,
            audiences: vec!["a".to_owned()],
            algorithm: kind.usual_algorithm(),
            subject: subject.to_owned(),
            keeps_keys_for: kind.keeps_keys_for(),
        };
        let mut rule = rule_for("corp", id);
        (rule.kinds, rule.audiences) = (vec![Kind::Jwt], vec!["a".to_owned()]);
        rule.claims.add("workload", ClaimTemplate::parse("{project_id}").unwrap()).unwrap();
        change(&mut rule);
        let policy = Policy::new(Vec::new(), vec![rule], Digest::of(b"")).unwrap();
        let trust_domain = TrustDomain::parse("ci.example.org").unwrap();
        let doubts = Consumers { issuer: None, declared: vec![consumer] }.doubts(&policy, &trust_domain);
        doubts.into_iter().map(|doubt| doubt.kind).collect()
    }

    #[test]
    fn what_a_consumer_could_not_take_is_told_before_any_job_comes() {
        use ConsumerKind::{Entra, Google, Vault};
        let (by_path, by_id) = ("/{project_path}/-/every", "/projects/{project_id}/-/pipelines/{pipeline_id}");
        let as_it_is: fn(&mut Rule) = |_| {};
        let too_long = |longest| vec![DoubtKind::TooLong { longest, most: 127 }];
        assert_eq!(doubted(Google, by_path, "sub", as_it_is), too_long(None));
        assert_eq!(doubted(Google, by_id, "sub", as_it_is), []);
        assert_eq!(doubted(Google, &format!("/{}", "a".repeat(200)), "sub", as_it_is), too_long(Some(224)));
        assert_eq!(doubted(Google, by_path, "workload", as_it_is), []);
        let fixed: fn(&mut Rule) = |rule| {
            let test = Test::Text("acme/api".to_owned());
            rule.when.push(Condition::Claim { name: "project_path".to_owned(), test, implied: false });
        };
        assert_eq!(doubted(Google, by_path, "sub", fixed), [], "the path's length is known");
        assert_eq!(doubted(Vault, by_path, "nobody", as_it_is), [DoubtKind::NoSubject { claim: "nobody".to_owned() }]);
        let changes = DoubtKind::NeverTheSame { claim: "pipeline_id".to_owned() };
        assert_eq!(doubted(Entra, by_id, "sub", as_it_is), [changes]);
        assert_eq!(doubted(Entra, "/projects/{project_id}", "sub", as_it_is), []);
        assert_eq!(doubted(Vault, by_path, "sub", |rule| rule.kinds = vec![Kind::X509]), [DoubtKind::NoRule]);
        assert_eq!(doubted(Vault, by_path, "sub", |rule| rule.audiences.clear()), [DoubtKind::NoRule]);
    }
}

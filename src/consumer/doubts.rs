//! What can be told of rules before any job comes: which of them grants tokens that their consumer could not take.

use super::table::{ENTRA_TEXT_MAX, GOOGLE_SUBJECT_MAX, SUB};
use super::{Consumer, ConsumerKind, Consumers};
use crate::identity::{IdTemplate, TrustDomain};
use crate::policy::{Kind, Policy, Rule, SharedId, find_shared_claims, find_shared_in_aws};
use std::collections::BTreeSet;
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
    /// The rules by which it would take two bearers for one, since it names them by another claim than `sub`.
    pub fn mistakes(&self, policy: &Policy) -> Vec<SharedId> {
        if self.subject == SUB {
            return Vec::new();
        }
        let rules = policy.rules().iter().map(|rule| &**rule);
        find_shared_claims(&rules.filter(|rule| self.is_granted_by(rule)).collect::<Vec<_>>(), &self.subject)
    }

    /// The rules of two issuers whose bearers it could not tell apart by a tag or a source identity; by which key.
    pub fn alike_in_aws(&self, policy: &Policy) -> Vec<(String, SharedId)> {
        if self.kind != ConsumerKind::Aws {
            return Vec::new();
        }
        let rules = policy.rules().iter().map(|rule| &**rule);
        let rules: Vec<&Rule> = rules.filter(|rule| self.is_granted_by(rule)).collect();
        let keys: BTreeSet<&str> = rules.iter().flat_map(|rule| rule.gives.claims.aws.keys()).collect();
        let of_key = |key: &str| {
            find_shared_in_aws(&rules, key).into_iter().map(|shared| (key.to_owned(), shared)).collect::<Vec<_>>()
        };
        keys.into_iter().flat_map(of_key).collect()
    }

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
            let of_svids = rule.gives.svids.iter().filter_map(|svid| self.doubt_of(rule, &svid.id, trust_domain));
            of_svids.take(1).map(|kind| doubt(Some(&rule.name), kind)).collect::<Vec<_>>()
        });
        found.collect()
    }

    fn is_granted_by(&self, rule: &Rule) -> bool {
        rule.gives.kinds.contains(&Kind::Jwt)
            && self.audiences.iter().any(|audience| rule.gives.audiences.contains(audience))
    }

    fn doubt_of(&self, rule: &Rule, id: &IdTemplate, trust_domain: &TrustDomain) -> Option<DoubtKind> {
        if self.subject != SUB {
            let is_said = rule.gives.claims.names().any(|name| name == self.subject);
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
    use crate::policy::{ClaimTemplate, Clash, Condition, Test};
    use std::sync::Arc;

    /// Who names its bearers so.
    fn consumer(kind: ConsumerKind, subject: &str) -> Consumer {
        Consumer {
            name: "it".to_owned(),
            kind,
            audiences: vec!["a".to_owned()],
            algorithm: kind.usual_algorithm(),
            subject: subject.to_owned(),
            keeps_keys_for: kind.keeps_keys_for(),
        }
    }

    /// A rule that grants it tokens with this claim.
    fn granting(issuer: &str, id: &str, workload: &str) -> Rule {
        let mut rule = rule_for(issuer, id);
        let gives = Arc::make_mut(&mut rule.gives);
        (gives.kinds, gives.audiences) = (vec![Kind::Jwt], vec!["a".to_owned()]);
        gives.claims.add("workload", ClaimTemplate::parse(workload).unwrap()).unwrap();
        rule
    }

    fn exactly(name: &str, test: Test) -> Condition {
        Condition::Claim { name: name.to_owned(), test, implied: false }
    }

    /// What is doubted of one rule with this template, for a consumer that names its bearer so.
    fn doubted(kind: ConsumerKind, id: &str, subject: &str, change: fn(&mut Rule)) -> Vec<DoubtKind> {
        let mut rule = granting("corp", id, "{project_id}");
        change(&mut rule);
        let policy = Policy::new(Vec::new(), vec![rule], Digest::of(b"")).unwrap();
        let trust_domain = TrustDomain::parse("ci.example.org").unwrap();
        let declared = vec![consumer(kind, subject)];
        let doubts = Consumers { issuer: None, declared }.doubts(&policy, &trust_domain);
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
        let fixed: fn(&mut Rule) =
            |rule| rule.when = rule.when.and(&[exactly("project_path", Test::Text("acme/api".to_owned()))]);
        assert_eq!(doubted(Google, by_path, "sub", fixed), [], "the path's length is known");
        assert_eq!(doubted(Vault, by_path, "nobody", as_it_is), [DoubtKind::NoSubject { claim: "nobody".to_owned() }]);
        let changes = DoubtKind::NeverTheSame { claim: "pipeline_id".to_owned() };
        assert_eq!(doubted(Entra, by_id, "sub", as_it_is), [changes]);
        assert_eq!(doubted(Entra, "/projects/{project_id}", "sub", as_it_is), []);
        assert_eq!(
            doubted(Vault, by_path, "sub", |rule| Arc::make_mut(&mut rule.gives).kinds = vec![Kind::X509]),
            [DoubtKind::NoRule]
        );
        assert_eq!(
            doubted(Vault, by_path, "sub", |rule| Arc::make_mut(&mut rule.gives).audiences.clear()),
            [DoubtKind::NoRule]
        );
    }

    /// A rule by its issuer, its claim and what it demands beyond.
    type Told<'a> = (&'a str, &'a str, &'a [(&'a str, Test)]);

    /// Why a consumer would take bearers of these rules for each other.
    fn mistaken(subject: &str, rules: [Told<'_>; 2]) -> Vec<&'static str> {
        let rules = rules.into_iter().enumerate().map(|(at, (issuer, workload, terms))| {
            let mut rule = granting(issuer, &format!("/{issuer}/{{project_path}}/-/r{at}"), workload);
            rule.name = format!("r{at}");
            let terms: Vec<_> = terms.iter().map(|(name, test)| exactly(name, test.clone())).collect();
            rule.when = rule.when.and(&terms);
            rule
        });
        let policy = Policy::new(Vec::new(), rules.collect(), Digest::of(b"")).unwrap();
        let mistakes = consumer(ConsumerKind::Google, subject).mistakes(&policy).into_iter();
        let why = mistakes.map(|shared| match shared.because {
            Clash::Demands { .. } => "demands",
            Clash::Issuers { .. } => "issuers",
            Clash::Projects { .. } => "projects",
        });
        why.collect()
    }

    #[test]
    fn two_bearers_whom_a_consumer_could_take_for_one_are_told() {
        let production = [("environment", Test::Text("production".to_owned()))];
        let [seven, eight] = [7, 8].map(|id| [("project_id", Test::Id(id))]);
        let production_of_seven = [production.clone(), seven.clone()].concat();
        let by_id = "{project_id}.{pipeline_id}";
        for (one, other, why) in [
            (("corp", by_id, &[][..]), ("corp", by_id, &[][..]), ""),
            (("corp", by_id, &[]), ("corp", by_id, &production), "demands"),
            (("corp", by_id, &[]), ("corp", "production:{project_id}", &production), ""),
            (("corp", by_id, &seven), ("corp", by_id, &eight), ""),
            (("corp", by_id, &production_of_seven), ("corp", by_id, &eight), ""),
            (("corp", by_id, &production_of_seven), ("corp", by_id, &seven), "demands"),
            (("corp", "{project_id}", &[]), ("corp", "{pipeline_id}", &[]), "projects"),
            (("corp", "{project_path}", &[]), ("corp", "{ref}", &[]), "projects"),
            (("corp", "deploy", &[]), ("corp", "deploy", &production), "demands"),
            (("corp", "deploy", &[]), ("corp", "deploy-production", &production), ""),
            (("corp", by_id, &[]), ("com", by_id, &[]), "issuers"),
            (("corp", by_id, &seven), ("com", by_id, &eight), "issuers"),
            (("corp", by_id, &[]), ("com", "com:{project_id}.{pipeline_id}", &[]), ""),
            (("corp", "{project_path}", &[]), ("com", "com:{project_path}", &[]), "issuers"),
            (("corp", "corp:{project_path}", &[]), ("com", "com:{project_path}", &[]), ""),
            (("corp", "co:{project_path}", &[]), ("com", "co:{project_id}", &[]), "issuers"),
            (("corp", "co", &[]), ("com", "com:{project_id}", &[]), "issuers"),
            (("corp", "deploy", &[]), ("com", "deploy", &[]), "issuers"),
        ] {
            let wanted: Vec<&str> = Some(why).filter(|why| !why.is_empty()).into_iter().collect();
            assert_eq!(mistaken("workload", [one, other]), wanted, "{one:?} and {other:?}");
            assert_eq!(mistaken("workload", [other, one]), wanted, "{other:?} and {one:?}");
            assert_eq!(mistaken("sub", [one, other]), [""; 0], "the ID says it");
            assert_eq!(mistaken("nobody", [one, other]), [""; 0], "nothing says it");
        }
    }

    #[test]
    fn aws_tells_the_jobs_of_two_issuers_apart_by_whatever_a_token_fills_in() {
        let told = |kind, one: &str, other: &str| {
            let rules = [("corp", one), ("com", other)].map(|(issuer, text)| {
                let mut rule = granting(issuer, &format!("/{issuer}/{{project_path}}"), "{project_id}");
                issuer.clone_into(&mut rule.name);
                let template = ClaimTemplate::parse(text).unwrap();
                let aws = &mut Arc::make_mut(&mut rule.gives).claims.aws;
                aws.principal_tags = [("project".to_owned(), template.clone())].into();
                aws.source_identity = Some(template);
                rule
            });
            let policy = Policy::new(Vec::new(), rules.into(), Digest::of(b"")).unwrap();
            let alike = consumer(kind, "sub").alike_in_aws(&policy).into_iter();
            alike.map(|(key, shared)| format!("{key} of {}", shared.second)).collect::<Vec<_>>()
        };
        let both = ["aws:SourceIdentity of com", "project of com"];
        for (one, other, alike) in [
            ("{project_id}", "{project_id}", true),
            ("{project_id}", "4711", true),
            ("{project_id}", "{pipeline_id}", true),
            ("corp:{project_id}", "com:{project_id}", false),
            ("deploy", "deploy", false),
        ] {
            let wanted: &[&str] = if alike { &both } else { &[] };
            assert_eq!(told(ConsumerKind::Aws, one, other), wanted, "{one} {other}");
            assert_eq!(told(ConsumerKind::Vault, one, other), [""; 0], "it reads no tags");
        }
    }
}

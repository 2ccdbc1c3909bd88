//! Where a server's policy comes from, and what it is held against: the same at the start as at every reload.

use super::KnownIssuer;
use super::policy::{CheckedPolicy, check_policy, digest_at};
use super::problem::Problem;
use super::shared::NamedBy;
use crate::consumer::{Consumers, Doubt};
use crate::crypto::Digest;
use crate::identity::TrustDomain;
use crate::policy::{Policy, SharedId};
use std::path::PathBuf;
use std::time::Duration;

/// A policy's place, and what a server's configuration says that concerns it.
#[derive(Clone, Debug)]
pub struct PolicySource {
    /// One file, or a folder of them.
    pub place: PathBuf,
    /// As rules name them.
    pub issuers: Vec<KnownIssuer>,
    /// Of rules that name none.
    pub ttl: Duration,
    /// Ours, which no rule federates with; none where the configuration's is wrong.
    pub trust_domain: Option<TrustDomain>,
    /// Whether our authorities have name constraints.
    pub name_constraints: bool,
    /// Who takes JWT-SVIDs.
    pub consumers: Consumers,
}

impl PolicySource {
    /// Reads and checks it.
    ///
    /// # Errors
    /// Every problem of the files.
    pub fn load(&self) -> Result<CheckedPolicy, Vec<Problem>> {
        let mut checked = check_policy(&self.place, &self.issuers, self.ttl)?;
        checked.warnings.extend(self.with_consumers(&checked.policy));
        let mut problems: Vec<_> = self.with_ourselves(&checked.policy).collect();
        problems.extend(self.mistaken_by_consumers(&checked.policy));
        if self.name_constraints {
            problems.extend(for_linkerd(&checked.policy).map(|rule| self.cannot_serve(rule)));
        }
        if problems.is_empty() { Ok(checked) } else { Err(problems) }
    }

    /// Whether what stands there now is what a policy of this digest was read from: then it would load alike.
    pub fn still_has(&self, digest: &Digest) -> bool {
        digest_at(&self.place).is_ok_and(|now| now == *digest)
    }

    fn with_ourselves(&self, policy: &Policy) -> impl Iterator<Item = Problem> {
        let own = self.trust_domain.iter();
        let wrong = own.flat_map(|own| {
            policy.rules().iter().filter(|rule| rule.gives.federates_with.contains(own)).map(move |rule| (own, rule))
        });
        wrong.map(|(own, rule)| Problem {
            file: self.place.clone(),
            line: None,
            key: format!("rule {:?}.federates_with", rule.name),
            found: format!("\"{own}\", which is this server's own trust domain"),
            remedy: "leave it out: every SVID comes with its own trust domain's bundle".to_owned(),
        })
    }

    /// Rules by which a consumer would take two bearers for one.
    fn mistaken_by_consumers(&self, policy: &Policy) -> impl Iterator<Item = Problem> {
        let mistakes = self
            .consumers
            .declared
            .iter()
            .flat_map(|consumer| consumer.mistakes(policy).into_iter().map(move |shared| (consumer, shared)));
        let mistakes = mistakes.map(|(consumer, shared)| {
            let named_by = NamedBy::Claim { claim: &consumer.subject, consumer: &consumer.name };
            (named_by.told(&shared), format!("rule {:?}.claims.{}", shared.second, consumer.subject))
        });
        let in_aws = self.consumers.declared.iter().flat_map(|consumer| {
            let told = move |(key, shared): (String, SharedId)| {
                let named_by = NamedBy::AwsKey { key: &key, consumer: &consumer.name };
                (named_by.told(&shared), format!("rule {:?}.aws", shared.second))
            };
            consumer.alike_in_aws(policy).into_iter().map(told)
        });
        mistakes.chain(in_aws).map(|((found, remedy), key)| Problem {
            file: self.place.clone(),
            line: None,
            key,
            found,
            remedy,
        })
    }

    fn with_consumers(&self, policy: &Policy) -> Vec<Problem> {
        let own = self.trust_domain.as_ref();
        let doubts = own.map(|own| self.consumers.doubts(policy, own)).unwrap_or_default();
        doubts.into_iter().map(|doubt| self.doubted(&doubt)).collect()
    }

    fn doubted(&self, doubt: &Doubt) -> Problem {
        let key = match &doubt.rule {
            Some(rule) => format!("rule {rule:?}.audiences"),
            None => "rule.audiences".to_owned(),
        };
        let (found, remedy) = (doubt.to_string(), doubt.kind.remedy().to_owned());
        Problem { file: self.place.clone(), line: None, key, found, remedy }
    }

    fn cannot_serve(&self, rule: &str) -> Problem {
        Problem {
            file: self.place.clone(),
            line: None,
            key: format!("rule {rule:?}.svid"),
            found: "the profile \"linkerd\", while the server's keys.name_constraints is true".to_owned(),
            remedy: "leave name_constraints out: Linkerd rejects every chain that has them".to_owned(),
        }
    }
}

/// The rules that give SVIDs meant for Linkerd.
fn for_linkerd(policy: &Policy) -> impl Iterator<Item = &str> {
    let gives = policy
        .rules()
        .iter()
        .filter(|rule| rule.gives.svids.iter().any(|svid| svid.profile.as_deref() == Some("linkerd")));
    gives.map(|rule| rule.name.as_str())
}

//! Verified claims and a wish: to a grant, or a denial with its reason.

use super::index::{Index, issuer_of};
use super::{Answers, Denial, HeardRule, Kind, ProfileTemplate, RefusalRule, Rule, SharedId};
use crate::crypto::Digest;
use crate::identity::{SpiffeId, TrustDomain};
use crate::svid::BuildClaims;
use crate::telemetry::quotable;
use crate::token::{Claims, IssuerName, VerifiedClaims};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Duration;

/// All rules, in order.
#[derive(Clone, Debug)]
pub struct Policy {
    digest: Digest,
    refusals: Vec<RefusalRule>,
    refusal_index: Index,
    rules: Box<[Arc<Rule>]>,
    rule_index: Index,
}

/// What a caller asks to be given.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Wish {
    /// A JWT-SVID.
    Jwt {
        /// Which of the rule's SVIDs; none for the default.
        profile: Option<String>,
        /// Whom it is for.
        audiences: Vec<String>,
        /// Whether the caller proved to hold a session's key.
        has_key: bool,
    },
    /// An X.509-SVID.
    X509 {
        /// Which of the rule's SVIDs; none for the default.
        profile: Option<String>,
    },
}

/// What the bearer may be, within which limits. Only a rule makes one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    audiences: Vec<String>,
    build_claims: BuildClaims,
    claims: Map<String, Value>,
    facts: Answers,
    kind: Kind,
    pin: Option<PathPin>,
    profile: Option<String>,
    rule: Arc<Rule>,
    spiffe_id: SpiffeId,
}

/// That a path belongs to a project: to be remembered, and held against others who come with that path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PathPin {
    /// Whose projects.
    pub issuer: IssuerName,
    /// `project_path` in lower case, since GitLab compares paths without it.
    pub folded_path: String,
    /// Whose path it is.
    pub project_id: u64,
}

impl ProfileTemplate {
    /// What must hold for an ID that names a path.
    pub fn pin(&self, claims: &Claims) -> Option<PathPin> {
        let by_path = self.id.holes().any(|hole| matches!(hole, "project_path" | "namespace_path"));
        by_path.then(|| PathPin::of(claims.issuer.clone(), &claims.project_path, claims.project_id))
    }
}

impl PathPin {
    /// Of a path as GitLab writes it.
    pub fn of(issuer: IssuerName, path: &str, project_id: u64) -> Self {
        Self { issuer, folded_path: Self::fold(path), project_id }
    }

    /// A path as pins know it.
    pub fn fold(path: &str) -> String {
        path.to_lowercase()
    }
}

impl Policy {
    /// A policy of these rules.
    ///
    /// # Errors
    /// Pairs of rules that could give one ID while demanding different things, or to different projects; the first
    /// hundred.
    pub fn new<R: Borrow<Rule> + Into<Arc<Rule>>>(
        refusals: Vec<RefusalRule>,
        rules: Vec<R>,
        digest: Digest,
    ) -> Result<Self, Vec<SharedId>> {
        let shared = super::shared_ids::find(&rules);
        if !shared.is_empty() {
            return Err(shared);
        }
        Ok(Self::of(refusals, rules.into_iter().map(Into::into).collect(), digest))
    }

    fn of(refusals: Vec<RefusalRule>, rules: Box<[Arc<Rule>]>, digest: Digest) -> Self {
        let refusal_index = Index::of(refusals.iter().map(|refusal| (issuer_of(&refusal.when), &refusal.when)));
        let rule_index = Index::of(rules.iter().map(|rule| (Some(&*rule.issuer.0), &rule.when)));
        Self { digest, refusals, refusal_index, rules, rule_index }
    }

    /// The part of it that can concern these claims, which it decides alike.
    #[must_use]
    pub fn concerning(&self, claims: &Claims) -> Self {
        let (refusals, rules) = (self.refusals_for(claims).cloned(), self.rules_for(claims).map(Arc::clone));
        Self::of(refusals.collect(), rules.collect(), self.digest)
    }

    /// The digest of the files it was read from, so that replicas can say whether theirs differ.
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The refusals, in order.
    pub fn refusals(&self) -> &[RefusalRule] {
        &self.refusals
    }

    /// The rules, in order.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// The longest life that a rule gives an SVID.
    pub fn longest_ttl(&self) -> Duration {
        self.rules.iter().map(|rule| rule.gives.ttl).max().unwrap_or_default()
    }

    /// The refusals that can concern these claims, in order: no other is for them.
    pub fn refusals_for(&self, claims: &Claims) -> impl Iterator<Item = &RefusalRule> {
        self.refusal_index.places(claims).filter_map(|at| self.refusals.get(at))
    }

    /// The rules that can concern these claims, in order: no other is for them.
    pub fn rules_for(&self, claims: &Claims) -> impl Iterator<Item = &Arc<Rule>> {
        self.rule_index.places(claims).filter_map(|at| self.rules.get(at))
    }

    /// The rule that speaks for these claims: refusals first, then the first that matches. Rules that only observe
    /// decide nothing.
    ///
    /// # Errors
    /// `RefusedByRule` or `NoRuleMatches`.
    #[tracing::instrument(level = "trace", name = "rule", skip_all)]
    pub fn choose(&self, claims: &Claims) -> Result<Arc<Rule>, Denial> {
        if let Some(refusal) = self.refusals_for(claims).find(|refusal| refusal.matches(claims)) {
            return Err(Denial::RefusedByRule { rule: refusal.name.clone(), say: refusal.say.clone() });
        }
        let first = self.rules_for(claims).find(|rule| !rule.observe && rule.matches(claims));
        first.map(Arc::clone).ok_or(Denial::NoRuleMatches)
    }

    /// The rules on trial that would speak for these claims before the rule that does.
    pub fn on_trial(&self, claims: &Claims) -> impl Iterator<Item = &Arc<Rule>> {
        let refused = self.refusals_for(claims).any(|refusal| refusal.matches(claims));
        let asked = (!refused).then(|| self.rules_for(claims)).into_iter().flatten();
        let matching = asked.filter(|rule| rule.matches(claims));
        matching.take_while(|rule| rule.observe)
    }
}

impl HeardRule {
    /// What this rule gives the bearer of these claims. `choose` found the rule by the same claims, and other systems were
    /// asked about them.
    ///
    /// # Errors
    /// Every [`Denial`] that is about what the rule gives.
    pub fn grant(self, claims: &VerifiedClaims, wish: &Wish, trust_domain: &TrustDomain) -> Result<Grant, Denial> {
        let Self { rule, facts } = self;
        let grant = rule.grant_to((claims.claims(), &facts), wish, trust_domain)?;
        Ok(Grant { facts, ..grant })
    }
}

impl Rule {
    /// What it would give whoever bears such claims, could they be proven and its needs be met; for `rule_on` and
    /// `would`, which let no grant out.
    pub(super) fn grant_to(
        self: &Arc<Self>,
        (claims, facts): (&Claims, &Answers),
        wish: &Wish,
        trust_domain: &TrustDomain,
    ) -> Result<Grant, Denial> {
        let (kind, profile, audiences) = match wish {
            Wish::Jwt { profile, audiences, has_key } => {
                self.check_jwt(audiences, *has_key)?;
                (Kind::Jwt, profile, audiences.clone())
            }
            Wish::X509 { profile } => {
                self.check_kind(Kind::X509)?;
                (Kind::X509, profile, Vec::new())
            }
        };
        let svid = self.svid(profile.as_deref())?;
        let spiffe_id = self.name(svid, claims, trust_domain)?;
        let (build_claims, told) = match kind {
            Kind::Jwt => (BuildClaims::default(), self.told(claims, facts)?),
            Kind::X509 => (self.build_claims_of(claims)?, Map::new()),
        };
        let pin = svid.pin(claims);
        let (profile, rule) = (svid.profile.clone(), Arc::clone(self));
        let (claims, facts) = (told, Answers::NONE);
        Ok(Grant { audiences, build_claims, claims, facts, kind, pin, profile, rule, spiffe_id })
    }

    /// The ID that one of its SVIDs has for these claims.
    pub(super) fn name(
        &self,
        svid: &ProfileTemplate,
        claims: &Claims,
        trust_domain: &TrustDomain,
    ) -> Result<SpiffeId, Denial> {
        let text = |name: &str| claims.view(name).map(|value| value.to_string());
        svid.id.fill(trust_domain, text).map_err(|source| Denial::IdDoesNotFit { rule: self.name.clone(), source })
    }

    /// What a JWT-SVID says of these claims beside what all say.
    fn told(&self, claims: &Claims, facts: &Answers) -> Result<Map<String, Value>, Denial> {
        let rule = || self.name.clone();
        self.gives.claims.fill(claims, facts).map_err(|(claim, source)| Denial::ClaimDoesNotFit {
            rule: rule(),
            claim,
            source,
        })
    }

    fn check_kind(&self, kind: Kind) -> Result<(), Denial> {
        if self.gives.kinds.contains(&kind) {
            return Ok(());
        }
        let kind = match kind {
            Kind::Jwt => "JWT-SVID (\"jwt\")",
            Kind::X509 => "X.509-SVID (\"x509\")",
        };
        Err(Denial::KindNotGranted { rule: self.name.clone(), kind })
    }

    /// The whole request or nothing: never a part of its audiences.
    fn check_jwt(&self, audiences: &[String], has_key: bool) -> Result<(), Denial> {
        self.check_kind(Kind::Jwt)?;
        if !has_key && !self.gives.jwt_without_key {
            return Err(Denial::JwtNeedsKey { rule: self.name.clone() });
        }
        let foreign = audiences.iter().find(|asked| !self.gives.audiences.contains(asked));
        if let Some(asked) = foreign.cloned().or_else(|| audiences.is_empty().then(String::new)) {
            let granted = words(self.gives.audiences.iter().map(String::as_str));
            return Err(Denial::AudienceNotGranted { rule: self.name.clone(), asked: quotable(&asked), granted });
        }
        // More than the rule has can only be one of them again and again.
        let most = if self.gives.multi_audience { self.gives.audiences.len() } else { 1 };
        if audiences.len() > most {
            return Err(Denial::TooManyAudiences { rule: self.name.clone(), asked: audiences.len() });
        }
        Ok(())
    }

    fn svid(&self, profile: Option<&str>) -> Result<&ProfileTemplate, Denial> {
        let found = match profile {
            None => self.gives.svids.first(),
            Some(name) => self.gives.svids.iter().find(|svid| svid.profile.as_deref() == Some(name)),
        };
        found.ok_or_else(|| Denial::ProfileUnknown {
            rule: self.name.clone(),
            asked: quotable(profile.unwrap_or_default()),
            known: words(self.gives.svids.iter().filter_map(|svid| svid.profile.as_deref())),
        })
    }
}

fn words<'a, T: Iterator<Item = &'a str>>(some: T) -> String {
    let all: Vec<&str> = some.collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

impl Grant {
    /// Whom a JWT-SVID is for; empty for an X.509-SVID.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// What an X.509-SVID tells of the build; empty unless the rule asks for it.
    pub const fn build_claims(&self) -> &BuildClaims {
        &self.build_claims
    }

    /// What a JWT-SVID says beside what all say.
    pub const fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// What other systems said of the job; empty where the rule needs nothing of them.
    pub const fn facts(&self) -> &Answers {
        &self.facts
    }

    /// Which document.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Of which other trust domains the bearer gets the bundles.
    pub fn federates_with(&self) -> &[TrustDomain] {
        &self.rule.gives.federates_with
    }

    /// How long its session may last, if the rule limits it.
    pub fn max_session(&self) -> Option<Duration> {
        self.rule.gives.max_session
    }

    /// The path that the ID rests on, if it rests on one.
    pub const fn pin(&self) -> Option<&PathPin> {
        self.pin.as_ref()
    }

    /// Which of the rule's SVIDs, if they have names.
    pub fn profile(&self) -> Option<&str> {
        self.profile.as_deref()
    }

    /// The names of all SVIDs that the rule grants, the default first; empty where its only one has no name.
    pub fn profiles(&self) -> Vec<String> {
        self.rule.gives.svids.iter().filter_map(|svid| svid.profile.clone()).collect()
    }

    /// The rule's name.
    pub fn rule(&self) -> &str {
        &self.rule.name
    }

    /// Who the bearer is.
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// The rule's words for whoever reads the journal.
    pub fn tags(&self) -> &[String] {
        &self.rule.gives.tags
    }

    /// Longest life of one SVID.
    pub fn ttl(&self) -> Duration {
        self.rule.gives.ttl
    }
}

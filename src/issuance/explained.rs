//! What would become of a token's bearer, for the bearer or an operator: the road, looked along and not walked. Nothing is
//! admitted, pinned or used up.

use super::{Issuance, Refusal};
use crate::policy::{Answers, Kind, Policy, Rule, Verdict, Walk};
use crate::session::PinError;
use crate::token::{Claims, VerifiedClaims};

impl Issuance {
    /// The walk of the policy for a genuine token's bearer: the road up to what other systems say. Operators ask it,
    /// whatever else goes on.
    ///
    /// # Errors
    /// When the token is not genuine, or a stranger's.
    pub async fn explain(&self, token: &str) -> Result<(VerifiedClaims, Walk), Refusal> {
        let claims = self.verify(token).await?;
        self.issuer(claims.claims())?.admit(claims.claims())?;
        let policy = self.policy.now();
        let facts = self.facts_for(&policy, claims.claims()).await;
        let walk = policy.walk_hearing(claims.claims(), &facts, self.authorities.trust_domain());
        let walk = self.as_it_stands(walk, &policy, (&claims, ToString::to_string))?;
        Ok((claims, walk))
    }

    /// The walk for the bearer itself: rules that cannot concern its project are not even looked at. Other systems are
    /// asked for a token of ours that nobody has used; whoever brings a used one proves nothing here.
    ///
    /// # Errors
    /// When the token is not genuine, or a stranger's; `TooMany`.
    pub async fn explain_to_bearer(&self, token: &str) -> Result<Walk, Refusal> {
        let verified = self.verify(token).await?;
        let claims = verified.claims();
        self.issuer(claims)?.admit(claims)?;
        let _place = self.shares.enter(claims)?;
        let part = self.policy.now().concerning(claims);
        let is_unused = self.sessions.look(claims, None, self.clock.now()).is_ok();
        let facts = if is_unused { self.facts_for(&part, claims).await } else { Answers::NONE };
        let walk = part.walk_hearing(claims, &facts, self.authorities.trust_domain());
        Ok(self.as_it_stands(walk, &part, (&verified, PinError::to_bearer))?.for_bearer())
    }

    /// A walk on which a rule spoke, with what stands beside the rules: in the order of the road, the job's sessions and bans,
    /// then, where all else is well, whose path it is.
    fn as_it_stands(
        &self,
        walk: Walk,
        policy: &Policy,
        (verified, words): (&VerifiedClaims, fn(&PinError) -> String),
    ) -> Result<Walk, Refusal> {
        let claims = verified.claims();
        let Ok(rule) = policy.choose(claims) else { return Ok(walk) };
        match self.foretold(verified, &rule) {
            Ok(is_used) => self.as_pinned(walk.of_token(is_used), &rule, (claims, words)),
            Err(Refusal::Store(fault)) => Err(fault.into()),
            Err(no) => {
                let (code, reason) = (no.code().to_owned(), no.to_string());
                Ok(walk.as_decided(Verdict::Denied { code, reason, nearest: None }))
            }
        }
    }

    /// Whether the token is used; or why it is good for nothing, whoever brings it.
    fn foretold(&self, verified: &VerifiedClaims, rule: &Rule) -> Result<bool, Refusal> {
        let (claims, now) = (verified.claims(), self.clock.now());
        let kind = if rule.gives.kinds.contains(&Kind::X509) { Kind::X509 } else { Kind::Jwt };
        let signer = [self.authorities.signer_of(kind)];
        let is_used = self.sessions.foretell(claims, (&rule.name, &signer), now)?;
        if !is_used {
            verified.fresh_enough(self.issuer(claims)?.expectations.max_token_age, now)?;
        }
        Ok(is_used)
    }

    /// A walk that ends in a grant, unless the path in it is another project's.
    fn as_pinned(
        &self,
        walk: Walk,
        rule: &Rule,
        (claims, words): (&Claims, fn(&PinError) -> String),
    ) -> Result<Walk, Refusal> {
        let pin = rule.gives.svids.first().and_then(|svid| svid.pin(claims));
        let (Some(pin), Verdict::Granted { .. }) = (pin, &walk.verdict) else { return Ok(walk) };
        match self.pins.judge(self.issuer(claims)?.pins, &pin) {
            Ok(()) => Ok(walk),
            Err(PinError::Store(fault)) => Err(fault.into()),
            Err(no) => {
                let reason = words(&no);
                let code = Refusal::from(no).code().to_owned();
                Ok(walk.as_decided(Verdict::Denied { code, reason, nearest: None }))
            }
        }
    }

    /// What other systems say to the rule that speaks, if one does.
    async fn facts_for(&self, policy: &Policy, claims: &Claims) -> Answers {
        match policy.choose(claims) {
            Ok(rule) if !rule.needs.is_empty() => self.facts.ask(&rule, claims).await,
            Ok(_) | Err(_) => Answers::NONE,
        }
    }
}

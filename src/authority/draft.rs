//! All that will be signed, laid open before it is: who, which key, how long, by which of our keys.

use super::in_use::{JwtSigner, X509Signer};
use crate::audit::{Auditable, Entry, Job, SvidToSign};
use crate::consumer::{Consumers, NotTaken};
use crate::crypto::{Digest, JwsAlgorithm, KeyId};
use crate::identity::SpiffeId;
use crate::policy::Grant;
use crate::svid::{CertificateFacts, JwtFacts, JwtFields, LeafFields, LeafProfile, Serial};
use crate::telemetry::rfc3339;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// Which limit ended an SVID's lifetime.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitedBy {
    /// The rule's `ttl`.
    Ttl,
    /// The end of the session.
    Session,
    /// The end of the key that signs.
    Signer,
}

impl LimitedBy {
    /// As answers say it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ttl => "ttl",
            Self::Session => "session",
            Self::Signer => "signer",
        }
    }
}

/// Why nothing can be drafted.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// An X.509-SVID needs a key to certify.
    #[error("an X.509-SVID needs a certificate request")]
    NoKey,
    /// No key of that kind signs yet: it is published first, until everybody can verify it.
    #[error(
        "the {algorithm} key signs as soon as everybody holds it; lanyard authority plan --kind jwt-rs256 tells when"
    )]
    NoSigner {
        /// By what the token would be signed.
        algorithm: JwsAlgorithm,
    },
    /// Whom the token is for would not take it.
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    /// The lifetime would end before it begins.
    #[error("nothing is left of the lifetime: {} ended it at {}", limited_by.as_str(), rfc3339(*at))]
    NoTimeLeft {
        /// Which limit.
        limited_by: LimitedBy,
        /// When.
        at: OffsetDateTime,
    },
}

/// For which request something is drafted.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The request's name.
    pub request_id: String,
    /// The session it belongs to; none for a JWT-SVID bought with a token alone.
    pub session: Option<String>,
    /// Until when the session lives.
    pub session_ends_at: OffsetDateTime,
    /// For whom.
    pub job: Arc<Job>,
    /// The digest of the policy that decided.
    pub policy: Digest,
    /// How leaves look.
    pub leaf: Arc<LeafProfile>,
    /// Who takes JWT-SVIDs.
    pub consumers: Arc<Consumers>,
}

/// All that will be signed. Lives no longer than the key that signs it.
#[derive(Debug)]
pub struct Draft {
    pub(super) asked: Asked,
    pub(super) grant: Grant,
    pub(super) limited_by: LimitedBy,
    pub(super) content: Content,
}

/// The fields and the key that will sign them.
#[derive(Debug)]
pub(super) enum Content {
    X509 { fields: LeafFields, signer: Arc<X509Signer> },
    Jwt { fields: JwtFields, signer: Arc<JwtSigner> },
}

impl Draft {
    /// The identity.
    pub const fn spiffe_id(&self) -> &SpiffeId {
        self.grant.spiffe_id()
    }

    /// When it will end.
    pub const fn not_after(&self) -> OffsetDateTime {
        match &self.content {
            Content::X509 { fields, .. } => fields.not_after,
            Content::Jwt { fields, .. } => fields.not_after,
        }
    }

    /// When it will begin.
    pub const fn not_before(&self) -> OffsetDateTime {
        match &self.content {
            Content::X509 { fields, .. } => fields.not_before,
            Content::Jwt { fields, .. } => fields.issued_at,
        }
    }

    /// What ends it.
    pub const fn limited_by(&self) -> LimitedBy {
        self.limited_by
    }

    /// Which key of ours will sign it, as journal and operators name it.
    pub fn signer(&self) -> &Arc<str> {
        match &self.content {
            Content::X509 { signer, .. } => &signer.name,
            Content::Jwt { signer, .. } => &signer.kid,
        }
    }

    /// The serial number of an X.509-SVID.
    pub const fn serial(&self) -> Option<Serial> {
        match &self.content {
            Content::X509 { fields, .. } => Some(fields.serial),
            Content::Jwt { .. } => None,
        }
    }

    /// What was granted.
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// For which request.
    pub const fn asked(&self) -> &Asked {
        &self.asked
    }

    /// Whether a certificate says exactly this.
    ///
    /// # Errors
    /// The first field that differs.
    pub fn equals_certificate(&self, facts: &CertificateFacts) -> Result<(), &'static str> {
        let Content::X509 { fields, .. } = &self.content else { return Err("type") };
        equal_leaf(facts, fields)
    }

    /// Whether a JWT-SVID says exactly this.
    ///
    /// # Errors
    /// The first field that differs.
    pub fn equals_jwt(&self, facts: &JwtFacts) -> Result<(), &'static str> {
        let Content::Jwt { fields, signer } = &self.content else { return Err("type") };
        equal("kid", &*facts.kid, &*signer.kid)?;
        equal("sub", &facts.spiffe_id, &fields.spiffe_id)?;
        equal("aud", &facts.audience, &fields.audience)?;
        equal("jti", &facts.jti, &fields.jti)?;
        equal("iat", &facts.issued_at, &fields.issued_at)?;
        equal("exp", &facts.not_after, &fields.not_after)?;
        equal("iss", &facts.issuer, &fields.issuer)?;
        equal("alg", &Some(facts.algorithm), &signer.key.public().algorithm().jws_algorithm())?;
        equal("claims", &facts.claims, &fields.claims)
    }
}

fn equal<T: PartialEq + ?Sized>(field: &'static str, found: &T, meant: &T) -> Result<(), &'static str> {
    if found == meant { Ok(()) } else { Err(field) }
}

/// Whether a certificate says exactly what was laid out.
pub(super) fn equal_leaf(facts: &CertificateFacts, fields: &LeafFields) -> Result<(), &'static str> {
    equal("spiffe_id", &facts.spiffe_id, &fields.spiffe_id)?;
    equal("key", &facts.key_id, &fields.key.id())?;
    equal("serial", &facts.serial, &fields.serial)?;
    equal("subject", &facts.subject, &fields.subject)?;
    equal("dns", &facts.dns, &fields.dns)?;
    equal("build_claims", &facts.build_claims, &fields.build_claims.by_arc())?;
    equal("not_before", &facts.not_before, &fields.not_before)?;
    equal("not_after", &facts.not_after, &fields.not_after)
}

/// What the journal says of a leaf that is about to be signed.
pub(super) fn leaf_to_sign(fields: &LeafFields, signer: KeyId, limited_by: LimitedBy) -> SvidToSign<'_> {
    SvidToSign::X509 {
        serial: fields.serial,
        key_id: fields.key.id(),
        dns: fields.dns.as_ref().map(|dns| dns.name.as_str()),
        build_claims: !fields.build_claims.is_empty(),
        not_before: fields.not_before.unix_timestamp(),
        not_after: fields.not_after.unix_timestamp(),
        limited_by: limited_by.as_str(),
        signer,
    }
}

/// `min(now + ttl, session's end, signer's end)` in whole seconds, and which of the three it was.
pub(super) fn end_of_life(
    now: OffsetDateTime,
    ttl: Duration,
    session_ends_at: OffsetDateTime,
    signer_ends_at: OffsetDateTime,
) -> Result<(OffsetDateTime, LimitedBy), DraftError> {
    let limits =
        [(now + ttl, LimitedBy::Ttl), (session_ends_at, LimitedBy::Session), (signer_ends_at, LimitedBy::Signer)];
    let (at, limited_by) = limits.into_iter().min_by_key(|(at, _)| *at).unwrap_or((now, LimitedBy::Ttl));
    let at = whole_seconds(at);
    if at <= now {
        return Err(DraftError::NoTimeLeft { limited_by, at });
    }
    Ok((at, limited_by))
}

/// Certificates and tokens count whole seconds.
pub(super) fn whole_seconds(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(0).unwrap_or(at)
}

impl Auditable for Draft {
    fn entry(&self) -> Entry<'_> {
        let svid = match &self.content {
            Content::X509 { fields, signer } => leaf_to_sign(fields, signer.key_id, self.limited_by),
            Content::Jwt { fields, signer } => SvidToSign::Jwt {
                jti: &fields.jti,
                audience: &fields.audience,
                issued_at: fields.issued_at.unix_timestamp(),
                not_after: fields.not_after.unix_timestamp(),
                limited_by: self.limited_by.as_str(),
                signer: &signer.kid,
            },
        };
        Entry::Intent {
            request_id: &self.asked.request_id,
            session: self.asked.session.as_deref(),
            job: &self.asked.job,
            rule: self.grant.rule(),
            tags: self.grant.tags(),
            policy: self.asked.policy,
            facts: self.grant.facts(),
            spiffe_id: self.spiffe_id().as_str(),
            svid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows: X509-21.
    #[test]
    fn the_earliest_of_three_limits_ends_an_svid_and_is_named() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::from_millis(1_500);
        let at = |seconds| OffsetDateTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let end = |ttl, session, signer| end_of_life(now, Duration::from_secs(ttl), at(session), at(signer));
        assert_eq!(end(10, 100, 100).unwrap(), (at(11), LimitedBy::Ttl));
        assert_eq!(end(100, 20, 100).unwrap(), (at(20), LimitedBy::Session));
        assert_eq!(end(100, 90, 30).unwrap(), (at(30), LimitedBy::Signer));
        assert!(matches!(end(100, 1, 100), Err(DraftError::NoTimeLeft { limited_by: LimitedBy::Session, .. })));
    }
}

//! Whether a delivery is genuine: GitLab's secret token, its signed form, or both.

use crate::crypto::SharedSecret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::VecDeque;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

/// How far the time of a signed delivery may be off, either way.
const SKEW_MAX: Duration = Duration::minutes(5);
/// A signature or two (while a signing token is changed), not a list to make us work.
const SIGNATURES_MAX: usize = 4;
/// Longest delivery id that is taken: GitLab's are UUIDs.
const ID_BYTES_MAX: usize = 128;
/// Ids remembered at once: some thirty deliveries a second for as long as one may come again.
const IDS_MAX: usize = 20_000;

/// Why a delivery is not believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HookError {
    /// No configured hook has this secret or signature.
    #[error("the delivery has no secret or signature of a hook that is configured here")]
    NotGenuine,
    /// Signed, but long ago or in the future.
    #[error("the delivery was signed {seconds} seconds away from now; at most 300 are taken")]
    Stale {
        /// How far off, either way.
        seconds: u64,
    },
}

/// One delivery as it came.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// `X-Gitlab-Token`.
    pub secret: Option<&'a [u8]>,
    /// The three headers of the signed form.
    pub signed: Option<Signed<'a>>,
    /// The body as it came.
    pub body: &'a [u8],
}

/// The headers of the signed form (Standard Webhooks).
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// `webhook-id`.
    pub id: &'a str,
    /// `webhook-timestamp`, seconds since 1970.
    pub timestamp: &'a str,
    /// `webhook-signature`: one or more of `v1,<base64>`, apart by a space.
    pub signature: &'a str,
}

impl Delivery<'_> {
    pub(super) fn has_secret(&self, secret: &SharedSecret) -> Result<(), HookError> {
        if self.secret.is_some_and(|given| secret.is(given)) { Ok(()) } else { Err(HookError::NotGenuine) }
    }

    /// The time is judged after the signature: until then it is anybody's word.
    pub(super) fn is_signed(&self, token: &SigningToken, now: OffsetDateTime) -> Result<(), HookError> {
        let Some(Signed { id, timestamp, signature }) = self.signed else { return Err(HookError::NotGenuine) };
        let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", self.body];
        let tags = signature.split(' ').filter_map(|one| one.strip_prefix("v1,")).take(SIGNATURES_MAX);
        let mut tags = tags.filter_map(|tag| STANDARD.decode(tag).ok());
        if id.is_empty() || id.len() > ID_BYTES_MAX || !tags.any(|tag| token.0.signed(&parts, &tag)) {
            return Err(HookError::NotGenuine);
        }
        let at = timestamp.parse().ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
        let away = (now - at.ok_or(HookError::NotGenuine)?).abs();
        if away > SKEW_MAX {
            return Err(HookError::Stale { seconds: away.whole_seconds().unsigned_abs() });
        }
        Ok(())
    }
}

/// What GitLab signs deliveries with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SigningToken(SharedSecret);

/// Not a signing token of GitLab's.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a signing token is whsec_ and 32 bytes in base64")]
pub struct SigningTokenError;

impl SigningToken {
    /// Reads `whsec_<base64 of 32 bytes>`.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn parse(text: &str) -> Result<Self, SigningTokenError> {
        let bytes = text.strip_prefix("whsec_").and_then(|key| STANDARD.decode(key).ok());
        bytes.filter(|key| key.len() == 32).map(|key| Self(SharedSecret::new(key))).ok_or(SigningTokenError)
    }

    /// As GitLab takes it, and for nobody else.
    pub(super) fn for_gitlab(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("whsec_{}", STANDARD.encode(self.0.for_the_other_side())))
    }
}

/// The ids of genuine signed deliveries, for as long as one could come again.
#[derive(Debug, Default)]
pub struct DeliveryIds(VecDeque<(OffsetDateTime, String)>);

impl DeliveryIds {
    /// Whether a delivery of this id was heard.
    pub fn has(&self, id: &str) -> bool {
        self.0.iter().any(|(_, heard)| heard == id)
    }

    /// A delivery of this id was heard, and all that it says is done. Only for genuine ones: strangers could fill it.
    pub fn add(&mut self, id: &str, now: OffsetDateTime) {
        // One that was signed five minutes ahead can come for ten.
        while self.0.front().is_some_and(|(at, _)| now - *at > SKEW_MAX * 2) || self.0.len() >= IDS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, id.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Hook, Hooks, Scope};
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-02 09:34:02 UTC);
    const BODY: &[u8] = br#"{"object_kind":"build"}"#;

    fn signing_token(byte: u8) -> SigningToken {
        SigningToken::parse(&format!("whsec_{}", STANDARD.encode([byte; 32]))).unwrap()
    }

    fn hooks(secret: Option<&str>, signing_token: Option<SigningToken>) -> Hooks {
        let secret = secret.map(|text| SharedSecret::new(text.into()));
        Hooks(vec![Hook { scope: Scope::Project(4711), secret, signing_token, canceling: false }])
    }

    /// What GitLab would send at a time.
    fn signature(byte: u8, id: &str, timestamp: &str, body: &[u8]) -> String {
        let secret = SharedSecret::new(vec![byte; 32]);
        format!("v1,{}", STANDARD.encode(secret.tag(&[format!("{id}.{timestamp}.").as_bytes(), body])))
    }

    fn outcome(hooks: &Hooks, secret: Option<&str>, signed: Option<Signed<'_>>) -> Result<(), HookError> {
        let delivery = Delivery { secret: secret.map(str::as_bytes), signed, body: BODY };
        hooks.opened_by(&delivery, NOW).map(|_| ())
    }

    #[test]
    fn a_secret_opens_its_own_hook_only() {
        let hooks = hooks(Some("s3cret-of-payments"), None);
        assert_eq!(outcome(&hooks, Some("s3cret-of-payments"), None), Ok(()));
        for given in [None, Some(""), Some("s3cret-of-payment"), Some("another")] {
            assert_eq!(outcome(&hooks, given, None), Err(HookError::NotGenuine), "{given:?}");
        }
    }

    #[test]
    fn without_a_configured_proof_nothing_is_genuine() {
        assert_eq!(outcome(&hooks(None, None), Some(""), None), Err(HookError::NotGenuine));
        assert_eq!(outcome(&Hooks::default(), Some("x"), None), Err(HookError::NotGenuine));
    }

    #[test]
    fn a_signature_covers_id_time_and_body() {
        let hooks = hooks(None, Some(signing_token(7)));
        let timestamp = NOW.unix_timestamp().to_string();
        let good = signature(7, "id-1", &timestamp, BODY);
        let two = format!("{} {good}", signature(8, "id-1", &timestamp, BODY));
        for signature in [&good, &two] {
            let signed = Signed { id: "id-1", timestamp: &timestamp, signature };
            assert_eq!(outcome(&hooks, None, Some(signed)), Ok(()));
        }
        let later = (NOW.unix_timestamp() + 1).to_string();
        let other_body = signature(7, "id-1", &timestamp, b"{}");
        let other_key = signature(8, "id-1", &timestamp, BODY);
        let no_scheme = good.trim_start_matches("v1,").to_owned();
        for (id, timestamp, signature) in [
            ("id-2", &timestamp, &good),
            ("id-1", &later, &good),
            ("id-1", &timestamp, &other_body),
            ("id-1", &timestamp, &other_key),
            ("id-1", &timestamp, &no_scheme),
            ("", &timestamp, &good),
        ] {
            let signed = Signed { id, timestamp, signature };
            assert_eq!(outcome(&hooks, None, Some(signed)), Err(HookError::NotGenuine), "{signed:?}");
        }
        assert_eq!(outcome(&hooks, None, None), Err(HookError::NotGenuine));
    }

    #[test]
    fn a_signed_delivery_is_taken_within_five_minutes_either_way() {
        let hooks = hooks(None, Some(signing_token(7)));
        for (off, wanted) in [
            (-300, Ok(())),
            (300, Ok(())),
            (-301, Err(HookError::Stale { seconds: 301 })),
            (301, Err(HookError::Stale { seconds: 301 })),
        ] {
            let timestamp = (NOW.unix_timestamp() + off).to_string();
            let signature = signature(7, "id", &timestamp, BODY);
            let signed = Signed { id: "id", timestamp: &timestamp, signature: &signature };
            assert_eq!(outcome(&hooks, None, Some(signed)), wanted, "{off}");
        }
    }

    #[test]
    fn with_both_proofs_configured_both_must_hold() {
        let hooks = hooks(Some("s3cret"), Some(signing_token(7)));
        let timestamp = NOW.unix_timestamp().to_string();
        let (good, bad) = (signature(7, "id", &timestamp, BODY), signature(8, "id", &timestamp, BODY));
        let signed = |signature| Some(Signed { id: "id", timestamp: &timestamp, signature });
        assert_eq!(outcome(&hooks, Some("s3cret"), signed(&good)), Ok(()));
        assert_eq!(outcome(&hooks, None, signed(&good)), Err(HookError::NotGenuine));
        assert_eq!(outcome(&hooks, Some("s3cret"), None), Err(HookError::NotGenuine));
        assert_eq!(outcome(&hooks, Some("s3cret"), signed(&bad)), Err(HookError::NotGenuine));
    }

    #[test]
    fn a_signing_token_is_32_bytes() {
        for odd in
            ["", "whsec_", "whsec_AAAA", &STANDARD.encode([1; 32]), &format!("whsec_{}", STANDARD.encode([1; 33]))]
        {
            assert_eq!(SigningToken::parse(odd), Err(SigningTokenError), "{odd}");
        }
    }

    #[test]
    fn an_id_is_remembered_for_as_long_as_it_could_come_again_and_memory_has_an_end() {
        let mut ids = DeliveryIds::default();
        assert!(!ids.has("a"));
        ids.add("a", NOW);
        ids.add("b", NOW + Duration::minutes(10));
        assert!(ids.has("a"));
        ids.add("c", NOW + Duration::minutes(11));
        assert!(!ids.has("a") && ids.has("b"));
        for n in 0..IDS_MAX + 5 {
            ids.add(&n.to_string(), NOW + Duration::minutes(11));
        }
        assert_eq!(ids.0.len(), IDS_MAX);
    }
}

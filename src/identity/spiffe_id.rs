//! A SPIFFE ID that cannot exist unchecked (SPIFFE-ID §2).
//!
//! Everything is compared and kept as written: no decoding, no folding, no normalising. What would need it is refused.

use super::{TrustDomain, TrustDomainError};
use crate::telemetry::quotable;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The longest ID that everybody must read (SPIFFE-ID §2.3); longer ones are neither made nor read.
const ID_BYTES_MAX: usize = 2048;

const SCHEME: &str = "spiffe://";

/// A well-formed SPIFFE ID, at most 2048 bytes.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId(Arc<str>);

/// Why a text is no SPIFFE ID.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SpiffeIdError {
    /// A character outside the set of path segments.
    #[error("a path segment has letters, digits, '.', '-' and '_' only; found {found:?} in {segment:?}")]
    Character {
        /// The character.
        found: char,
        /// The segment that holds it, cut at 200 characters.
        segment: String,
    },
    /// `.` or `..`; refused, never resolved.
    #[error("a path segment may not be '.' or '..'")]
    DotSegment,
    /// Two slashes in a row.
    #[error("a path segment is empty; write one slash between segments")]
    EmptySegment,
    /// Percent-encoding; nothing is ever decoded.
    #[error("a SPIFFE ID holds no percent-encoding; found it in {segment:?}")]
    PercentEncoded {
        /// The segment that holds it, cut at 200 characters.
        segment: String,
    },
    /// A query or fragment.
    #[error("a SPIFFE ID has neither query nor fragment; leave out all from {found:?} on")]
    QueryOrFragment {
        /// `?` or `#`.
        found: char,
    },
    /// Another scheme, or none.
    #[error("a SPIFFE ID begins with \"spiffe://\", in lower case")]
    Scheme,
    /// More than 2048 bytes.
    #[error("the SPIFFE ID has {actual} bytes, at most {ID_BYTES_MAX} are allowed")]
    TooLong {
        /// What came.
        actual: usize,
    },
    /// A slash at the end, also directly after the trust domain.
    #[error("a SPIFFE ID does not end in a slash; leave it out")]
    TrailingSlash,
    /// The part between `spiffe://` and the path.
    #[error("the trust domain is not well-formed")]
    TrustDomain(#[from] TrustDomainError),
}

impl SpiffeId {
    /// Reads `spiffe://trust-domain[/path]`; decodes nothing, folds nothing.
    ///
    /// # Errors
    /// One variant per way to be wrong.
    pub fn parse(text: &str) -> Result<Self, SpiffeIdError> {
        if text.len() > ID_BYTES_MAX {
            return Err(SpiffeIdError::TooLong { actual: text.len() });
        }
        let rest = text.strip_prefix(SCHEME).ok_or(SpiffeIdError::Scheme)?;
        if let Some(found) = rest.chars().find(|c| matches!(c, '?' | '#')) {
            return Err(SpiffeIdError::QueryOrFragment { found });
        }
        match rest.split_once('/') {
            None => TrustDomain::check(rest)?,
            Some((trust_domain, path)) => {
                TrustDomain::check(trust_domain)?;
                if rest.ends_with('/') {
                    return Err(SpiffeIdError::TrailingSlash);
                }
                path.split('/').try_for_each(check_segment)?;
            }
        }
        Ok(Self(Arc::from(text)))
    }

    /// An ID from a trust domain and path segments.
    ///
    /// # Errors
    /// As `parse`; also when the whole would pass 2048 bytes.
    pub fn from_segments(
        trust_domain: &TrustDomain,
        segments: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, SpiffeIdError> {
        let mut text = [SCHEME, trust_domain.as_str()].concat();
        for segment in segments {
            let segment = segment.as_ref();
            check_segment(segment)?;
            text.push('/');
            text.push_str(segment);
        }
        if text.len() > ID_BYTES_MAX {
            return Err(SpiffeIdError::TooLong { actual: text.len() });
        }
        Ok(Self(Arc::from(text)))
    }

    pub(super) fn of_trust_domain(trust_domain: &TrustDomain) -> Self {
        Self(Arc::from([SCHEME, trust_domain.as_str()].concat()))
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> TrustDomain {
        TrustDomain::already_checked(self.trust_domain_name())
    }

    /// The bare name of the trust domain, borrowed.
    pub fn trust_domain_name(&self) -> &str {
        let rest = self.after_scheme();
        rest.split_once('/').map_or(rest, |(trust_domain, _path)| trust_domain)
    }

    /// The path with its leading slash, or empty.
    pub fn path(&self) -> &str {
        let rest = self.after_scheme();
        rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or_default()
    }

    fn after_scheme(&self) -> &str {
        self.0.strip_prefix(SCHEME).unwrap_or_default()
    }

    /// Whether a workload may carry it: it has a path (X509-SVID §2).
    pub fn names_a_workload(&self) -> bool {
        !self.path().is_empty()
    }

    /// The whole ID.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// SPIFFE-ID §2.2.
pub(super) fn check_segment(segment: &str) -> Result<(), SpiffeIdError> {
    if segment.is_empty() {
        return Err(SpiffeIdError::EmptySegment);
    }
    if matches!(segment, "." | "..") {
        return Err(SpiffeIdError::DotSegment);
    }
    match segment.chars().find(|c| !matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' | '_')) {
        None => Ok(()),
        Some('%') => Err(SpiffeIdError::PercentEncoded { segment: quotable(segment) }),
        Some(found) => Err(SpiffeIdError::Character { found, segment: quotable(segment) }),
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = SpiffeIdError;

    fn try_from(text: String) -> Result<Self, SpiffeIdError> {
        Self::parse(&text)
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Shows: ID-9.
    #[test]
    fn every_byte_of_a_path_is_in_the_set_or_refused() {
        for byte in (0..=u8::MAX).filter(|byte| *byte != b'/') {
            let allowed = matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_');
            let id = format!("spiffe://example.org/a{}b", char::from(byte));
            assert_eq!(SpiffeId::parse(&id).is_ok(), allowed, "byte {byte}");
        }
    }

    /// Shows: ID-16.
    #[test]
    fn case_tells_two_paths_apart() {
        assert_ne!(SpiffeId::parse("spiffe://example.org/CI"), SpiffeId::parse("spiffe://example.org/ci"));
    }

    /// Shows: ID-14.
    #[test]
    fn an_id_of_2049_bytes_is_not_made() {
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let room = 2048 - "spiffe://example.org/".len();
        assert!(SpiffeId::from_segments(&trust_domain, ["a".repeat(room).as_str()]).is_ok());
        let refused = SpiffeId::from_segments(&trust_domain, ["a".repeat(room + 1).as_str()]).unwrap_err();
        assert_eq!(refused, SpiffeIdError::TooLong { actual: 2049 });
    }

    /// Shows: ID-10.
    #[test]
    fn a_trust_domain_names_itself_without_a_path() {
        let id = TrustDomain::parse("example.org").unwrap().id();
        assert_eq!((id.as_str(), id.names_a_workload()), ("spiffe://example.org", false));
    }

    proptest! {
        /// Shows: ID-1, ID-17.
        #[test]
        fn what_is_built_from_segments_is_what_parse_reads(segments in prop::collection::vec(".{0,12}", 0..5)) {
            let trust_domain = TrustDomain::parse("example.org").unwrap();
            let built = SpiffeId::from_segments(&trust_domain, segments.iter().map(String::as_str));
            if let Ok(id) = built {
                prop_assert_eq!(SpiffeId::parse(id.as_str()).unwrap(), id);
            }
        }
    }
}

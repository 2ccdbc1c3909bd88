//! The name of a trust domain (SPIFFE-ID §2.1): lower-case letters, digits, `.`, `-`, `_`, at most 255 bytes.

use super::SpiffeId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The longest name, in bytes (SPIFFE-ID §2.3).
const NAME_BYTES_MAX: usize = 255;

/// A well-formed trust domain name.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustDomain(Arc<str>);

/// Why a text is no trust domain name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TrustDomainError {
    /// A character outside the set.
    #[error("a trust domain has lower-case letters, digits, '.', '-' and '_' only; found {found:?} at byte {at}")]
    Character {
        /// The character.
        found: char,
        /// Where it stands, in bytes.
        at: usize,
    },
    /// Nothing at all.
    #[error("the trust domain is empty; give a name such as ci.example.org")]
    Empty,
    /// Scheme, port, user, path or brackets.
    #[error(
        "a trust domain is a bare name such as ci.example.org, without scheme, user, port or path; found {found:?}"
    )]
    NotBare {
        /// What gave it away.
        found: char,
    },
    /// A percent sign; nothing is ever decoded (SPIFFE-ID §2.1).
    #[error("a trust domain holds no percent-encoding; write the name itself")]
    PercentEncoded,
    /// More than 255 bytes.
    #[error("the trust domain has {actual} bytes, at most {NAME_BYTES_MAX} are allowed")]
    TooLong {
        /// What came.
        actual: usize,
    },
    /// Upper case is refused, not folded, so that a name has one spelling everywhere.
    #[error("a trust domain is written in lower case: {lower}")]
    UpperCase {
        /// What to write.
        lower: String,
    },
}

impl TrustDomain {
    /// Reads a bare name such as `ci.example.org`; nothing is folded or cleaned up.
    ///
    /// # Errors
    /// One variant per way to be wrong; upper case names the lower-case form.
    pub fn parse(name: &str) -> Result<Self, TrustDomainError> {
        Self::check(name)?;
        Ok(Self(Arc::from(name)))
    }

    /// The name that a checked SPIFFE ID holds.
    pub(super) fn already_checked(name: &str) -> Self {
        Self(Arc::from(name))
    }

    pub(super) fn check(name: &str) -> Result<(), TrustDomainError> {
        if name.is_empty() {
            return Err(TrustDomainError::Empty);
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(TrustDomainError::TooLong { actual: name.len() });
        }
        for (at, found) in name.char_indices() {
            match found {
                'a'..='z' | '0'..='9' | '.' | '-' | '_' | 'A'..='Z' => {}
                ':' | '/' | '@' | '[' | ']' => return Err(TrustDomainError::NotBare { found }),
                '%' => return Err(TrustDomainError::PercentEncoded),
                _ => return Err(TrustDomainError::Character { found, at }),
            }
        }
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(TrustDomainError::UpperCase { lower: name.to_ascii_lowercase() });
        }
        Ok(())
    }

    /// The bare name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The ID of the trust domain itself, `spiffe://name`, as CA certificates carry it.
    pub fn id(&self) -> SpiffeId {
        SpiffeId::of_trust_domain(self)
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for TrustDomain {
    type Error = TrustDomainError;

    fn try_from(name: String) -> Result<Self, TrustDomainError> {
        Self::parse(&name)
    }
}

impl From<TrustDomain> for String {
    fn from(name: TrustDomain) -> Self {
        name.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows: ID-4.
    #[test]
    fn every_byte_is_in_the_set_or_refused() {
        for byte in 0..=u8::MAX {
            let allowed = matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
            assert_eq!(TrustDomain::parse(&format!("a{}b", char::from(byte))).is_ok(), allowed, "byte {byte}");
        }
    }

    /// Shows: ID-5, ID-16.
    #[test]
    fn upper_case_is_told_its_lower_case_form() {
        let refused = TrustDomain::parse("CI.Example.org").unwrap_err();
        assert_eq!(refused, TrustDomainError::UpperCase { lower: "ci.example.org".into() });
    }
}

//! What a leaf may tell of the build it was given to: the extensions that Sigstore's Fulcio publishes for CI jobs
//! (docs/oid-info.md there), so that what reads Fulcio's certificates reads these.
//!
//! Each is a non-critical extension `1.3.6.1.4.1.57264.1.N` whose value is a DER `UTF8String`. A claim that the token
//! lacks has no extension: Fulcio leaves out what is empty, and its readers take an absent one for empty. What does
//! not fit is refused, never cut: half a URL names something else.

use super::der::der;
use rcgen::CustomExtension;
use std::collections::BTreeMap;

/// Where Fulcio's extensions live.
const FULCIO: &[u64] = &[1, 3, 6, 1, 4, 1, 57264, 1];

/// The tag of a `UTF8String` (X.690 §8.23).
const UTF8_STRING: u8 = 12;

/// The longest value. With all sixteen at their longest a chain stays below the 32 KiB that Java takes for one
/// handshake message.
const VALUE_BYTES_MAX: usize = 1024;

/// One of Fulcio's extensions.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum BuildClaim {
    /// The token's issuer.
    Issuer,
    /// The instructions that signed: the pipeline's top-level configuration.
    BuildSignerUri,
    /// Its commit.
    BuildSignerDigest,
    /// Whose machine built.
    RunnerEnvironment,
    /// The project's URL.
    SourceRepositoryUri,
    /// The commit that was built.
    SourceRepositoryDigest,
    /// The ref that was built.
    SourceRepositoryRef,
    /// The project's id.
    SourceRepositoryIdentifier,
    /// The namespace's URL.
    SourceRepositoryOwnerUri,
    /// The namespace's id.
    SourceRepositoryOwnerIdentifier,
    /// The pipeline's top-level configuration.
    BuildConfigUri,
    /// Its commit.
    BuildConfigDigest,
    /// What started the pipeline.
    BuildTrigger,
    /// The job's URL.
    RunInvocationUri,
    /// Who may see the project.
    SourceRepositoryVisibility,
    /// Where the job deploys to.
    DeploymentEnvironment,
}

impl BuildClaim {
    /// Fulcio's name for it, as refusals show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::BuildSignerUri => "build signer URI",
            Self::BuildSignerDigest => "build signer digest",
            Self::RunnerEnvironment => "runner environment",
            Self::SourceRepositoryUri => "source repository URI",
            Self::SourceRepositoryDigest => "source repository digest",
            Self::SourceRepositoryRef => "source repository ref",
            Self::SourceRepositoryIdentifier => "source repository identifier",
            Self::SourceRepositoryOwnerUri => "source repository owner URI",
            Self::SourceRepositoryOwnerIdentifier => "source repository owner identifier",
            Self::BuildConfigUri => "build config URI",
            Self::BuildConfigDigest => "build config digest",
            Self::BuildTrigger => "build trigger",
            Self::RunInvocationUri => "run invocation URI",
            Self::SourceRepositoryVisibility => "source repository visibility",
            Self::DeploymentEnvironment => "deployment environment",
        }
    }

    /// The last number of its object identifier.
    pub const fn arc(self) -> u8 {
        match self {
            Self::Issuer => 8,
            Self::BuildSignerUri => 9,
            Self::BuildSignerDigest => 10,
            Self::RunnerEnvironment => 11,
            Self::SourceRepositoryUri => 12,
            Self::SourceRepositoryDigest => 13,
            Self::SourceRepositoryRef => 14,
            Self::SourceRepositoryIdentifier => 15,
            Self::SourceRepositoryOwnerUri => 16,
            Self::SourceRepositoryOwnerIdentifier => 17,
            Self::BuildConfigUri => 18,
            Self::BuildConfigDigest => 19,
            Self::BuildTrigger => 20,
            Self::RunInvocationUri => 21,
            Self::SourceRepositoryVisibility => 22,
            Self::DeploymentEnvironment => 23,
        }
    }
}

/// The build claims of one leaf; none by default.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BuildClaims(BTreeMap<BuildClaim, String>);

/// Why a value cannot stand in a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BuildClaimError {
    /// A character that a terminal or a log would obey instead of showing it.
    #[error("it holds a control character")]
    ControlCharacter,
    /// Over the limit.
    #[error("it has {bytes} bytes, at most {VALUE_BYTES_MAX} fit")]
    TooLong {
        /// What came.
        bytes: usize,
    },
}

impl BuildClaims {
    /// Adds a claim; an empty value is as good as none.
    ///
    /// # Errors
    /// See [`BuildClaimError`].
    pub fn add(&mut self, claim: BuildClaim, value: String) -> Result<(), BuildClaimError> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(BuildClaimError::TooLong { bytes: value.len() });
        }
        if value.chars().any(commands) {
            return Err(BuildClaimError::ControlCharacter);
        }
        if !value.is_empty() {
            self.0.insert(claim, value);
        }
        Ok(())
    }

    /// The values by the last number of their object identifiers.
    pub fn by_arc(&self) -> BTreeMap<u8, String> {
        self.0.iter().map(|(claim, value)| (claim.arc(), value.clone())).collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn extensions(&self) -> Vec<CustomExtension> {
        let lay_out = |(claim, value): (&BuildClaim, &String)| {
            let oid = [FULCIO, &[u64::from(claim.arc())]].concat();
            CustomExtension::from_oid_content(&oid, der(UTF8_STRING, value.as_bytes()))
        };
        self.0.iter().map(lay_out).collect()
    }
}

/// Control characters, and those that turn the direction of writing or end a line (Unicode UAX #9, UAX #14).
fn commands(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_what_is_empty_is_left_out() {
        let mut claims = BuildClaims::default();
        let add = |claims: &mut BuildClaims, value: &str| claims.add(BuildClaim::Issuer, value.to_owned());
        for odd in ["a\nb", "\0", "\u{7f}", "\u{85}", "a\u{202e}b", "\u{2028}"] {
            assert_eq!(add(&mut claims, odd), Err(BuildClaimError::ControlCharacter), "{odd:?}");
        }
        let long = "é".repeat(512);
        add(&mut claims, &long).unwrap();
        assert_eq!(add(&mut claims, &(long + "x")), Err(BuildClaimError::TooLong { bytes: 1025 }));
        let mut none = BuildClaims::default();
        add(&mut none, "").unwrap();
        assert!(none.is_empty() && !claims.is_empty());
    }
}

//! A secret that two sides hold: compared and used without telling how much of it was right.

use super::Digest;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use std::fmt;
use zeroize::Zeroizing;

/// A secret that two sides hold.
#[derive(Clone, Eq, PartialEq)]
pub struct SharedSecret(Zeroizing<Vec<u8>>);

impl SharedSecret {
    /// Takes the secret's bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Whether this was given. Digests are compared, so that not even the length shows in the time.
    pub fn is(&self, given: &[u8]) -> bool {
        let (ours, theirs) = (Digest::of(&self.0), Digest::of(given));
        verify_slices_are_equal(ours.as_bytes(), theirs.as_bytes()).is_ok()
    }

    /// The secret itself, for the other side that is to hold it, and for nobody else.
    pub fn for_the_other_side(&self) -> &[u8] {
        &self.0
    }

    /// Whether `tag` is what [`SharedSecret::tag`] makes of the parts.
    pub fn signed(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        verify_slices_are_equal(&self.tag(parts), tag).is_ok()
    }

    /// The HMAC-SHA256 (RFC 2104) of the parts, one after the other, under this secret.
    pub fn tag(&self, parts: &[&[u8]]) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        for part in parts {
            context.update(part);
        }
        context.sign().as_ref().to_vec()
    }
}

/// Says that there is one, and no more.
impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_secret_is_the_secret_and_none_of_it_is_shown() {
        let secret = SharedSecret::new(b"correct horse".to_vec());
        assert!(secret.is(b"correct horse"));
        for other in [&b""[..], b"correct hors", b"correct horse ", b"Correct horse"] {
            assert!(!secret.is(other));
        }
        assert_eq!(format!("{secret:?}"), "SharedSecret(…)");
    }

    /// RFC 4231 §4.3, test case 2.
    #[test]
    fn a_signature_is_the_standard_s() {
        let secret = SharedSecret::new(b"Jefe".to_vec());
        let tag: Digest = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843".parse().unwrap();
        assert!(secret.signed(&[b"what do ya want ", b"for nothing?"], tag.as_bytes()));
        assert!(!secret.signed(&[b"what do ya want for nothing!"], tag.as_bytes()));
        assert!(!secret.signed(&[b"what do ya want for nothing?"], &tag.as_bytes()[..31]));
    }
}

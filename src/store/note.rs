//! Signed notes (C2SP signed-note), with Ed25519: a text, an empty line, and who signed it, a line each.
//!
//! ```text
//!   — <name> <base64 of key id (4 bytes) and signature>
//!   <name>+<key id, 8 hex digits>+<base64 of 0x01 and public key>        a verifier key, as auditors keep it
//! ```

use crate::crypto::{CryptoError, Digest, KeyAlgorithm, KeyPair, PublicKey, PublicNumbers};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A checkpoint with a few witnesses' signatures is far smaller.
const NOTE_BYTES_MAX: usize = 64 << 10;
/// The type of a key and its signatures.
const ED25519: u8 = 1;

/// Why something cannot sign notes, or verify them.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    /// Notes are signed with Ed25519 here, and nothing else.
    #[error("notes are signed by Ed25519 keys, this one is of kind {0}")]
    KeyKind(KeyAlgorithm),
    /// The name of a key may not be empty, nor hold blanks or a plus.
    #[error("{0:?} cannot name a key: it may not be empty, nor hold blanks, control characters or a plus")]
    Name(String),
    /// Not in the form `name+id+key`, or its parts do not fit each other.
    #[error("not an Ed25519 verifier key, which is NAME+ID+KEY on one line")]
    NotAVerifierKey,
}

type KeyHint = [u8; 4];

/// A public key and the name it signs under.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifierKey {
    name: String,
    key: PublicKey,
}

impl VerifierKey {
    fn new(name: String, key: PublicKey) -> Result<Self, NoteError> {
        if key.algorithm() != KeyAlgorithm::Ed25519 {
            return Err(NoteError::KeyKind(key.algorithm()));
        }
        if is_name(&name) { Ok(Self { name, key }) } else { Err(NoteError::Name(name)) }
    }

    /// The name: of a journal's key, the journal's origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key.
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u32::from_be_bytes(hint(&self.name, &self.key));
        let key = STANDARD.encode([&[ED25519], raw(&self.key).as_slice()].concat());
        write!(f, "{}+{id:08x}+{key}", self.name)
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        // The last part may hold a plus of its own.
        let mut parts = text.splitn(3, '+');
        let (name, key) = (parts.next(), parts.nth(1).and_then(|key| STANDARD.decode(key).ok()));
        let (Some(name), Some([ED25519, x @ ..])) = (name, key.as_deref()) else {
            return Err(NoteError::NotAVerifierKey);
        };
        let key = PublicKey::from_numbers(&PublicNumbers::Ed25519 { x: x.to_vec() });
        let found = Self::new(name.to_owned(), key.map_err(|_not_a_key| NoteError::NotAVerifierKey)?)?;
        if found.to_string() == text { Ok(found) } else { Err(NoteError::NotAVerifierKey) }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

fn raw(key: &PublicKey) -> Vec<u8> {
    match key.numbers() {
        PublicNumbers::Ed25519 { x } => x,
        PublicNumbers::Ec { .. } | PublicNumbers::Rsa { .. } => Vec::new(),
    }
}

/// What a signature line says of its key: no proof, only a way to find it.
fn hint(name: &str, key: &PublicKey) -> KeyHint {
    let digest = Digest::of_parts(&[name.as_bytes(), b"\n", &[ED25519], &raw(key)]);
    digest.as_bytes().first_chunk().copied().unwrap_or_default()
}

/// Signs notes under a name. Cheap to clone.
#[derive(Clone, Debug)]
pub struct NoteSigner {
    verifier: VerifierKey,
    key: Arc<KeyPair>,
}

impl NoteSigner {
    /// A key and the name it signs under.
    ///
    /// # Errors
    /// `KeyKind`, `Name`.
    pub fn new(name: String, key: Arc<KeyPair>) -> Result<Self, NoteError> {
        Ok(Self { verifier: VerifierKey::new(name, key.public().clone())?, key })
    }

    /// What verifies its notes.
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The whole note; the text ends its last line.
    pub(super) fn sign(&self, text: &str) -> Result<String, CryptoError> {
        let VerifierKey { name, key } = &self.verifier;
        let signature = [hint(name, key).as_slice(), &self.key.sign(text.as_bytes())?].concat();
        Ok(format!("{text}\n\u{2014} {name} {}\n", STANDARD.encode(signature)))
    }
}

/// A note as it was found: who signed it is still to be asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Note {
    text: String,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Signature {
    name: String,
    hint: KeyHint,
    bytes: Vec<u8>,
}

impl Note {
    /// Reads a note; none for whatever is not in the form.
    pub(super) fn parse(note: &str) -> Option<Self> {
        if note.len() > NOTE_BYTES_MAX || note.contains(|c: char| c < ' ' && c != '\n') {
            return None;
        }
        let (text, lines) = note.rsplit_once("\n\n")?;
        let signatures = lines.strip_suffix('\n')?.split('\n').map(Signature::parse).collect::<Option<_>>()?;
        Some(Self { text: format!("{text}\n"), signatures })
    }

    /// What was signed, to the end of its last line.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether this key signed it, under whatever name; others may have signed it too.
    pub(super) fn is_signed_by(&self, key: &PublicKey) -> bool {
        let mut own =
            self.signatures.iter().filter(|signature| signature.hint == hint(&signature.name, key)).peekable();
        own.peek().is_some() && own.all(|signature| key.verify(self.text.as_bytes(), &signature.bytes).is_ok())
    }
}

impl Signature {
    fn parse(line: &str) -> Option<Self> {
        let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
        let signature = STANDARD.decode(signature).ok()?;
        let (hint, bytes) = signature.split_first_chunk()?;
        is_name(name).then(|| Self { name: name.to_owned(), hint: *hint, bytes: bytes.to_vec() })
    }
}

#[cfg(test)]
impl NoteSigner {
    /// A new key under some name.
    pub(crate) fn for_test() -> Self {
        let key = Arc::new(KeyPair::generate(KeyAlgorithm::Ed25519).unwrap());
        Self::new("ci.example.org/-/lanyard/journal/a".to_owned(), key).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(name: &str) -> NoteSigner {
        NoteSigner::new(name.to_owned(), NoteSigner::for_test().key).unwrap()
    }

    /// The example of C2SP's tlog-checkpoint, whose key is not told.
    const EXAMPLE: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
        \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";

    #[test]
    fn a_note_is_verified_by_its_key_and_no_other() {
        let (one, other) = (signer("example.org/log"), signer("example.org/log"));
        let signed = one.sign("a\n\nb\n").unwrap();
        let note = Note::parse(&signed).unwrap();
        assert_eq!(note.text(), "a\n\nb\n");
        assert!(note.is_signed_by(one.verifier().key()) && !note.is_signed_by(other.verifier().key()));
        let by_both = signed.clone() + other.sign("a\n\nb\n").unwrap().strip_prefix("a\n\nb\n\n").unwrap();
        assert!([&one, &other].iter().all(|by| Note::parse(&by_both).unwrap().is_signed_by(by.verifier().key())));
        let changed = Note::parse(&signed.replacen('b', "c", 1)).unwrap();
        assert!(!changed.is_signed_by(one.verifier().key()));
        assert!(!Note::parse(EXAMPLE).unwrap().is_signed_by(one.verifier().key()));
    }

    #[test]
    fn a_verifier_key_reads_back_and_nothing_like_it_does() {
        let verifier = signer("example.org/log").verifier().clone();
        let text = verifier.to_string();
        assert_eq!(text.parse::<VerifierKey>().unwrap(), verifier);
        for odd in ["", "a+b", "example.org/log+00000000+AQ==", &text.replacen("log", "dog", 1), &format!("{text}=")] {
            odd.parse::<VerifierKey>().unwrap_err();
        }
    }

    #[test]
    fn what_is_not_in_the_form_is_no_note() {
        let signed = signer("n").sign("a\n").unwrap();
        for odd in [
            "",
            "a\n",
            "a\n\n",
            "a\n\n\u{2014} n\n",
            "a\n\n- n AAAAAAAA\n",
            &signed.replace('a', "\r"),
            signed.trim_end(),
        ] {
            assert_eq!(Note::parse(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn only_ed25519_under_a_proper_name_signs() {
        let p256 = Arc::new(KeyPair::generate(KeyAlgorithm::EcP256).unwrap());
        assert!(matches!(NoteSigner::new("n".to_owned(), p256), Err(NoteError::KeyKind(KeyAlgorithm::EcP256))));
        let key = Arc::new(KeyPair::generate(KeyAlgorithm::Ed25519).unwrap());
        for odd in ["", "a b", "a+b", "a\nb"] {
            assert!(matches!(NoteSigner::new(odd.to_owned(), Arc::clone(&key)), Err(NoteError::Name(_))));
        }
    }
}

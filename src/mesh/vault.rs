//! Vault, and OpenBao: roles by which a rule's jobs log in, with their certificate or with a token, and what they may read.
//!
//! Both compare an ID with a pattern in which a star stands for anything, slashes too: so there is one at a pattern's end
//! only, behind a whole name.

use super::{Admitted, Document, NotRendered, Peer, Unwritable};
use crate::crypto::PemLabel;
use crate::identity::TrustDomain;
use rustls_pki_types::CertificateDer;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Vault believes a token for minutes after its end unless it is told otherwise, and takes 0 for "not told".
const LEEWAY_SECONDS: u32 = 1;
/// As everywhere in Lanyard.
const SKEW_SECONDS: u32 = 30;
const NAME_BYTES_MAX: usize = 128;

/// What Vault reads an ID from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum VaultLogin {
    /// An X.509-SVID.
    Certificate,
    /// A JWT-SVID.
    Token {
        /// Whom it is for.
        audience: String,
        /// The claim by which Vault tells one bearer from another.
        user_claim: String,
    },
}

/// A name of a role, a policy or a mount, as every version takes it: small letters, digits, and `-`, `_`, `.` between.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VaultName(String);

/// What a policy lets a token read: a path, or with `/*` at its end all below.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SecretPath(String);

/// A text that is no such thing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotOfVault {
    /// No name.
    #[error("write small letters, digits, and -, _ or . between them")]
    Name,
    /// No path.
    #[error("write a path as secret/data/deploy, or secret/data/deploy/* for all below it")]
    Path,
    /// A policy that Vault keeps for itself.
    #[error("root and default are Vault's own policies")]
    Reserved,
}

/// A role, and what its tokens may do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VaultRole {
    /// Of the role, and of the policy that is made for it.
    pub name: VaultName,
    /// What its tokens may read, by a policy of the role's own.
    pub reads: Vec<SecretPath>,
    /// The policies that its tokens have besides.
    pub policies: Vec<VaultName>,
    /// How long a token lives unless it is renewed.
    pub ttl: Duration,
    /// How long it lives at most.
    pub max_ttl: Duration,
}

/// Something that is written to Vault.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VaultWrite {
    /// What `vault` is told before the name of standard input.
    command: String,
    /// What it reads there.
    input: String,
    /// The same as a call of the API.
    call: Document,
}

/// A call of the API: `POST /v1/{path}` with the data.
#[derive(Serialize)]
struct Call<'a, T> {
    path: &'a str,
    data: &'a T,
}

#[derive(Serialize)]
struct PolicyText<'a> {
    policy: &'a str,
}

#[derive(Serialize)]
struct Tokens {
    #[serde(rename = "token_policies")]
    policies: Vec<String>,
    #[serde(rename = "token_ttl")]
    ttl: String,
    #[serde(rename = "token_max_ttl")]
    max_ttl: String,
}

#[derive(Serialize)]
struct CertificateRole {
    certificate: String,
    allowed_uri_sans: Vec<String>,
    #[serde(flatten)]
    tokens: Tokens,
}

#[derive(Serialize)]
struct TokenRole<'a> {
    role_type: &'static str,
    user_claim: &'a str,
    bound_audiences: [&'a str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    bound_subject: Option<String>,
    bound_claims_type: &'static str,
    bound_claims: BTreeMap<&'static str, Vec<String>>,
    expiration_leeway: u32,
    not_before_leeway: u32,
    clock_skew_leeway: u32,
    #[serde(flatten)]
    tokens: Tokens,
}

impl VaultRole {
    /// The policy of what its tokens may read; none where that is left to others.
    ///
    /// # Errors
    /// Never for what it is made of.
    pub fn policy(&self) -> Result<Option<VaultWrite>, NotRendered> {
        if self.reads.is_empty() {
            return Ok(None);
        }
        let allowed = self.reads.iter().map(|path| format!("path \"{path}\" {{\n  capabilities = [\"read\"]\n}}\n"));
        let (text, path) = (allowed.collect::<String>(), format!("sys/policies/acl/{}", self.name));
        let call = Document::of(&Call { path: &path, data: &PolicyText { policy: &text } })?;
        Ok(Some(VaultWrite { command: format!("policy write {}", self.name), input: text, call }))
    }

    /// The role for those who show a certificate below one of these roots.
    ///
    /// # Errors
    /// Never for what it is made of.
    pub fn by_certificate(
        &self,
        mount: &VaultName,
        (admitted, trust_domain): (&[Admitted], &TrustDomain),
        roots: &[CertificateDer<'_>],
    ) -> Result<VaultWrite, NotRendered> {
        let certificate = roots.iter().map(|root| PemLabel::Certificate.armour(root).to_string()).collect();
        let allowed_uri_sans = patterns(admitted, trust_domain);
        let role = CertificateRole { certificate, allowed_uri_sans, tokens: self.tokens() };
        written(&format!("auth/{mount}/certs/{}", self.name), &role)
    }

    /// The role for those who show a token for this audience.
    ///
    /// # Errors
    /// Never for what it is made of.
    pub fn by_token(
        &self,
        mount: &VaultName,
        (admitted, trust_domain): (&[Admitted], &TrustDomain),
        (audience, user_claim): (&str, &str),
    ) -> Result<VaultWrite, NotRendered> {
        let subjects = patterns(admitted, trust_domain);
        let is_pattern = subjects.iter().any(|subject| subject.ends_with('*'));
        let role = TokenRole {
            role_type: "jwt",
            user_claim,
            bound_audiences: [audience],
            bound_subject: subjects.first().filter(|_| subjects.len() == 1 && !is_pattern).cloned(),
            bound_claims_type: if is_pattern { "glob" } else { "string" },
            bound_claims: BTreeMap::from([("sub", subjects)]),
            expiration_leeway: LEEWAY_SECONDS,
            not_before_leeway: LEEWAY_SECONDS,
            clock_skew_leeway: SKEW_SECONDS,
            tokens: self.tokens(),
        };
        written(&format!("auth/{mount}/role/{}", self.name), &role)
    }

    fn tokens(&self) -> Tokens {
        let own = self.reads.first().map(|_some| &self.name);
        Tokens {
            policies: own.into_iter().chain(&self.policies).map(ToString::to_string).collect(),
            ttl: format!("{}s", self.ttl.as_secs()),
            max_ttl: format!("{}s", self.max_ttl.as_secs()),
        }
    }
}

fn written(path: &str, data: &impl Serialize) -> Result<VaultWrite, NotRendered> {
    let call = Document::of(&Call { path, data })?;
    let input = serde_json::to_string_pretty(data).map_err(Unwritable::from)? + "\n";
    Ok(VaultWrite { command: format!("write {path}"), input, call })
}

/// Each peer once, as Vault compares it.
fn patterns(admitted: &[Admitted], trust_domain: &TrustDomain) -> Vec<String> {
    let peers = admitted.iter().flat_map(|one| &one.peers);
    let mut patterns: Vec<String> = peers.filter_map(|peer| pattern(peer, trust_domain)).collect();
    patterns.sort();
    patterns.dedup();
    patterns
}

fn pattern(peer: &Peer, trust_domain: &TrustDomain) -> Option<String> {
    match peer {
        Peer::Beginning(path) => Some(format!("spiffe://{trust_domain}{path}*")),
        Peer::Exact(id) => Some(id.as_str().to_owned()),
        Peer::DnsBelow(_) | Peer::Shape(_) => None,
    }
}

impl VaultWrite {
    /// As a call of the API.
    pub const fn call(&self) -> &Document {
        &self.call
    }

    /// All of them as lines for a shell. No line of the input is the word that ends it: names and JSON have none such.
    pub fn script(writes: &[Self], admitted: &[Admitted]) -> String {
        let rules = admitted.iter().map(|one| format!("# for rule {:?}\n", one.rule));
        let writes =
            writes.iter().map(|Self { command, input, .. }| format!("vault {command} - <<'END'\n{input}END\n"));
        rules.chain(writes).collect()
    }
}

fn is_word(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let all = text.bytes().all(|byte| inner(byte) || matches!(byte, b'-' | b'_' | b'.'));
    let ends = [text.bytes().next(), text.bytes().next_back()];
    all && ends.into_iter().all(|end| end.is_some_and(inner)) && text.len() <= NAME_BYTES_MAX
}

impl FromStr for VaultName {
    type Err = NotOfVault;

    fn from_str(text: &str) -> Result<Self, NotOfVault> {
        match text {
            "root" | "default" => Err(NotOfVault::Reserved),
            text if is_word(text) => Ok(Self(text.to_owned())),
            _ => Err(NotOfVault::Name),
        }
    }
}

impl FromStr for SecretPath {
    type Err = NotOfVault;

    fn from_str(text: &str) -> Result<Self, NotOfVault> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let is_segment = |segment: &str| {
            !matches!(segment, "" | "." | "..") && segment.bytes().all(legal) && segment.len() <= NAME_BYTES_MAX
        };
        let whole = text.strip_suffix("/*").unwrap_or(text);
        // A mount alone would be everything in it.
        let good = whole.contains('/') && whole.split('/').all(is_segment);
        if good { Ok(Self(text.to_owned())) } else { Err(NotOfVault::Path) }
    }
}

impl fmt::Display for VaultName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SecretPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_are_those_that_mean_no_more_than_they_say() {
        for good in ["deploy", "payments-production", "a.b_c", "7"] {
            assert!(good.parse::<VaultName>().is_ok(), "{good}");
        }
        for (wrong, why) in [
            ("", NotOfVault::Name),
            ("Deploy", NotOfVault::Name),
            ("a/b", NotOfVault::Name),
            ("-a", NotOfVault::Name),
            ("a\nEND", NotOfVault::Name),
            ("a*", NotOfVault::Name),
            ("root", NotOfVault::Reserved),
            ("default", NotOfVault::Reserved),
        ] {
            assert_eq!(wrong.parse::<VaultName>(), Err(why), "{wrong}");
        }
        for good in ["secret/data/deploy", "secret/data/Payments/*", "kv-2/data/a.b_c"] {
            assert_eq!(good.parse::<SecretPath>().unwrap().to_string(), good);
        }
        for wrong in [
            "",
            "*",
            "secret",
            "secret/*x",
            "secret/+/x",
            "/secret/x",
            "secret//x",
            "a/../b",
            "a/\"b",
            "a/{{b}}",
            "a/b*",
        ] {
            assert_eq!(wrong.parse::<SecretPath>(), Err(NotOfVault::Path), "{wrong}");
        }
    }
}

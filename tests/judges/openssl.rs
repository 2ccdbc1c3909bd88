//! The `openssl` command as a judge: `x509` and `asn1parse` for facts, `verify` as strict as it can be.

use super::judge::{Hearing, Judge, Verdict};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) struct OpenSsl;

impl Judge for OpenSsl {
    fn name(&self) -> &'static str {
        "openssl"
    }

    fn facts(&self, leaves: &[PathBuf]) -> Vec<Value> {
        leaves.iter().map(|leaf| facts(leaf)).collect()
    }

    fn knows(&self) -> &'static [&'static str] {
        &["key", "not_before", "not_after", "ca", "key_usage", "purposes", "critical", "subject", "names", "build"]
    }

    fn verify(&self, hearings: &[Hearing]) -> Vec<Verdict> {
        hearings
            .iter()
            .map(|hearing| Verdict { server: verify(hearing, "sslserver"), client: verify(hearing, "sslclient") })
            .collect()
    }
}

/// What `openssl` wrote, or what it complained of.
fn openssl(words: &[&str]) -> Result<String, String> {
    let ran = Command::new("openssl").args(words).output().expect("`tests/run` installs openssl");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    if ran.status.success() { Ok(text(&ran.stdout)) } else { Err(text(&ran.stderr) + &text(&ran.stdout)) }
}

fn verify(hearing: &Hearing, purpose: &str) -> String {
    let (chain, roots, at) = (hearing.chain.to_str().unwrap(), hearing.roots.to_str().unwrap(), hearing.at.to_string());
    // Nothing of the machine's own, no partial chains; the leaf is the first certificate of the file.
    let words = ["verify", "-no-CAfile", "-no-CApath", "-no-CAstore", "-x509_strict", "-purpose", purpose];
    let files = ["-attime", &at, "-CAfile", roots, "-untrusted", chain, chain];
    openssl(&[&words[..], &files].concat()).err().unwrap_or_default()
}

fn facts(leaf: &Path) -> Value {
    let file = leaf.to_str().unwrap();
    let words = ["x509", "-in", file, "-noout", "-text", "-nameopt", "RFC2253"];
    let dates = ["-startdate", "-enddate", "-dateopt", "iso_8601"];
    let text = openssl(&[&words[..], &dates].concat()).unwrap();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let after = |start: &str| lines.iter().find_map(|line| line.strip_prefix(start)).map(str::trim);
    let date = |start: &str| {
        let written = after(start).unwrap().replacen(' ', "T", 1);
        time::OffsetDateTime::parse(&written, &time::format_description::well_known::Rfc3339).unwrap().unix_timestamp()
    };
    let value = |title: &str| {
        let at = lines.iter().position(|line| line.starts_with(title))?;
        Some((lines[at].ends_with("critical"), lines[at + 1]))
    };
    let mut critical = Vec::new();
    for (title, oid) in [
        ("X509v3 Key Usage", "2.5.29.15"),
        ("X509v3 Subject Alternative Name", "2.5.29.17"),
        ("X509v3 Basic Constraints", "2.5.29.19"),
    ] {
        critical.extend(value(title).filter(|(critical, _)| *critical).map(|_| oid));
    }
    assert_eq!(critical.len(), text.matches(": critical").count(), "one that is not looked at: {text}");
    let listed = |title: &str| value(title).unwrap_or_default().1.split(", ").map(in_short).collect::<Vec<_>>();
    // RFC 2253 writes the last part first.
    let mut subject: Vec<&str> =
        after("Subject:").unwrap_or_default().split(',').filter(|part| !part.is_empty()).collect();
    subject.reverse();
    json!({
        "key": key(&lines),
        "not_before": date("notBefore="),
        "not_after": date("notAfter="),
        "ca": value("X509v3 Basic Constraints").is_some_and(|(_, said)| said != "CA:FALSE"),
        "key_usage": listed("X509v3 Key Usage"),
        "purposes": listed("X509v3 Extended Key Usage"),
        "critical": critical,
        "subject": subject,
        "names": value("X509v3 Subject Alternative Name").unwrap().1.split(", ").collect::<Vec<_>>(),
        "build": build_claims(leaf),
    })
}

fn in_short(words: &str) -> String {
    match words {
        "Digital Signature" => "digitalSignature",
        "TLS Web Server Authentication" => "serverAuth",
        "TLS Web Client Authentication" => "clientAuth",
        other => other,
    }
    .to_owned()
}

fn key(lines: &[&str]) -> String {
    let says = |text: &str| lines.contains(&text);
    match lines {
        _ if says("NIST CURVE: P-256") => "EC P-256",
        _ if says("NIST CURVE: P-384") => "EC P-384",
        _ if says("Public Key Algorithm: ED25519") => "Ed25519",
        _ if says("Public-Key: (2048 bit)") => "RSA 2048",
        _ => panic!("a key of another kind: {lines:?}"),
    }
    .to_owned()
}

/// Fulcio's extensions, from the lines of `asn1parse`: an object, then its octets in hex.
fn build_claims(leaf: &Path) -> Value {
    let der = leaf.with_extension("der");
    fs::write(&der, CertificateDer::from_pem_file(leaf).unwrap()).unwrap();
    let text = openssl(&["asn1parse", "-inform", "DER", "-in", der.to_str().unwrap()]).unwrap();
    let mut claims = Map::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some((_, number)) = line.split_once(":1.3.6.1.4.1.57264.1.") else { continue };
        let (head, hex) = lines.next().unwrap().split_once("[HEX DUMP]:").unwrap();
        assert!(head.contains("OCTET STRING"), "{number} is critical, or no extension: {head}");
        claims.insert(number.to_owned(), utf8_string(hex).into());
    }
    claims.into()
}

fn utf8_string(hex: &str) -> String {
    let digits: Vec<u32> = hex.chars().map(|digit| digit.to_digit(16).unwrap()).collect();
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect();
    let text = match bytes.as_slice() {
        [0x0c, length @ 0..=0x7f, text @ ..] if text.len() == usize::from(*length) => text,
        [0x0c, 0x81, length @ 0x80..=0xff, text @ ..] if text.len() == usize::from(*length) => text,
        [0x0c, 0x82, high @ 1..=0xff, low, text @ ..] if text.len() == usize::from(*high) * 256 + usize::from(*low) => {
            text
        }
        other => panic!("no UTF8String in DER: {other:x?}"),
    };
    String::from_utf8(text.to_vec()).unwrap()
}

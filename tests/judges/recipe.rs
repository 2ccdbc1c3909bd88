//! The certificates of the standard's vectors, made as they are described: a baseline and one change.

use crate::support::harness::start;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use serde_json::{Map, Value};
use std::cell::Cell;
use std::time::Duration;
use time::OffsetDateTime;

type Der = CertificateDer<'static>;

const HOUR: Duration = Duration::from_secs(3600);

/// A certificate with what it takes to sign others.
pub(crate) struct Made {
    params: CertificateParams,
    key: KeyPair,
    pub(crate) der: Der,
}

thread_local! {
    static SERIAL: Cell<u8> = const { Cell::new(1) };
}

impl Made {
    /// A day around the start of all tests, and a subject.
    pub(crate) fn params(common_name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Lanyard");
        params.distinguished_name.push(DnType::CommonName, common_name);
        (params.not_before, params.not_after) = (start() - HOUR, start() + HOUR * 24);
        SERIAL.set(SERIAL.get().wrapping_add(1).max(1));
        params.serial_number = Some(SerialNumber::from_slice(&[0x40, SERIAL.get()]));
        params.use_authority_key_identifier_extension = true;
        params
    }

    fn authority(params: &CertificateParams, path_length: u8, id: &str) -> CertificateParams {
        let mut params = params.clone();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
        params.custom_extensions.push(names(&[id], &[], false));
        params.custom_extensions.push(key_usage(&["keyCertSign", "cRLSign"], true));
        params
    }

    pub(crate) fn root(params: &CertificateParams, trust_domain: &str) -> Self {
        Self::sign_itself(Self::authority(params, 1, &format!("spiffe://{trust_domain}")))
    }

    fn sign_itself(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { params, key, der }
    }

    fn sign(&self, params: CertificateParams) -> Self {
        self.sign_for(params, KeyPair::generate().unwrap())
    }

    fn sign_for(&self, params: CertificateParams, key: KeyPair) -> Self {
        let der = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).unwrap().der().clone();
        Self { params, key, der }
    }
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let head = if content.len() < 0x80 { vec![tag, low] } else { vec![tag, 0x82, high, low] };
    // Not the shortest form between 128 and 255 bytes, which nothing here has.
    assert!(!(0x80..0x100).contains(&content.len()));
    [head, content.to_vec()].concat()
}

fn extension(oid: &[u64], content: Vec<u8>, critical: bool) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content);
    extension.set_criticality(critical);
    extension
}

fn names(uris: &[&str], dns: &[&str], critical: bool) -> CustomExtension {
    let uris = uris.iter().map(|uri| der(0x86, uri.as_bytes()));
    let all: Vec<u8> = uris.chain(dns.iter().map(|name| der(0x82, name.as_bytes()))).flatten().collect();
    extension(&[2, 5, 29, 17], der(0x30, &all), critical)
}

fn key_usage(words: &[&str], critical: bool) -> CustomExtension {
    let bit = |word: &&str| match *word {
        "digitalSignature" => 0x80,
        "keyEncipherment" => 0x20,
        "keyCertSign" => 0x04,
        "cRLSign" => 0x02,
        other => panic!("a key usage that no vector has: {other}"),
    };
    let bits: u8 = words.iter().map(bit).sum();
    let unused = u8::try_from(bits.trailing_zeros()).unwrap();
    extension(&[2, 5, 29, 15], vec![3, 2, unused, bits], critical)
}

/// The baseline with one vector's change; a change that is not understood here is no verdict.
pub(crate) struct Recipe<'v> {
    change: &'v Map<String, Value>,
    read: Vec<&'static str>,
}

impl<'v> Recipe<'v> {
    pub(crate) fn of(vector: &'v Value) -> Self {
        Self { change: vector["change"].as_object().unwrap(), read: Vec::new() }
    }

    fn word(&mut self, name: &'static str) -> Option<&Value> {
        self.read.push(name);
        self.change.get(name)
    }

    fn text(&mut self, name: &'static str) -> String {
        self.word(name).map(|value| value.as_str().unwrap().to_owned()).unwrap_or_default()
    }

    fn list(&mut self, name: &'static str, baseline: &[&str]) -> Vec<String> {
        match self.word(name) {
            None => baseline.iter().map(|word| (*word).to_owned()).collect(),
            Some(Value::Array(words)) => words.iter().map(|word| word.as_str().unwrap().to_owned()).collect(),
            Some(other) => panic!("no list: {other}"),
        }
    }

    /// The chain, leaf first, and the root.
    pub(crate) fn chain(mut self) -> (Vec<Der>, Der) {
        let issuer = self.text("issuer");
        let role = self.text("role");
        let (path, ends) = self.issuers(&issuer, &role);
        let signer = path.first().unwrap();
        let mut chain: Vec<Der> = Vec::new();
        if role != "ca" || self.change.contains_key("uri_sans") {
            chain.push(self.leaf(signer, &role, ends));
        }
        let unread: Vec<_> = self.change.keys().filter(|key| !self.read.contains(&key.as_str())).collect();
        assert!(unread.is_empty(), "not understood: {unread:?}");
        let (root, intermediates) = path.split_last().unwrap();
        chain.extend(intermediates.iter().map(|made| made.der.clone()));
        (chain, root.der.clone())
    }

    /// Who signs, from the leaf's issuer to the root, and until when the issuer lives.
    fn issuers(&mut self, issuer: &str, role: &str) -> (Vec<Made>, OffsetDateTime) {
        let id = "spiffe://example.org";
        let ends = start() + HOUR * 12;
        let mut params = Made::params("intermediate");
        params.not_after = ends;
        let mut plain = Made::authority(&params, 0, id);
        let mut root = Made::root(&Made::params("root"), "example.org");
        match issuer {
            "" | "a leaf" => {}
            "other.example CA" => {
                let foreign = Made::root(&Made::params("other root"), "other.example");
                let below = foreign.sign(Made::authority(&params, 0, "spiffe://other.example"));
                // The bundle stays that of example.org.
                return (vec![below, root], ends);
            }
            "intermediate ca=false" => plain.is_ca = IsCa::ExplicitNoCa,
            "intermediate ku=cRLSign" => {
                plain.custom_extensions = vec![names(&[id], &[], false), key_usage(&["cRLSign"], true)];
            }
            "root pathLen=0 -> intermediate" => root = Made::sign_itself(Made::authority(&Made::params("root"), 0, id)),
            "intermediate permitted URI other.example" => {
                let subtree = der(0x30, &der(0x86, b"other.example"));
                plain.custom_extensions.push(extension(&[2, 5, 29, 30], der(0x30, &der(0xa0, &subtree)), true));
            }
            other => panic!("an issuer that no vector has: {other}"),
        }
        if role == "ca" {
            let own = self.list("uri_sans", &[id]);
            plain.custom_extensions =
                vec![names(&[own[0].as_str()], &[], false), key_usage(&["keyCertSign", "cRLSign"], true)];
        }
        let intermediate = root.sign(plain);
        if issuer == "a leaf" {
            let mut leaf = Made::params("leaf");
            leaf.is_ca = IsCa::ExplicitNoCa;
            leaf.custom_extensions =
                vec![names(&["spiffe://example.org/ci/p1"], &[], false), key_usage(&["digitalSignature"], true)];
            return (vec![intermediate.sign(leaf), intermediate, root], ends);
        }
        (vec![intermediate, root], ends)
    }

    fn leaf(&mut self, signer: &Made, role: &str, issuer_ends: OffsetDateTime) -> Der {
        let mut params = Made::params("leaf");
        if self.word("subject").is_some() {
            params.distinguished_name = DistinguishedName::new();
        }
        let uris = if role == "ca" { vec!["spiffe://example.org/ci/p42".to_owned()] } else { self.uris() };
        let (dns, critical) = (self.list("dns_sans", &[]), self.word("san_critical") == Some(&Value::Bool(true)));
        let (uris, dns): (Vec<_>, Vec<_>) =
            (uris.iter().map(String::as_str).collect(), dns.iter().map(String::as_str).collect());
        if !uris.is_empty() || !dns.is_empty() {
            params.custom_extensions.push(names(&uris, &dns, critical));
        }
        params.is_ca = match self.text("basic_constraints").as_str() {
            "" => IsCa::ExplicitNoCa,
            "absent" => IsCa::NoCa,
            "ca=true" => IsCa::Ca(BasicConstraints::Unconstrained),
            other => panic!("basic constraints that no vector has: {other}"),
        };
        let ku_critical = self.word("key_usage_critical") != Some(&Value::Bool(false));
        let usage = self.word("key_usage").cloned().unwrap_or_else(|| serde_json::json!(["digitalSignature"]));
        if let Value::Array(words) = &usage {
            let words: Vec<&str> = words.iter().map(|word| word.as_str().unwrap()).collect();
            params.custom_extensions.push(key_usage(&words, ku_critical));
        } else {
            assert_eq!(usage, "absent");
        }
        let purpose = |word: &String| match word.as_str() {
            "serverAuth" => ExtendedKeyUsagePurpose::ServerAuth,
            "clientAuth" => ExtendedKeyUsagePurpose::ClientAuth,
            other => panic!("a purpose that no vector has: {other}"),
        };
        params.extended_key_usages = self.list("eku", &["serverAuth", "clientAuth"]).iter().map(purpose).collect();
        (params.not_before, params.not_after) = match self.text("validity").as_str() {
            "" => (start() - HOUR / 60, start() + HOUR),
            "past" => (start() - HOUR / 2, start() - HOUR / 4),
            "future" => (start() + HOUR, start() + HOUR * 2),
            "notAfter > issuer notAfter" => (start() - HOUR / 60, issuer_ends + HOUR),
            other => panic!("a validity that no vector has: {other}"),
        };
        let rsa = matches!(&usage, Value::Array(words) if words.contains(&"keyEncipherment".into()));
        let key = if rsa { KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256) } else { KeyPair::generate() };
        signer.sign_for(params, key.unwrap()).der
    }

    fn uris(&mut self) -> Vec<String> {
        let mut uris = self.list("uri_sans", &["spiffe://example.org/ci/p42"]);
        for uri in &mut uris {
            // A long one is described, not written.
            if let Some((start, _described)) = uri.split_once('<') {
                *uri = format!("{start}{}", "a".repeat(2049 - start.len()));
            }
        }
        uris
    }
}

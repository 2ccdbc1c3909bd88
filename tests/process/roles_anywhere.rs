//! AWS IAM Roles Anywhere: the files that a job writes are all that its request needs, and certificate and signature are what AWS
//! documents. The request is Python's (`tests/py/roles_anywhere.py`), the judge stands here.

use crate::https::{Script, Scripted, json_answer};
use crate::place::Place;
use crate::python::python;
use crate::server::{Server, lanyard, words};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use lanyard::clock::{Clock, SystemClock};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Version};

const ALGORITHM: &str = "AWS4-X509-ECDSA-SHA256";
/// Of an attribute that becomes a session tag.
const TAG_MAX: usize = 256;

/// A trust anchor that is our root.
struct Anchor(CertificateDer<'static>);

impl Script for Anchor {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        match self.judge(&head, &body) {
            Ok(tags) => json_answer(201, &tags),
            Err(why) => json_answer(403, &json!({ "message": why })),
        }
    }
}

impl Anchor {
    /// What becomes of the certificate's names, or what AWS would not take.
    fn judge(&self, head: &Parts, body: &[u8]) -> Result<Value, &'static str> {
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let der = STANDARD.decode(header("x-amz-x509").ok_or("no X-Amz-X509")?).map_err(|_odd| "no base64")?;
        let (_, leaf) = X509Certificate::from_der(&der).map_err(|_odd| "no certificate")?;
        signed(head, body, &leaf)?;
        let chain = header("x-amz-x509-chain").ok_or("no chain to the trust anchor")?;
        self.trusts(&leaf, chain)?;
        fits_a_leaf(&leaf)
    }

    /// Leaf, then whoever signed it, and so on, without the anchor itself.
    fn trusts(&self, leaf: &X509Certificate<'_>, chain: &str) -> Result<(), &'static str> {
        let chain: Vec<Vec<u8>> = chain.split(',').map(|der| STANDARD.decode(der).unwrap()).collect();
        let mut signers: Vec<X509Certificate<'_>> =
            chain.iter().map(|der| X509Certificate::from_der(der).unwrap().1).collect();
        if signers.len() > 5 || chain.iter().any(|der| *der == self.0.as_ref()) {
            return Err("the chain is of at most five, without the anchor");
        }
        let (_, root) = X509Certificate::from_der(&self.0).unwrap();
        fits_an_anchor(&root)?;
        signers.push(root);
        let mut child = leaf;
        for signer in &signers {
            child.verify_signature(Some(signer.public_key())).map_err(|_odd| "the chain is broken")?;
            child = signer;
        }
        Ok(())
    }
}

/// The signature counts for this request and for the leaf's key.
fn signed(head: &Parts, body: &[u8], leaf: &X509Certificate<'_>) -> Result<(), &'static str> {
    let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default();
    let told = header("authorization").strip_prefix(ALGORITHM).ok_or("another algorithm")?;
    let part = |name: &str| {
        let found = told.split(", ").find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
        found.ok_or("a part of the authorization is missing")
    };
    let (serial, scope) = part("Credential")?.split_once('/').ok_or("no scope")?;
    if serial != leaf.tbs_certificate.serial.to_string() {
        return Err("the credential is another certificate's");
    }
    let names = part("SignedHeaders")?;
    if !["host", "x-amz-date", "x-amz-x509"].iter().all(|name| names.split(';').any(|signed| signed == *name)) {
        return Err("a header is not signed");
    }
    let lines = names.split(';').fold(String::new(), |mut text, name| {
        writeln!(text, "{name}:{}", header(name)).unwrap();
        text
    });
    let canonical = format!("{}\n{}\n\n{lines}\n{names}\n{}", head.method, head.uri.path(), hex(body));
    let text = format!("{ALGORITHM}\n{}\n{scope}\n{}", header("x-amz-date"), hex(canonical.as_bytes()));
    let signature = unhex(part("Signature")?).ok_or("the signature is no hex")?;
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, leaf.public_key().subject_public_key.data.as_ref());
    key.verify(text.as_bytes(), &signature).map_err(|_odd| "the signature is wrong")
}

fn fits_a_leaf(leaf: &X509Certificate<'_>) -> Result<Value, &'static str> {
    let constraints = leaf.basic_constraints().map_err(|_odd| "basicConstraints twice")?;
    let usage = leaf.key_usage().map_err(|_odd| "keyUsage twice")?;
    let names = leaf.subject_alternative_name().map_err(|_odd| "names twice")?.ok_or("no names")?;
    let uri = names
        .value
        .general_names
        .iter()
        .find_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None });
    let uri = uri.ok_or("no URI")?;
    match () {
        () if leaf.version() != X509Version::V3 => Err("no version 3"),
        () if constraints.ok_or("basicConstraints must be there")?.value.ca => Err("a leaf that is a CA"),
        () if !usage.ok_or("no keyUsage")?.value.digital_signature() => Err("no digitalSignature"),
        () if !leaf.validity().is_valid() => Err("not valid now"),
        () if uri.len() > TAG_MAX => Err("too long for a tag"),
        () => Ok(json!({ "x509SAN/URI": uri })),
    }
}

fn fits_an_anchor(root: &X509Certificate<'_>) -> Result<(), &'static str> {
    let constraints = root.basic_constraints().map_err(|_odd| "basicConstraints twice")?;
    let is_ca = constraints.is_some_and(|found| found.value.ca);
    let signs = root.key_usage().ok().flatten().is_some_and(|usage| usage.value.key_cert_sign());
    if is_ca && signs && root.version() == X509Version::V3 { Ok(()) } else { Err("the anchor is no CA") }
}

fn hex(data: &[u8]) -> String {
    digest(&SHA256, data).as_ref().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

/// A job's files, written as the page says.
fn written(place: &Place, folder: &Path) {
    let mut exec = lanyard();
    exec.env("LANYARD_SERVER", format!("https://127.0.0.1:{}", place.port)).env("TMPDIR", place.file(""));
    exec.env("LANYARD_SERVER_CA", place.data().join("door-ca.pem"));
    exec.env("LANYARD_ID_TOKEN", place.issuer.token(SystemClock.now()));
    exec.args(["exec", "--", env!("CARGO_BIN_EXE_lanyard"), "svid", "x509", "--write"]).arg(folder);
    let output = exec.output().unwrap();
    assert!(output.status.success(), "{}", words(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_s_files_are_what_roles_anywhere_takes_and_a_request_that_is_not_its_own_is_refused() {
    let place = Place::new();
    let _server = Server::start(&place);
    let folder = place.file("svid");
    tokio::task::block_in_place(|| written(&place, &folder));
    let root = CertificateDer::from_pem_file(folder.join("svid_bundle.pem")).unwrap();
    let served = Scripted::serve(Arc::new(Anchor(root))).await;
    let ca = place.file("aws-ca.pem");
    std::fs::write(&ca, &served.ca_pem).unwrap();
    let url = format!("https://127.0.0.1:{}", served.port);
    let ask = |wrong: &[&str]| -> Value {
        let [program, script] = python("roles_anywhere.py");
        let mut request = Command::new(program);
        request.arg(script).arg(&folder).arg(&url).arg(&ca).args(wrong);
        let output = tokio::task::block_in_place(|| request.output()).unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_odd| panic!("{}", words(&output)))
    };
    let id = "spiffe://ci.example.org/acme/payments/api/-/pipelines/574";
    assert_eq!(ask(&[]), json!({ "status": 201, "said": { "x509SAN/URI": id } }));
    for (wrong, why) in
        [("without-chain", "no chain to the trust anchor"), ("with-another-body", "the signature is wrong")]
    {
        assert_eq!(ask(&[wrong]), json!({ "status": 403, "said": { "message": why } }), "{wrong}");
    }
}

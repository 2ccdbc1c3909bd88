//! Scripts of ours in the Python that `tests/run` installs, for what Rust has no reader of ours for.

use crate::installed::installed;
use crate::server::words;
use lanyard::crypto::Digest;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// The interpreter, and a script of `tests/py`.
pub(crate) fn python(script: &str) -> [String; 2] {
    [installed("LANYARD_TEST_PYTHON"), format!("{}/tests/py/{script}", env!("CARGO_MANIFEST_DIR"))]
}

/// What a script of `tests/py` answers to this; its failure is the test's.
pub(crate) fn run(script: &str, input: &[u8]) -> Vec<u8> {
    let [python, path] = python(script);
    let mut child = Command::new(python)
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{script}: {}", words(&output));
    output.stdout
}

/// The digest by which clients know the only certificate of a PEM text.
pub(crate) fn digest_of_pem(pem: &[u8]) -> String {
    Digest::of(&CertificateDer::from_pem_slice(pem).unwrap()).to_string()
}

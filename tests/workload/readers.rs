//! Readers of OIDC, in three languages, none of them ours: each is told the issuer's name, and finds the rest.

use crate::support::installed::installed;
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// A program that takes an issuer, an audience, what to trust for TLS, and a token.
pub(crate) struct Reader {
    pub(crate) name: &'static str,
    program: OsString,
    words: Vec<OsString>,
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// go-oidc, which Vault is built on; Nimbus, on which Java's frameworks are; `PyJWT`.
pub(crate) fn readers() -> [Reader; 3] {
    let (python, java) = (source("tests/py/verifier.py").into(), source("tests/java/JwtVerifier.java").into());
    let java = vec!["-XX:TieredStopAtLevel=1".into(), "-cp".into(), installed("LANYARD_TEST_JAVA").into(), java];
    [
        Reader { name: "go-oidc", program: installed("LANYARD_TEST_GO_VERIFIER").into(), words: Vec::new() },
        Reader { name: "Nimbus", program: "java".into(), words: java },
        Reader { name: "PyJWT", program: installed("LANYARD_TEST_PYTHON").into(), words: vec![python] },
    ]
}

impl Reader {
    /// The claims that it believes, or why it does not.
    pub(crate) async fn read(&self, issuer: &str, audience: &str, ca: &Path, token: &str) -> Result<Value, String> {
        let mut command = Command::new(&self.program);
        command.args(&self.words).args([issuer, audience]).arg(ca).arg(token).kill_on_drop(true);
        let ran = command.output().await.unwrap();
        if ran.status.success() {
            Ok(serde_json::from_slice(&ran.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&ran.stderr).into_owned())
        }
    }
}

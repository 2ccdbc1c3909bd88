//! A job's own software, in three languages: each connects anew when it is told, with the SVID that it was served last.

use crate::consumer::source;
use crate::installed::installed;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Connects to a service: with which SVID it was let in, by serial number, or why not.
pub(crate) trait Visitor: Send {
    fn name(&self) -> &'static str;
    fn visit(&mut self, address: &str) -> Result<String, String>;
}

/// `openssl s_client` with an agent's files.
pub(crate) struct OpenSsl {
    pub(crate) files: PathBuf,
}

impl OpenSsl {
    /// Files that are one state, as long as whoever reads them is quick.
    fn state(&self) -> Result<PathBuf, String> {
        let current = self.files.join("..data");
        let current = if current.exists() { current } else { self.files.clone() };
        fs::canonicalize(current).map_err(|error| error.to_string())
    }
}

impl Visitor for OpenSsl {
    fn name(&self) -> &'static str {
        "openssl"
    }

    fn visit(&mut self, address: &str) -> Result<String, String> {
        let state = self.state()?;
        let serial = serial(&state.join("svid.pem"))?;
        let mut client = Command::new("openssl")
            .args(["s_client", "-quiet", "-verify_return_error", "-CAfile", "svid_bundle.pem", "-connect", address])
            .args(["-cert", "svid.pem", "-cert_chain", "svid.pem", "-key", "svid_key.pem"])
            .current_dir(state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Who is refused early reads no question.
        let _unread = client.stdin.take().unwrap().write_all(b"GET / HTTP/1.0\r\n\r\n");
        let said = client.wait_with_output().unwrap();
        let answer = String::from_utf8_lossy(&said.stdout);
        // In the version that was asked for, or the server's own.
        if ["HTTP/1.0 200", "HTTP/1.1 200"].iter().any(|good| answer.starts_with(good)) {
            return Ok(serial);
        }
        Err(format!("{answer}{}", String::from_utf8_lossy(&said.stderr)))
    }
}

/// The serial number of a chain's leaf, in hex.
pub(crate) fn serial(chain: &Path) -> Result<String, String> {
    let leaf = CertificateDer::from_pem_file(chain).map_err(|error| error.to_string())?;
    let (_rest, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    Ok(format!("{:x}", leaf.serial))
}

/// How long a chain's leaf still lives; no time where there is none.
pub(crate) fn life_left(chain: &Path) -> Duration {
    let Ok(leaf) = CertificateDer::from_pem_file(chain) else { return Duration::ZERO };
    let (_rest, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    leaf.validity().time_to_expiration().map_or(Duration::ZERO, time::Duration::unsigned_abs)
}

/// A program that is told addresses, and asks the job's socket for its SVIDs.
pub(crate) struct Program {
    name: &'static str,
    child: Child,
    tell: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Program {
    pub(crate) fn go_spiffe(socket: &Path) -> Self {
        Self::asking("go-spiffe", Command::new(installed("LANYARD_TEST_GO_VISITOR")), socket)
    }

    pub(crate) fn py_spiffe(socket: &Path) -> Self {
        let mut python = Command::new(installed("LANYARD_TEST_PYTHON"));
        python.arg(source("tests/py/visitor.py"));
        Self::asking("py-spiffe", python, socket)
    }

    fn asking(name: &'static str, mut command: Command, socket: &Path) -> Self {
        command.arg("ci.example.org");
        command.env("SPIFFE_ENDPOINT_SOCKET", format!("unix://{}", socket.display()));
        Self::start(name, command)
    }

    /// Whatever else is told lines, and answers each by one.
    pub(crate) fn start(name: &'static str, mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (tell, said) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { name, child, tell, said: BufReader::new(said).lines() }
    }
}

impl Visitor for Program {
    fn name(&self) -> &'static str {
        self.name
    }

    fn visit(&mut self, address: &str) -> Result<String, String> {
        writeln!(self.tell, "{address}").unwrap();
        let said = self.said.next().unwrap_or_else(|| panic!("{} is gone", self.name)).unwrap();
        match said.split_once(' ') {
            Some(("ok", serial)) => Ok(serial.to_owned()),
            _ => Err(said),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _dead = self.child.kill().and_then(|()| self.child.wait());
    }
}

//! The judges: each reads leaves into the same words and verifies chains, or says why not.

use super::openssl::OpenSsl;
use crate::support::by_webpki;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A chain that is judged at a time, with the roots that count.
pub(crate) struct Hearing {
    pub(crate) name: String,
    pub(crate) chain: PathBuf,
    pub(crate) roots: PathBuf,
    pub(crate) at: i64,
}

/// Why a chain is refused, as either side of a connection; empty for a yes.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) server: String,
    pub(crate) client: String,
}

impl Verdict {
    /// Whether both sides take it. None is half right here.
    pub(crate) fn holds(&self) -> bool {
        assert_eq!(self.server.is_empty(), self.client.is_empty(), "one side only: {self:?}");
        self.server.is_empty()
    }
}

pub(crate) trait Judge {
    fn name(&self) -> &'static str;
    /// What leaves say: some or all of the words of `leaves::Leaf::wanted`.
    fn facts(&self, leaves: &[PathBuf]) -> Vec<Value>;
    /// The words of which it always knows something.
    fn knows(&self) -> &'static [&'static str];
    fn verify(&self, hearings: &[Hearing]) -> Vec<Verdict>;
}

/// What Go says of a chain by these revocation lists; nothing if it holds.
pub(crate) fn go_by_lists(hearing: &Hearing, lists: &Path) -> String {
    let (chain, roots) = (hearing.chain.display(), hearing.roots.display());
    let said = go().ask(&[format!("crl\t{chain}\t{roots}\t{}\t{}", hearing.at, lists.display())]);
    said[0]["said"].as_str().unwrap().to_owned()
}

/// What rustls-webpki says of a chain by these revocation lists, of every certificate of it; nothing if it holds.
pub(crate) fn webpki_by_lists(hearing: &Hearing, lists: &Path) -> String {
    let (chain, roots) = (certificates(&hearing.chain), certificates(&hearing.roots));
    by_webpki::with_lists((&chain, &roots), hearing.at, lists)
}

pub(crate) fn all() -> Vec<Box<dyn Judge>> {
    let java = OsString::from("java");
    let judge = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judges/Judge.java");
    vec![
        Box::new(OpenSsl),
        Box::new(go()),
        Box::new(Webpki),
        Box::new(Program { name: "java", command: vec![java, judge.into()] }),
    ]
}

/// Go, which also judges what is no certificate.
pub(crate) fn go() -> Program {
    let go = option("LANYARD_TEST_GO_JUDGE").expect("`tests/run` builds Go's judge and names it");
    Program { name: "go", command: vec![go] }
}

#[expect(clippy::disallowed_methods, reason = "where the programs are is the test run's own word, no setting")]
fn option(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

const EVERYTHING: [&str; 11] =
    ["spki", "key", "not_before", "not_after", "ca", "key_usage", "purposes", "critical", "subject", "names", "build"];

/// A program that speaks the protocol of `tests/go/judge`.
pub(crate) struct Program {
    name: &'static str,
    command: Vec<OsString>,
}

impl Program {
    pub(crate) fn ask(&self, requests: &[String]) -> Vec<Value> {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{} is not there: {error}", self.name));
        let (mut stdin, text) = (child.stdin.take().unwrap(), requests.join("\n") + "\n");
        let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
        let ran = child.wait_with_output().unwrap();
        let complaint = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success(), "{}: {complaint}", self.name);
        writer.join().unwrap().unwrap();
        let said = String::from_utf8(ran.stdout).unwrap();
        let answers: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(answers.len(), requests.len(), "{}: {complaint}", self.name);
        for (answer, request) in answers.iter().zip(requests) {
            assert_eq!(answer.get("error"), None, "{}: {request}", self.name);
        }
        answers
    }
}

impl Judge for Program {
    fn name(&self) -> &'static str {
        self.name
    }

    fn facts(&self, leaves: &[PathBuf]) -> Vec<Value> {
        self.ask(&leaves.iter().map(|leaf| format!("facts\t{}", leaf.display())).collect::<Vec<_>>())
    }

    fn knows(&self) -> &'static [&'static str] {
        &EVERYTHING
    }

    fn verify(&self, hearings: &[Hearing]) -> Vec<Verdict> {
        let ask = |of: &Hearing| format!("verify\t{}\t{}\t{}", of.chain.display(), of.roots.display(), of.at);
        let text = |answer: &Value, side: &str| answer[side].as_str().unwrap().to_owned();
        let answers = self.ask(&hearings.iter().map(ask).collect::<Vec<_>>());
        answers.iter().map(|said| Verdict { server: text(said, "server"), client: text(said, "client") }).collect()
    }
}

/// What rustls and with it Linkerd, ztunnel and tonic trust. It reads little, and verifies.
struct Webpki;

impl Judge for Webpki {
    fn name(&self) -> &'static str {
        "webpki"
    }

    fn facts(&self, leaves: &[PathBuf]) -> Vec<Value> {
        let read = |leaf: &PathBuf| {
            let der = CertificateDer::from_pem_file(leaf).unwrap();
            let leaf = webpki::EndEntityCert::try_from(&der).unwrap();
            json!({"uris": leaf.valid_uri_names().collect::<Vec<_>>(), "dns": leaf.valid_dns_names().collect::<Vec<_>>()})
        };
        leaves.iter().map(read).collect()
    }

    fn knows(&self) -> &'static [&'static str] {
        &["uris", "dns"]
    }

    fn verify(&self, hearings: &[Hearing]) -> Vec<Verdict> {
        hearings.iter().map(hear).collect()
    }
}

fn hear(hearing: &Hearing) -> Verdict {
    let (chain, roots) = (certificates(&hearing.chain), certificates(&hearing.roots));
    let side = |usage: webpki::KeyUsage| match by_webpki::verify((&chain, &roots), hearing.at, usage, None) {
        Ok(()) => String::new(),
        Err(error) => format!("{error:?}"),
    };
    Verdict { server: side(webpki::KeyUsage::server_auth()), client: side(webpki::KeyUsage::client_auth()) }
}

fn certificates(file: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(file).unwrap().map(Result::unwrap).collect()
}

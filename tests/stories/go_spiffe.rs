//! Bundle endpoints before go-spiffe: its client reads ours, and ours reads what its handler serves, by either profile.
#![expect(clippy::indexing_slicing, reason = "an answer that lacks a member ends the test")]

use super::doors::Doors;
use super::endpoints::document;
use super::federating::{ENDPOINT_ID, PARTNER, listed, partner, path_of};
use super::operators::lanyard;
use crate::support::beside::within;
use crate::support::foreign::ForeignCa;
use crate::support::installed::installed;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const SERVER_ID: &str = "spiffe://go.test/bundle-endpoint";

/// Go's judge, which asks endpoints and serves one.
struct GoSpiffe {
    tell: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl GoSpiffe {
    fn start() -> Self {
        let mut command = Command::new(installed("LANYARD_TEST_GO_JUDGE"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let (tell, said) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { tell, said: BufReader::new(said).lines(), _child: child }
    }

    async fn ask(&mut self, words: &[&str]) -> Value {
        self.tell.write_all(format!("{}\n", words.join("\t")).as_bytes()).await.unwrap();
        let line = within(self.said.next_line()).await.unwrap().unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(said.get("error"), None, "{words:?}");
        said
    }

    /// Where this document is served behind this certificate.
    async fn serve(&mut self, document: &Path, certificate: &[PathBuf; 2]) -> String {
        let [chain, key] = certificate.each_ref().map(|file| path_of(file));
        let said = self.ask(&["serve", "go.test", path_of(document), chain, key]).await;
        format!("https://localhost:{}/", said["port"])
    }
}

/// A certificate and its key as files.
fn laid(folder: &Path, name: &str, (chain, key): (String, String)) -> [PathBuf; 2] {
    [("pem", chain), ("key", key)].map(|(kind, text)| {
        let file = folder.join(format!("{name}.{kind}"));
        fs::write(&file, text).unwrap();
        file
    })
}

/// Shows: FED-8, FED-11, FED-12.
#[tokio::test(flavor = "multi_thread")]
async fn go_spiffe_s_client_reads_our_bundle_by_either_profile_and_from_nobody_else() {
    let (partner, folder) = (partner().await, TempDir::new().unwrap());
    partner.tell(folder.path()).await;
    let files = ["partner-ca.pem", "partner.json", "other-ca.pem"].map(|name| folder.path().join(name));
    fs::write(&files[2], ForeignCa::new("another").pem()).unwrap();
    let [ca, first, other] = files.each_ref().map(|file| path_of(file));
    let (web, spiffe, mut go) = (&*partner.web_url(), &*partner.spiffe_url(), GoSpiffe::start());
    let by_web = go.ask(&["fetch", PARTNER, web, ca]).await;
    let sequence = by_web["sequence"].clone();
    assert_eq!(by_web, json!({ "refused": "", "x509": 1, "jwt": 1, "sequence": sequence, "hint": 300 }));
    assert_eq!(go.ask(&["fetch", PARTNER, spiffe, ENDPOINT_ID, first]).await, by_web);
    let near = format!("{ENDPOINT_ID}/else");
    let refused: [&[&str]; 4] = [&[web, other], &[spiffe, ca], &[spiffe, &near, first], &[web, ENDPOINT_ID, first]];
    for words in refused {
        let said = go.ask(&[&["fetch", PARTNER], words].concat()).await;
        assert_ne!(said["refused"], "", "{words:?}");
    }
    partner.close().await;
}

/// Shows: FED-8, FED-15, FED-17.
#[tokio::test(flavor = "multi_thread")]
async fn our_client_reads_what_go_spiffe_serves_by_either_profile_and_hears_of_a_change() {
    let (doors, mut go) = (Doors::open().await, GoSpiffe::start());
    let (folder, root) = (doors.folder.path().to_owned(), ForeignCa::new("go root"));
    let file = folder.join("go.json");
    let shows = |sequence, roots: &[&ForeignCa]| fs::write(&file, document(sequence, roots).to_string()).unwrap();
    shows(1, &[&root]);
    let public = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let public = laid(&folder, "public", (public.cert.pem(), public.signing_key.serialize_pem()));
    let web = go.serve(&file, &public).await;
    let spiffe = go.serve(&file, &laid(&folder, "svid", root.leaf(SERVER_ID))).await;
    let set = async |rest: &[&str]| {
        let (code, said, refused) = lanyard(&doors, &[&["bundle", "set", "go.test"], rest].concat()).await;
        assert_eq!(code, 0, "{said}{refused}");
    };
    let holds = async |sequence: u64, roots: u64| {
        listed(&doors, "go.test", |row| {
            row["confirmed_at"].is_string() && row["sequence"] == sequence && row["x509_authorities"] == roots
        })
        .await
    };
    set(&["--url", &web, "--profile", "https_web", "--ca-file", path_of(&public[0])]).await;
    assert_eq!(holds(1, 1).await["problem"], Value::Null);
    shows(2, &[&root, &ForeignCa::new("next go root")]);
    set(&["--url", &spiffe, "--profile", "https_spiffe", "--endpoint-spiffe-id", SERVER_ID]).await;
    assert_eq!(holds(2, 2).await["problem"], Value::Null);
    doors.close().await;
}

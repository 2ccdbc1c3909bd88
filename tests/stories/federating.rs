//! Two servers that federate, by the commands of the manual's page and over both profiles.

use super::doors::Doors;
use super::operators::lanyard;
use crate::support::harness::{Harness, POLICY};
use lanyard::bundle::Bundle;
use lanyard::clock::{Clock as _, SystemClock};
use lanyard::config::DoorFiles;
use lanyard::identity::{SpiffeId, TrustDomain};
use lanyard::svid::validate_x509_svid;
use lanyard::tls::{ServerTrust, SpiffePeer, TlsClient};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::process::Command;

pub(super) const PARTNER: &str = "ci.partner.example";
pub(super) const ENDPOINT_ID: &str = "spiffe://ci.partner.example/-/lanyard/bundle-endpoint";

/// Another server, of another trust domain.
pub(super) async fn partner() -> Doors {
    Doors::set_up("", POLICY, |settings| {
        settings.trust_domain = TrustDomain::parse(PARTNER).unwrap();
        settings.doors.bundle_spiffe = vec!["127.0.0.1:0".parse().unwrap()];
    })
    .await
}

impl Doors {
    pub(super) fn web_url(&self) -> String {
        format!("https://localhost:{}/", self.bundle.port())
    }

    pub(super) fn spiffe_url(&self) -> String {
        format!("https://localhost:{}/", self.spiffe.unwrap().port())
    }

    async fn own_bundle(&self) -> Vec<u8> {
        self.curl().fetch("/v1/bundle").await.unwrap().1.to_vec()
    }

    /// Its CA and its bundle, laid down for the other's operator.
    pub(super) async fn tell(&self, folder: &Path) {
        fs::copy(self.folder.path().join("data/door-ca.pem"), folder.join("partner-ca.pem")).unwrap();
        fs::write(folder.join("partner.json"), self.own_bundle().await).unwrap();
    }
}

/// What is listed of a trust domain, once it is so.
pub(super) async fn listed(doors: &Doors, trust_domain: &str, so: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let seen = async {
        loop {
            let (_, all, _) = lanyard(doors, &["bundle", "list", "--json"]).await;
            let rows = all.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            last = rows.into_iter().find(|row| row["trust_domain"] == trust_domain).unwrap_or_default();
            if so(&last) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let is_so = tokio::time::timeout(Duration::from_secs(20), seen).await.is_ok();
    assert!(is_so, "{last}");
    last
}

pub(super) fn path_of(file: &Path) -> &str {
    file.to_str().unwrap()
}

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/federation.md"));

/// Shows: FED-8, FED-15, FED-16, FED-17, FED-23.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_s_commands_federate_two_servers_over_both_profiles_and_end_it() {
    let (doors, partner) = (Doors::open().await, partner().await);
    partner.tell(doors.folder.path()).await;
    let program = Path::new(env!("CARGO_BIN_EXE_lanyard")).parent().unwrap().display().to_string();
    let run = async |command: &str| {
        let here = command.replace("https://ci.partner.example:8444/", &partner.web_url());
        let here = here.replace("https://ci.partner.example:8445/", &partner.spiffe_url());
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("PATH={program}:$PATH; {here}")]).current_dir(doors.folder.path());
        let output = shell.env("LANYARD_ADMIN_SOCKET", doors.folder.path().join("admin.sock")).output().await.unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let commands: Vec<_> = PAGE.lines().filter(|line| line.starts_with("lanyard bundle ")).collect();
    let [web, list, show, spiffe, delete] = <[&str; 5]>::try_from(commands).unwrap();
    assert!(run(web).await.contains("from now on: 1 CA certificate, the last of which ends"));
    let rows = run(list).await;
    assert!(rows.contains("https_web https://localhost:") && rows.contains("1 X.509, 1 JWT"), "{rows}");
    let theirs = |json: &[u8]| Bundle::parse(TrustDomain::parse(PARTNER).unwrap(), json).unwrap();
    assert_eq!(theirs(run(show).await.as_bytes()), theirs(&partner.own_bundle().await));
    assert!(run(spiffe).await.contains("https_spiffe https://localhost:"));
    let row = listed(&doors, PARTNER, |row| row["confirmed_at"].is_string()).await;
    assert_eq!(
        (&row["problem"], &row["failures"], &row["refresh_hint"]),
        (&Value::Null, &json!(0), &json!(300)),
        "{row}"
    );
    run(delete).await;
    assert_eq!(run(list).await, "");
    let data = doors.folder.path().join("data");
    let journal = lanyard(&doors, &["audit", "show", "--changes", "--data-dir", path_of(&data)]).await.1;
    let kinds = ["federation_set", "bundle_changed"].map(|kind| journal.matches(kind).count());
    assert_eq!(kinds, [2, 2], "{journal}");
    assert!(journal.contains("(our partner), by user id"), "{journal}");
    doors.close().await;
    partner.close().await;
}

/// Shows: FED-10, FED-15, FED-20, FED-21.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_believed_by_its_exact_id_and_its_own_profile_and_by_nothing_that_is_near() {
    let (doors, partner) = (Doors::open().await, partner().await);
    let folder = doors.folder.path().to_owned();
    partner.tell(&folder).await;
    let [ca, first] = ["partner-ca.pem", "partner.json"].map(|name| path_of(&folder.join(name)).to_owned());
    let (web, spiffe) = (partner.web_url(), partner.spiffe_url());
    let set = async |trust_domain: &str, rest: &[&str]| {
        let arguments = [&["bundle", "set", trust_domain], rest].concat();
        let (code, said, refused) = lanyard(&doors, &arguments).await;
        (code, said + &refused)
    };
    let by_svid = ["--profile", "https_spiffe", "--endpoint-spiffe-id"];
    let with_first = ["--spiffe", &first];
    for (url, id, says) in [
        (
            &spiffe,
            "spiffe://ci.partner.example/-/lanyard/else",
            "it shows an SVID of spiffe://ci.partner.example/-/lanyard/bundle",
        ),
        (&web, ENDPOINT_ID, "does not hold as an X509-SVID"),
    ] {
        let arguments = [&["--url", url][..], &by_svid, &[id], &with_first].concat();
        let (code, said) = set(PARTNER, &arguments).await;
        assert!(code == 0 && said.contains(says), "{says}: {said}");
    }
    let (_, said) = set(PARTNER, &["--url", &spiffe, "--profile", "https_web", "--ca-file", &ca]).await;
    assert!(said.contains("signed by none that is believed here"), "{said}");

    // In a third trust domain's name: known by the bundle of whoever's ID it shows.
    let third = [&["--url", &spiffe][..], &by_svid, &[ENDPOINT_ID]].concat();
    assert_eq!(lanyard(&doors, &["bundle", "delete", PARTNER]).await.0, 0);
    let (code, said) = set("third.test", &third).await;
    assert!(code == 0 && said.contains("is known by the bundle of ci.partner.example, and none is held"), "{said}");
    assert_eq!(set(PARTNER, &with_first).await.0, 0);
    assert_eq!(set("third.test", &third).await.0, 0);
    // It is the partner's bundle all the same, and its root says so.
    let of_another =
        |row: &Value| row["problem"].as_str().is_some_and(|why| why.contains("of spiffe://ci.partner.example"));
    listed(&doors, "third.test", of_another).await;

    let own = "spiffe://ci.example.org/-/lanyard/bundle-endpoint";
    for (arguments, code, says) in [
        ([&["--url", &spiffe][..], &by_svid, &["spiffe://new.test/e"]].concat(), 1, "none is held: give the first one"),
        ([&["--url", &spiffe][..], &by_svid, &[own]].concat(), 1, "this server's own trust domain"),
        (vec!["--url", "http://a.test/", "--profile", "https_web"], 1, "over HTTPS only"),
        (vec!["--url", "https://u@a.test/", "--profile", "https_web"], 1, "holds no user"),
        (vec!["--url", &web], 2, "--profile"),
        (vec!["--profile", "https_web"], 2, "--url"),
        (vec!["--url", &web, "--profile", "https_spiffe"], 2, "--endpoint-spiffe-id"),
        (vec!["--url", &web, "--profile", "http"], 2, "https_spiffe"),
        (vec![], 2, "--url and --profile"),
    ] {
        let (found, said) = set("new.test", &arguments).await;
        assert!(found == code && said.contains(says), "{arguments:?}: {found} {said}");
    }
    let (_, said) = set("ci.example.org", &["--url", &web, "--profile", "https_web"]).await;
    assert!(said.contains("this server's own trust domain"), "{said}");
    doors.close().await;
    partner.close().await;
}

/// Shows: FED-12, FED-16.
#[tokio::test(flavor = "multi_thread")]
async fn the_spiffe_profile_shows_an_svid_of_ours_and_the_bundle_alone_and_each_svid_is_on_record() {
    let partner = partner().await;
    let trust_domain = TrustDomain::parse(PARTNER).unwrap();
    let bundle = Bundle::parse(trust_domain, &partner.own_bundle().await).unwrap();
    let peer = SpiffePeer { id: SpiffeId::parse(ENDPOINT_ID).unwrap(), bundle: bundle.clone() };
    let tls = tokio_rustls::TlsConnector::from(Arc::new(peer.client_config(Arc::new(SystemClock)).unwrap()));
    let tcp = TcpStream::connect(partner.spiffe.unwrap()).await.unwrap();
    let stream = tls.connect("unnamed.test".try_into().unwrap(), tcp).await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap().to_vec();
    let now = SystemClock.now();
    assert_eq!(validate_x509_svid(&shown, &[&bundle], now).unwrap().as_str(), ENDPOINT_ID);
    assert!(validate_x509_svid(&shown, &[&bundle], now + Duration::from_secs(3601)).is_err(), "it lives an hour");

    let curl = async |path: &str, arguments: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--insecure", "--noproxy", "*", "--max-time", "8", "--write-out", "\n%{http_code}"]);
        let output = curl.args(arguments).arg(format!("{}{path}", partner.spiffe_url())).output().await.unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        said.rsplit_once('\n').map(|(body, status)| (status.to_owned(), body.to_owned())).unwrap()
    };
    assert_eq!(curl("", &[]).await, ("200".to_owned(), String::from_utf8(partner.own_bundle().await).unwrap()));
    assert_eq!((curl("crl", &[]).await.0, curl("", &["-X", "POST"]).await.0), ("404".to_owned(), "405".to_owned()));
    let head = curl("", &["--head"]).await.1.to_lowercase();
    assert!(head.contains("etag: ") && head.contains("cache-control: max-age=300"), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    assert_eq!(curl("", &["--tls-max", "1.1"]).await.0, "000");

    let data = partner.folder.path().join("data");
    let kind = ["audit", "show", "--kind", "server_svid", "--data-dir", path_of(&data)];
    let journal = lanyard(&partner, &kind).await.1;
    assert!(journal.lines().count() == 1 && journal.contains(ENDPOINT_ID) && journal.contains(", until "), "{journal}");
    partner.close().await;
}

/// Shows: FED-11.
#[tokio::test(flavor = "multi_thread")]
async fn the_bundle_port_may_show_a_certificate_of_its_own_for_its_public_name() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let [certificate, key]: [PathBuf; 2] = ["bundle.pem", "bundle-key.pem"].map(|name| folder.path().join(name));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let files = DoorFiles { certificate, key };
    let doors = Doors::set_up("", POLICY, |settings| settings.doors.bundle_certificate = Some(files)).await;
    let public = ServerTrust::from_pem(made.cert.pem().as_bytes(), "the public certificate").unwrap();
    let sees = async |trust: &ServerTrust, port| {
        TlsClient::new(trust, None, &["http/1.1"]).unwrap().connect("localhost", port).await.is_ok()
    };
    let issuer = doors.url.to_string().rsplit(':').next().unwrap().parse().unwrap();
    assert_eq!((sees(&public, doors.bundle.port()).await, sees(&public, issuer).await), (true, false));
    assert_eq!((sees(&doors.trust, doors.bundle.port()).await, sees(&doors.trust, issuer).await), (false, true));
    doors.close().await;
}

/// Its settings load as they stand, beside the files that they name.
#[tokio::test]
async fn the_page_s_settings_are_what_one_can_write() {
    let shown: Vec<_> =
        PAGE.split("```toml\n").skip(1).map(|text| text.split("```").next().unwrap().to_owned()).collect();
    let [publish, read, rule] = <[String; 3]>::try_from(shown).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let laid = [
        ("partner-ca.pem", made.cert.pem()),
        ("bundle.pem", made.cert.pem()),
        ("bundle-key.pem", made.signing_key.serialize_pem()),
        ("mesh-partner.json", "{\"keys\":[]}".to_owned()),
    ];
    let read = laid.iter().fold(publish + &read, |settings, (name, text)| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        settings.replace(&format!("\"{name}\""), &format!("\"{}\"", file.display()))
    });
    let policy = POLICY.replace("ttl =", &format!("{rule}ttl ="));
    let harness = Harness::whose_issuer_says(read.leak(), &policy, "memory").await;
    let sources: Vec<_> =
        harness.parts.federation.list().iter().map(|(_, relation)| relation.source.to_string()).collect();
    assert_eq!(
        sources,
        ["https_web https://ci.partner.example:8444/", "https_spiffe https://spire.partner.example:8443/"]
    );
    assert!(told_of_none(&harness));
}

fn told_of_none(harness: &Harness) -> bool {
    let unheld = harness.parts.federation.unheld(&harness.issuance().policy.now());
    unheld.iter().all(|line| line.contains("mend its source, https_web"))
}

/// Shows: FED-9, FED-10, FED-15, FED-29.
#[tokio::test]
async fn a_relationship_that_lacks_something_or_says_too_much_does_not_load() {
    use lanyard::config::{MapEnvironment, load_server};
    let folder = tempfile::tempdir().unwrap();
    let load = |table: &str| {
        let file = folder.path().join("server.toml");
        fs::write(folder.path().join("b.json"), "{\"keys\":[]}").unwrap();
        fs::write(folder.path().join("policy.toml"), POLICY).unwrap();
        let text = format!(
            "trust_domain = \"ci.example.org\"\ndata_dir = \"data\"\npolicy_file = \"policy.toml\"\n[[issuer]]\nname = \"corp\"\n\
             url = \"https://gitlab.example\"\naudience = \"https://lanyard.example.com\"\n[[federation]]\n{table}\n"
        );
        fs::write(&file, text).unwrap();
        let problems = load_server(&file, &MapEnvironment::default()).err().unwrap_or_default();
        problems.into_iter().map(|problem| problem.key).collect::<Vec<_>>().join(" ")
    };
    let (td, url) = ("trust_domain = \"a.test\"\n", "url = \"https://a.test/\"\n");
    let (web, spiffe) = ("profile = \"https_web\"\n", "profile = \"https_spiffe\"\n");
    let (id, first) = ("endpoint_spiffe_id = \"spiffe://a.test/e\"\n", "bundle_file = \"b.json\"\n");
    let elsewhere = "endpoint_spiffe_id = \"spiffe://b.test/e\"\n";
    let own = "endpoint_spiffe_id = \"spiffe://ci.example.org/e\"\n";
    for (table, wanted) in [
        (td.to_owned() + url + web, ""),
        (td.to_owned() + url + web + first, ""),
        (td.to_owned() + url + spiffe + id + first, ""),
        (td.to_owned() + url + spiffe + elsewhere, ""),
        (url.to_owned() + web, "federation[0].trust_domain"),
        (td.to_owned() + web, "federation[0].url"),
        (td.to_owned() + url, "federation[0].profile"),
        (td.to_owned() + url + spiffe + first, "federation[0].endpoint_spiffe_id"),
        (td.to_owned() + url + spiffe + id, "federation[0].bundle_file"),
        (td.to_owned() + url + spiffe + own, "federation[0].endpoint_spiffe_id"),
        (td.to_owned() + url + web + id, "federation[0].endpoint_spiffe_id"),
        (td.to_owned() + url + web + "file = \"b.json\"\n", "federation[0].file"),
        (td.to_owned() + "url = \"http://a.test/\"\n" + web, "federation[0].url"),
        (td.to_owned() + "file = \"b.json\"\n" + first, "federation[0].bundle_file"),
        ("trust_domain = \"ci.example.org\"\n".to_owned() + url + web, "federation[0].trust_domain"),
    ] {
        assert_eq!(load(&table), wanted, "{table}");
    }
}

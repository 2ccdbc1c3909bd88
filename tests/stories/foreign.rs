//! Bundles of other trust domains: from an operator's word or a file to those jobs alone whose rule names them.

use super::doors::Doors;
use super::operators::{Job, lanyard, told};
use crate::support::foreign::ForeignCa;
use crate::support::harness::{Harness, POLICY, csr};
use lanyard::bundle::Bundle;
use lanyard::clock::{Clock, ManualClock, SystemClock};
use lanyard::crypto::PemLabel;
use lanyard::federation::{Federation, Relation};
use lanyard::identity::TrustDomain;
use lanyard::telemetry::{Shutdown, ShutdownTrigger};
use lanyard::wire::lanyard::event::Kind;
use lanyard::wire::lanyard::{FederatedBundles, RenewRequest, WatchRequest, X509Answer};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

const LIMIT: Duration = Duration::from_secs(20);

/// Jobs of ada may talk to the mesh, those of all others may not.
fn policy() -> String {
    let others = POLICY.replace("every project", "the others");
    let ada = POLICY.replace("ttl =", "federates_with = [\"mesh.test\", \"nobody.test\"]\nttl =");
    let ada = ada.replace("/-/pipelines/", "/-/with-mesh/pipelines/");
    format!("{ada}user_login = \"ada\"\n{others}")
}

/// Whose bundles, and which certificates.
fn roots(bundles: Option<&FederatedBundles>) -> Vec<(String, Vec<Vec<u8>>)> {
    let parsed = |name: &str, document: &[u8]| {
        let bundle = Bundle::parse(TrustDomain::parse(name).unwrap(), document).unwrap();
        bundle.x509_authorities.iter().map(|der| der.to_vec()).collect()
    };
    let all = bundles.into_iter().flat_map(|bundles| &bundles.bundle);
    all.map(|one| (one.trust_domain.clone(), parsed(&one.trust_domain, &one.document))).collect()
}

fn of_mesh(roots: &[&ForeignCa]) -> Vec<(String, Vec<Vec<u8>>)> {
    vec![("mesh.test".to_owned(), roots.iter().map(|root| root.der()).collect())]
}

impl Job {
    /// What the next event says of other trust domains.
    async fn foreign(&mut self) -> Vec<(String, Vec<Vec<u8>>)> {
        let event = tokio::time::timeout(LIMIT, self.events.message()).await.unwrap().unwrap().unwrap();
        let news = if let Some(Kind::Federation(news)) = event.kind { Some(news) } else { None }.unwrap();
        assert_eq!(news.session, std::slice::from_ref(&self.first.session));
        roots(news.bundles.as_ref())
    }

    async fn answered(&mut self) -> X509Answer {
        let asked = RenewRequest { session: self.first.session.clone(), csr: csr().into(), ..RenewRequest::default() };
        self.agent.renew(asked).await.unwrap().into_inner()
    }

    /// The events of one who comes back, the first two of which are told to everybody.
    async fn comes_back(&mut self, federated: bool) {
        let session = vec![self.first.session.clone()];
        let federated = if federated { session.clone() } else { Vec::new() };
        let asked = WatchRequest { session, federated, ..WatchRequest::default() };
        self.events = self.agent.watch(asked).await.unwrap().into_inner();
        for _present in 0..2 {
            self.events.message().await.unwrap().unwrap();
        }
    }
}

struct Files(PathBuf);

impl Files {
    fn put(&self, name: &str, text: &str) -> String {
        let file = self.0.join(name);
        fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    }
}

/// Shows: FED-23, FED-27, FED-28, TDB-24.
#[tokio::test]
async fn an_operator_brings_a_bundle_and_those_alone_get_it_whose_rule_names_it() {
    let doors = Doors::with(&policy()).await;
    let files = Files(doors.folder.path().to_owned());
    let (one, two) = (ForeignCa::new("mesh root 1"), ForeignCa::new("mesh root 2"));
    let (first, both) = (files.put("one.pem", &one.pem()), files.put("both.pem", &(one.pem() + &two.pem())));
    let (mut ada, mut bob) = (Job::begin(&doors, "ada").await, Job::begin(&doors, "bob").await);
    assert_eq!((roots(ada.first.federated.as_ref()), bob.first.federated.is_some()), (Vec::new(), false));

    let held = told(&doors, &["bundle", "set", "mesh.test", "--pem", &first, "--reason", "the mesh"]).await;
    assert_eq!((&held["x509_authorities"], &held["source"]), (&json!(1), &json!("operator")), "{held}");
    assert_eq!(ada.foreign().await, of_mesh(&[&one]));
    assert!(told(&doors, &["bundle", "set", "mesh.test", "--pem", &both]).await["days_left"].as_i64().unwrap() > 98);
    assert_eq!(ada.foreign().await, of_mesh(&[&one, &two]));
    assert_eq!(roots(ada.answered().await.federated.as_ref()), of_mesh(&[&one, &two]));
    assert!(bob.hears_nothing().await && bob.answered().await.federated.is_none());
    let with_curl = async |user: &str| {
        let token = doors.issuer.token_with(SystemClock.now(), "user_login", user);
        let request = PemLabel::CertificateRequest.armour(&csr()).to_string();
        let (_, mut answer) = doors.post("/v1/svid/x509", &json!({ "token": token, "csr": request })).await;
        answer["federated_bundles"].take()
    };
    assert_eq!(with_curl("ada").await["mesh.test"].as_str().unwrap().matches("BEGIN CERTIFICATE").count(), 2);
    assert_eq!(with_curl("bob").await, Value::Null);

    // Whoever was away hears what there is, and no more than once.
    ada.comes_back(false).await;
    assert_eq!(ada.foreign().await, of_mesh(&[&one, &two]));
    let (_, shown, _) = lanyard(&doors, &["bundle", "show", "mesh.test", "--format", "pem"]).await;
    assert_eq!(shown.matches("BEGIN CERTIFICATE").count(), 2);
    assert!(lanyard(&doors, &["bundle", "set", "mesh.test", "--pem", &both]).await.1.contains("as it was"));
    assert!(ada.hears_nothing().await, "nothing has changed");

    let (code, _, said) = lanyard(&doors, &["bundle", "delete", "mesh.test", "--reason", "over"]).await;
    assert_eq!((code, ada.foreign().await), (0, Vec::new()), "{said}");
    assert_eq!(roots(ada.answered().await.federated.as_ref()), Vec::new());
    assert!(lanyard(&doors, &["bundle", "delete", "mesh.test"]).await.2.contains("bundle_unknown"));
    // What it says that it holds is taken from it; who holds nothing is told nothing.
    ada.comes_back(true).await;
    assert_eq!(ada.foreign().await, Vec::new());
    ada.comes_back(false).await;
    assert!(ada.hears_nothing().await && bob.hears_nothing().await);
    journalled(&doors).await;
    doors.close().await;
}

async fn journalled(doors: &Doors) {
    let data = doors.folder.path().join("data");
    let (code, shown, _) = lanyard(doors, &["audit", "show", "--changes", "--data-dir", data.to_str().unwrap()]).await;
    let lines: Vec<_> = shown.lines().filter(|line| line.contains("bundle_changed")).collect();
    assert_eq!((code, lines.len()), (0, 3), "{shown}");
    let uid = rustix::process::getuid().as_raw();
    let (first, last) = (lines.first().unwrap(), lines.last().unwrap());
    assert!(first.contains("mesh.test, operator: 1 X.509, 0 JWT, SHA-256 "), "{shown}");
    assert!(first.ends_with(&format!(" (the mesh), by user id {uid}")), "{shown}");
    assert!(last.ends_with(&format!("mesh.test, operator: none any more (over), by user id {uid}")), "{shown}");
}

/// Shows: FED-29, TDB-25.
#[tokio::test]
async fn a_key_of_ours_is_taken_under_no_other_name_whoever_brings_it() {
    let doors = Doors::with(&policy()).await;
    let files = Files(doors.folder.path().to_owned());
    let ca = ForeignCa::new("mesh root");
    let (_, document) = doors.curl().fetch("/v1/bundle").await.unwrap();
    let pem = Bundle::parse(TrustDomain::parse("ci.example.org").unwrap(), &document).unwrap().to_pem();
    let document: Value = serde_json::from_slice(&document).unwrap();
    let mut jwt_only = document.clone();
    jwt_only["keys"].as_array_mut().unwrap().retain(|key| key["use"] == "jwt-svid");
    let (of_another, own_key) = ("bundle_malformed", "bundle_own_key");
    for (form, text, code_said, says) in [
        ("--pem", ca.pem() + &pem, of_another, "says that it is of spiffe://ci.example.org"),
        ("--spiffe", document.to_string(), of_another, "says that it is of spiffe://ci.example.org"),
        ("--spiffe", jwt_only.to_string(), own_key, "\" has a key of this server's own trust domain"),
    ] {
        let (code, _, said) = lanyard(&doors, &["bundle", "set", "mesh.test", form, &files.put("own", &text)]).await;
        assert!(code == 1 && said.contains(code_said) && said.contains(says), "{says}: {said}");
    }
    assert_eq!(lanyard(&doors, &["bundle", "list"]).await.1, "");
    doors.close().await;

    let following = Following::of(Harness::whose_issuer_says(CONFIGURED, POLICY, "memory").await);
    following.put(&ca.pem());
    following.until(|relation| relation.kept.is_some()).await;
    let own = following.harness.issuance().authorities.published().borrow().pem.clone();
    following.put(&(ca.pem() + &own));
    let relation = following.until(|relation| relation.problem.is_some()).await;
    assert!(problem(&relation).contains("says that it is of spiffe://ci.example.org"), "{relation:?}");
    assert_eq!(held(&relation), [ca.der()], "what was held stays");
    following.stop.pull();
    following.running.await.unwrap();
}

/// Shows: FED-29.
#[tokio::test]
async fn what_is_no_bundle_of_another_s_is_refused_and_the_message_names_what_is_wrong() {
    let doors = Doors::with(&policy()).await;
    let files = Files(doors.folder.path().to_owned());
    let ca = ForeignCa::new("mesh root");
    let (leaf, key) = ca.leaf("spiffe://mesh.test/ns/a/sa/b");
    let files: Vec<_> = [
        ("mesh.test", "--pem", ca.pem() + &leaf, "certificate 2 ("),
        ("mesh.test", "--pem", ca.pem() + &leaf, "it is no CA's"),
        ("mesh.test", "--pem", ca.pem() + &key, "a block \"PRIVATE KEY\""),
        ("mesh.test", "--pem", String::new(), "it is empty"),
        ("mesh.test", "--pem", "{\"keys\":[]}".to_owned(), "neither PEM nor"),
        ("mesh.test", "--pem", ca.pem().replace("-----END", "-----FIN"), "the PEM cannot be read"),
        ("mesh.test", "--spiffe", ca.pem(), "not a strict JSON object"),
        ("mesh.test", "--spiffe", "{\"trust_domains\":{\"a.test\":{\"keys\":[]}}}".to_owned(), "it has: a.test"),
        ("mesh.test", "--pem", (0..150).map(|_| ForeignCa::new("many").pem()).collect(), "at most 65536 are taken"),
        ("ci.example.org", "--pem", ca.pem(), "this server's own trust domain"),
        ("Mesh.test", "--pem", ca.pem(), "lower case"),
    ]
    .into_iter()
    .enumerate()
    .map(|(at, (name, form, text, says))| (name, form, files.put(&format!("{at}"), &text), says))
    .collect();
    for (name, form, file, says) in files {
        let (code, _, said) = lanyard(&doors, &["bundle", "set", name, form, &file]).await;
        assert!(code == 1 && said.contains(says), "{says}: {said}");
    }
    assert_eq!(lanyard(&doors, &["bundle", "set", "mesh.test"]).await.0, 2, "one of two forms is needed");
    assert_eq!(lanyard(&doors, &["bundle", "list"]).await.1, "");
    doors.close().await;
}

/// A server whose configuration follows a file.
struct Following {
    harness: Harness,
    federation: Federation,
    stop: ShutdownTrigger,
    running: JoinHandle<()>,
}

const CONFIGURED: &str = "[[federation]]\ntrust_domain = \"mesh.test\"\nfile = \"mesh.pem\"\n";

impl Following {
    fn of(mut harness: Harness) -> Self {
        let federation = harness.parts.federation.clone();
        let mut followers = std::mem::take(&mut harness.parts.followers);
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&harness.clock);
        let follower = followers.pop().unwrap();
        let (stop, shutdown) = Shutdown::pair();
        let running = tokio::spawn(follower.run(clock, shutdown));
        Self { harness, federation, stop, running }
    }

    fn put(&self, text: &str) {
        let (aside, file) = (self.harness.folder.path().join("aside"), self.harness.folder.path().join("mesh.pem"));
        fs::write(&aside, text).unwrap();
        fs::rename(aside, file).unwrap();
    }

    fn relation(&self) -> Relation {
        Relation::clone(&self.federation.relation(&name()).unwrap())
    }

    /// Lets the follower look until it is so.
    async fn until(&self, so: impl Fn(&Relation) -> bool) -> Relation {
        let seen = async {
            while !so(&self.relation()) {
                self.harness.advance(5);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LIMIT, seen).await.unwrap();
        self.relation()
    }
}

fn name() -> TrustDomain {
    TrustDomain::parse("mesh.test").unwrap()
}

fn held(relation: &Relation) -> Vec<Vec<u8>> {
    let authorities = relation.kept.iter().flat_map(|kept| &kept.foreign.bundle.x509_authorities);
    authorities.map(|der| der.to_vec()).collect()
}

fn problem(relation: &Relation) -> &str {
    relation.problem.as_deref().unwrap_or_default()
}

/// Shows: FED-5, TDB-6, TDB-23.
#[tokio::test]
async fn a_file_is_followed_and_the_last_good_bundle_stays_whatever_becomes_of_it() {
    let (one, two) = (ForeignCa::new("mesh root 1"), ForeignCa::new("mesh root 2"));
    let harness = Harness::whose_issuer_says(CONFIGURED, POLICY, "sled").await;
    assert!(harness.parts.federation.now().of(&name()).is_none(), "there is no file yet");
    let site = Following::of(harness);
    assert!(problem(&site.relation()).contains("cannot be read"));
    site.put(&one.pem());
    let good = site.until(|relation| relation.problem.is_none()).await;
    assert_eq!(held(&good), [one.der()]);
    site.put(&two.pem());
    site.until(|relation| held(relation) == [two.der()]).await;

    site.put("-----BEGIN CERTIFICATE-----\nhalf of");
    assert_eq!(held(&site.until(|relation| problem(relation).contains("PEM")).await), [two.der()]);
    site.put("{\"keys\":[],\"spiffe_sequence\":7}");
    assert_eq!(held(&site.until(|relation| relation.problem.is_none()).await), [[0; 0]; 0], "all is revoked");
    site.put("{\"keys\":[{}],\"spiffe_sequence\":6}");
    let older = site.until(|relation| relation.problem.is_some()).await;
    assert!(problem(&older).starts_with("its sequence is 6, and 7 is held"), "{older:?}");
    // In a map of several, what a bundle says of how often to look says nothing here.
    site.put("{\"trust_domains\":{\"mesh.test\":{\"keys\":[],\"spiffe_sequence\":7,\"spiffe_refresh_hint\":86400}}}");
    let mapped = site.until(|relation| relation.problem.is_none()).await;
    assert_eq!(mapped.asked_at, None);
    let now = site.harness.now();
    site.put(&one.pem());
    site.until(|relation| held(relation) == [one.der()]).await;
    assert!(site.harness.now() - now < Duration::from_secs(3600));
    fs::remove_file(site.harness.folder.path().join("mesh.pem")).unwrap();
    assert_eq!(held(&site.until(|relation| relation.problem.is_some()).await), [one.der()]);
    assert_eq!(site.harness.entries("bundle_changed").len(), 5);

    // It outlives the process and the index, without the file.
    site.stop.pull();
    site.running.await.unwrap();
    drop(site.federation);
    let again = Following::of(site.harness.restarted_without_index().await);
    assert_eq!(held(&again.relation()), [one.der()]);
    assert!(again.relation().problem.is_some(), "and is known to be an old one");
    assert_eq!(again.harness.entries("bundle_changed").len(), 5, "nothing was changed by it");
}

#[tokio::test]
async fn a_trust_domain_has_one_source() {
    let doors = Doors::whose_issuer_says(CONFIGURED, &policy()).await;
    let files = Files(doors.folder.path().to_owned());
    let pem = files.put("other.pem", &ForeignCa::new("mesh root").pem());
    for arguments in [&["bundle", "set", "mesh.test", "--pem", &pem][..], &["bundle", "delete", "mesh.test"]] {
        let (code, _, said) = lanyard(&doors, arguments).await;
        assert!(code == 1 && said.contains("bundle_configured") && said.contains("/mesh.pem"), "{said}");
    }
    let listed = told(&doors, &["bundle", "list"]).await;
    assert_eq!((&listed["held"], &listed["sequence"]), (&json!(false), &json!(0)), "{listed}");
    assert!(listed["problem"].as_str().unwrap().contains("cannot be read"), "{listed}");
    assert!(lanyard(&doors, &["bundle", "show", "mesh.test"]).await.2.contains("bundle_unknown"));
    doors.close().await;
}

#[tokio::test]
async fn a_relationship_that_left_the_configuration_is_over_and_the_journal_says_so() {
    let harness = Harness::whose_issuer_says(CONFIGURED, POLICY, "sled").await;
    fs::write(harness.folder.path().join("mesh.pem"), ForeignCa::new("mesh root").pem()).unwrap();
    let harness = harness.restarted(None).await;
    assert!(harness.parts.federation.now().of(&name()).is_some(), "before anybody is answered");
    let harness = harness.restarted_saying("").await;
    assert!(harness.parts.federation.relation(&name()).is_none());
    let told = harness.entries("bundle_changed");
    let last = told.last().unwrap();
    assert_eq!((told.len(), &last["new"], &last["uid"]), (2, &Value::Null, &Value::Null), "{told:?}");
    assert!(last["old"]["x509_authorities"][0].is_string() && last["source"].as_str().unwrap().starts_with("file /"));
}

#[tokio::test]
async fn a_rule_that_names_whom_we_hold_nothing_of_is_told_and_one_that_names_us_does_not_load() {
    let doors = Doors::with(&policy()).await;
    let reloaded = async |text: &str| {
        fs::write(doors.folder.path().join("policy.toml"), text).unwrap();
        let (code, printed, said) = lanyard(&doors, &["policy", "reload", "--json"]).await;
        (code, serde_json::from_str::<Value>(&printed).unwrap(), said)
    };
    let (code, told, _) = reloaded(&policy().replace("with-mesh", "with-the-mesh")).await;
    let warned: Vec<_> = told["warnings"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let of = |name: &str| warned.iter().any(|line| line.contains(&format!("no bundle of {name} is held")));
    assert!(code == 0 && of("mesh.test") && of("nobody.test"), "{told}");
    let (code, told, said) = reloaded(&policy().replace("nobody.test", "ci.example.org")).await;
    assert!(code == 1 && format!("{told}{said}").contains("own trust domain"), "{told}{said}");
    doors.close().await;
}

/// Every command of the manual's chapter is one, and its settings are.
#[tokio::test]
async fn the_manual_s_chapter_on_other_trust_domains_is_what_one_can_write_and_type() {
    let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations/bundles.md"));
    let chapter = page.split("\n## Bundles of other trust domains\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let shown: Vec<_> =
        chapter.split("```toml\n").skip(1).map(|text| text.split("```").next().unwrap().to_owned()).collect();
    let [rule, federation] = <[String; 2]>::try_from(shown).unwrap();
    let named = POLICY.replace("ttl =", &format!("{}\nttl =", rule.lines().last().unwrap()));
    let harness = Harness::whose_issuer_says(federation.leak(), &named, "memory").await;
    let name = TrustDomain::parse("mesh.example.org").unwrap();
    assert_eq!(
        harness.issuance().policy.now().rules().first().unwrap().gives.federates_with,
        std::slice::from_ref(&name)
    );
    assert!(harness.parts.federation.relation(&name).unwrap().source.to_string().ends_with("/mesh-roots.pem"));

    let program = std::path::Path::new(env!("CARGO_BIN_EXE_lanyard")).parent().unwrap().display();
    let commands: Vec<_> = chapter.lines().filter(|line| line.starts_with("lanyard bundle ")).collect();
    assert_eq!(commands.len(), 5, "{commands:?}");
    for file in ["istio-root.pem", "bundle.json"] {
        fs::write(harness.folder.path().join(file), "").unwrap();
    }
    for command in commands {
        let script = format!("PATH={program}:$PATH; {command}");
        let mut shell = tokio::process::Command::new("sh");
        shell.args(["-c", &script]).env("LANYARD_ADMIN_SOCKET", "/nowhere").current_dir(harness.folder.path());
        let code = shell.output().await.unwrap().status.code();
        assert_eq!(code, Some(3), "{command}: not understood, rather than nobody there");
    }
}

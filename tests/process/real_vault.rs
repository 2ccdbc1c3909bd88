//! An independent Vault (`rvault`, of the crate `rusty_vault`) takes our X.509-SVID for the role that `policy render vault` prints, and
//! nobody else's.
//!
//! Shown here, by a judge that is not ours: login by certificate over mutual TLS, the chain from leaf to root, `allowed_uri_sans`,
//! dates, and that the role is taken as it is rendered. It has no policies of Vault's (whoever has a token reads), no login by
//! JWT and no `kv` of version 2: those are shown by the Vault of `vault_page.rs` alone. Its errors are one text under `error`.
//! Of a chain that a client sends it takes the first above the leaf for the client's own (OpenSSL gives a server the chain without
//! its leaf). So the leaf comes alone here, and the role holds our intermediate beside the roots, which Vault takes as well; that
//! all of `svid.pem` logs in with the roots alone, `vault_page.rs` shows.

use crate::installed::installed;
use crate::place::{Place, free_port};
use crate::server::{Server, lanyard, words};
use lanyard::clock::{Clock, SystemClock};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Debian's slowest machine; it takes 0.2 s.
const UP_WITHIN: Duration = Duration::from_secs(30);
/// Three of its lives.
const ENDS_WITHIN: Duration = Duration::from_secs(60);
const END: &str = "-----END CERTIFICATE-----\n";
const ROLE: &str = "deploy";
const SECRET: &str = "correct-horse";
const POLICY: &str = r#"
[[rule]]
name = "payments, production deploys"
id = "/{project_path}/-/environments/production/pipelines/{pipeline_id}"
ttl = "20s"
[rule.when]
issuer = "corp"
project_id = 4711
ref_protected = true
environment = "production"
environment_protected = true

[[rule]]
name = "anything else"
id = "/{project_path}/-/pipelines/{pipeline_id}"
when = { issuer = "corp" }
"#;

struct World {
    place: Place,
    _server: Server,
    vault: Child,
    address: String,
    root_token: String,
}

impl Drop for World {
    fn drop(&mut self) {
        let _dead = self.vault.kill().and_then(|()| self.vault.wait());
    }
}

/// What a job holds: a certificate with its chain, and the key.
struct Svid(TempDir);

impl Svid {
    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    /// For a person.
    fn shown(&self) -> String {
        let mut openssl = Command::new("openssl");
        openssl.args(["x509", "-noout", "-text", "-in"]).arg(self.0.path().join("leaf.pem"));
        words(&openssl.output().unwrap())
    }
}

impl World {
    fn start() -> Self {
        let place = Place::new();
        fs::write(place.file("policy.toml"), POLICY).unwrap();
        let server = Server::start(&place);
        let port = free_port();
        let vault = start_vault(&place, port);
        let mut world = Self {
            place,
            _server: server,
            vault,
            address: format!("https://127.0.0.1:{port}"),
            root_token: String::new(),
        };
        world.unseal();
        world
    }

    /// Asks the Vault: the status, and the answer. It takes only one of the methods for each.
    fn call(&self, path: &str, body: Option<&Value>, more: &[&str]) -> (u16, Value) {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "20", "-w", "\n%{http_code}", "--cacert"]).arg(self.place.file("vault-ca.pem"));
        if let Some(body) = body {
            let method = if ["sys/init", "sys/unseal"].contains(&path) { "PUT" } else { "POST" };
            curl.args(["-X", method, "-H", "Content-Type: application/json", "-d", &body.to_string()]);
        }
        let output = curl.args(more).arg(format!("{}/v1/{path}", self.address)).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap_or_default();
        (status.parse().unwrap_or(0), serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn as_root(&self, path: &str, body: &Value) {
        let header = format!("X-Vault-Token: {}", self.root_token);
        let (status, answer) = self.call(path, Some(body), &["-H", &header]);
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
    }

    fn unseal(&mut self) {
        let deadline = Instant::now() + UP_WITHIN;
        let begun = loop {
            let (status, answer) =
                self.call("sys/init", Some(&json!({"secret_shares": 1, "secret_threshold": 1})), &[]);
            if status == 200 {
                break answer;
            }
            assert!(Instant::now() < deadline, "no Vault: {status} {answer}");
            thread::sleep(Duration::from_millis(100));
        };
        begun["root_token"].as_str().unwrap().clone_into(&mut self.root_token);
        let (status, answer) = self.call("sys/unseal", Some(&json!({"key": begun["keys"][0]})), &[]);
        assert_eq!((status, &answer["sealed"]), (200, &json!(false)), "{answer}");
        self.as_root("sys/auth/cert", &json!({"type": "cert"}));
    }

    /// The role as `policy render vault` prints it: where it is written, and what.
    fn rendered_role(&self) -> (String, Value) {
        let [server, ca] = reached(&self.place);
        let roots = self.place.file("roots.pem");
        let shown =
            lanyard().args(["bundle", "show", "--format", "pem", "--server", &server, "--server-ca", &ca]).output();
        fs::write(&roots, shown.unwrap().stdout).unwrap();
        let mut render = lanyard();
        render.args(["policy", "render", "vault", "policy.toml", "--trust-domain", "ci.example.org", "--json"]);
        render.args(["--rule", "payments, production deploys", "--project", "4711=acme/payments/api"]);
        render.args(["--role", ROLE, "--read", "secret/deploy", "--roots"]).arg(&roots);
        let output = render.current_dir(self.place.file("")).output().unwrap();
        assert!(output.status.success(), "{}", words(&output));
        let calls: Value = serde_json::from_slice(&output.stdout).unwrap();
        let call =
            calls["objects"].as_array().unwrap().iter().find(|call| call.to_string().contains("allowed_uri_sans"));
        let call = call.unwrap_or_else(|| panic!("{calls}"));
        let path = call["path"].as_str().unwrap();
        (path.to_owned(), call["data"].clone())
    }

    /// The SVID of a job with these claims.
    fn svid(&self, claims: &[(&str, &str)]) -> Svid {
        let mut all = self.place.issuer.claims(SystemClock.now());
        for (name, value) in claims {
            all.insert((*name).to_owned(), (*value).into());
        }
        let (folder, [server, ca]) = (TempDir::new().unwrap(), reached(&self.place));
        let mut exec = lanyard();
        exec.args(["exec", "--", env!("CARGO_BIN_EXE_lanyard"), "svid", "x509", "--write"]).arg(folder.path());
        exec.env("LANYARD_ID_TOKEN", self.place.issuer.mint(&all)).env("LANYARD_SERVER", server);
        let output = exec.env("LANYARD_SERVER_CA", ca).env("TMPDIR", folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", words(&output));
        let chain = fs::read_to_string(folder.path().join("svid.pem")).unwrap();
        let (leaf, above) = chain.split_at(chain.find(END).unwrap() + END.len());
        fs::write(folder.path().join("leaf.pem"), leaf).unwrap();
        fs::write(folder.path().join("intermediate.pem"), above).unwrap();
        Svid(folder)
    }

    fn log_in(&self, svid: Option<&Svid>) -> (u16, Value) {
        let file = |name: &str| svid.map(|svid| svid.0.path().join(name).display().to_string()).unwrap_or_default();
        let (certificate, key) = (file("leaf.pem"), file("svid_key.pem"));
        let shown = ["--cert", &*certificate, "--key", &*key];
        let shown = if svid.is_some() { &shown[..] } else { &[] };
        self.call("auth/cert/login", Some(&json!({ "name": ROLE })), shown)
    }

    fn refused(&self, svid: Option<&Svid>, told: &str) {
        let (status, answer) = self.log_in(svid);
        assert_eq!((status, answer["auth"].is_null()), (400, true), "{answer}");
        assert!(answer["error"].as_str().is_some_and(|said| said.contains(told)), "{answer}, not {told}");
    }
}

fn reached(place: &Place) -> [String; 2] {
    [format!("https://127.0.0.1:{}", place.port), place.data().join("door-ca.pem").display().to_string()]
}

/// Starts it, with a certificate of its own.
fn start_vault(place: &Place, port: u16) -> Child {
    let program = installed("LANYARD_TEST_VAULT");
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    fs::write(place.file("vault-ca.pem"), certificate.pem()).unwrap();
    fs::write(place.file("vault-key.pem"), key.serialize_pem()).unwrap();
    let file = |name: &str| place.file(name).display().to_string();
    fs::create_dir(place.file("vault")).unwrap();
    let settings = format!(
        "storage \"file\" {{\n  path = \"{}\"\n}}\n\
         listener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  tls_disable = \"false\"\n  tls_cert_file = \"{}\"\n  \
         tls_key_file = \"{}\"\n  tls_require_and_verify_client_cert = \"false\"\n  tls_disable_client_certs = \"false\"\n}}\n\
         api_addr = \"https://127.0.0.1:{port}\"\nwork_dir = \"{}\"\npid_file = \"{}\"\ndaemon = false\n",
        file("vault/data"),
        file("vault-ca.pem"),
        file("vault-key.pem"),
        file("vault/work"),
        file("vault/pid"),
    );
    fs::write(place.file("vault.hcl"), settings).unwrap();
    let log = fs::File::create(place.file("vault.log")).unwrap();
    let mut vault = Command::new(program);
    vault.args(["server", "--config"]).arg(place.file("vault.hcl")).stdin(Stdio::null());
    vault.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

#[test]
#[ignore = "needs LANYARD_TEST_VAULT, an rvault, which takes minutes to build: tests/run --all"]
fn a_real_vault_lets_in_the_role_s_jobs_by_their_svid_and_nobody_else() {
    let world = World::start();
    let (path, mut role) = world.rendered_role();
    world.as_root(&path, &role);
    world.as_root("secret/deploy", &json!({ "password": SECRET }));
    let production = [
        ("project_path", "acme/payments/api"),
        ("environment", "production"),
        ("environment_protected", "true"),
        ("environment_action", "start"),
    ];
    let deploy = world.svid(&production);
    // Roots alone, and nothing between them and the leaf.
    world.refused(Some(&deploy), "invalid certificate");
    let both = format!("{}{}", role["certificate"].as_str().unwrap(), deploy.read("intermediate.pem").trim_start());
    role["certificate"] = both.into();
    world.as_root(&path, &role);
    let (status, answer) = world.log_in(Some(&deploy));
    let token = answer["auth"]["client_token"].as_str();
    let token = token.unwrap_or_else(|| panic!("{status} {answer} for the role {role} and {}", deploy.shown()));
    assert_eq!((status, &answer["auth"]["policies"]), (200, &json!(["default", ROLE])), "{answer}");
    let (status, answer) = world.call("secret/deploy", None, &["-H", &format!("X-Vault-Token: {token}")]);
    assert_eq!((status, &answer["data"]["password"]), (200, &json!(SECRET)), "{answer}");

    // The same project in another environment, and another project.
    let no_match = "no chain matching all constraints";
    world.refused(Some(&world.svid(&production[..1])), no_match);
    let other = [
        ("sub", "project_path:acme/other:ref_type:branch:ref:main"),
        ("project_id", "4712"),
        ("project_path", "acme/other"),
        ("job_project_id", "4712"),
        ("job_project_path", "acme/other"),
        ("namespace_id", "99"),
        ("namespace_path", "acme"),
        ("job_namespace_id", "99"),
        ("job_namespace_path", "acme"),
    ];
    world.refused(Some(&world.svid(&other)), no_match);
    world.refused(None, "client certificate");
    let anonymous = json!({ "password": "stolen" });
    assert_eq!(world.call("secret/deploy", Some(&anonymous), &[]).0 / 100, 4, "without a token nothing is written");
    world.refused(Some(&stranger()), "");

    // What logged in a moment ago, and is over now.
    let began = Instant::now();
    while world.log_in(Some(&deploy)).0 == 200 {
        assert!(began.elapsed() < ENDS_WITHIN, "it lives on");
        thread::sleep(Duration::from_millis(500));
    }
    world.refused(Some(&deploy), "expired");
}

/// The role's very name in a certificate that somebody made by themselves.
fn stranger() -> Svid {
    let (folder, key) = (TempDir::new().unwrap(), KeyPair::generate().unwrap());
    let id = "spiffe://ci.example.org/acme/payments/api/-/environments/production/pipelines/574";
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![rcgen::SanType::URI(id.try_into().unwrap())];
    let certificate = params.self_signed(&key).unwrap();
    fs::write(folder.path().join("leaf.pem"), certificate.pem()).unwrap();
    fs::write(folder.path().join("svid_key.pem"), key.serialize_pem()).unwrap();
    Svid(folder)
}

//! `docs/integrations/vault.md`, typed as it stands there: a role is rendered and written, jobs log in by token and by certificate
//! and read their secret, and nobody else does. `tests/py/vault.py` judges.

use crate::golden;
use crate::place::{Place, free_port};
use crate::python::python;
use crate::server::{Server, lanyard, words};
use lanyard::clock::{Clock, SystemClock};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/integrations/vault.md");
const VAULT: &str = "https://vault.corp.example:8200";
const OTHER: &str = "https://other.test";
const SECRET: &str = "correct-horse";

/// Jobs that log in as well, and may not read the secret.
const OTHERS: &str = r#"
[[rule]]
name = "anything else"
id = "/{project_path}/-/pipelines/{pipeline_id}"
kinds = ["x509", "jwt"]
audiences = ["https://vault.corp.example:8200", "https://other.test"]
claims = { project_id = "{project_id}" }
when = { issuer = "corp" }
"#;

/// Vault's command line, as far as the page types it.
const PROGRAM: &str = r#"#!/bin/sh
set -eu
token=${VAULT_TOKEN:-$(cat "$HOME/.vault-token" 2> /dev/null || true)}
api() { path=$1; shift; curl -sS --fail-with-body --cacert "$VAULT_CACERT" -H "X-Vault-Token: $token" "$@" "$VAULT_ADDR/v1/$path"; }
said() { answer=$("$@") || { printf '%s\n' "$answer" >&2; exit 2; }; printf %s "$answer"; }
case "$1 $2" in
"auth enable") ;;
"policy write") jq -Rs '{policy: .}' > body; said api "sys/policies/acl/$3" --data @body ;;
"kv get") found=$(said api "${4%%/*}/data/${4#*/}"); printf %s "$found" | jq -er ".data.data.${3#-field=}" ;;
"login -no-print")
    for word; do case $word in -client-cert=*) cert=${word#*=} ;; -client-key=*) key=${word#*=} ;; name=*) name=${word#*=} ;; esac; done
    found=$(said api auth/cert/login --cert "$cert" --key "$key" --data "{\"name\": \"$name\"}")
    printf %s "$found" | jq -er .auth.client_token > "$HOME/.vault-token" ;;
"write "*)
    path=$2; shift 2
    if [ "$1" = - ]; then cat > body; else printf '%s\n' "$@" | jq -Rn '[inputs | split("=") | {(.[0]): (.[1:] | join("="))}] | add' > body; fi
    said api "$path" --data @body ;;
*) echo "no $*" >&2; exit 2 ;;
esac
"#;

/// The page's block of this name, and its language.
fn block(page: &str, language: &str, name: &str) -> String {
    let begin = format!("\n```{language}\n# {name}\n");
    page.split_once(&begin).unwrap_or_else(|| panic!("no {name}")).1.split_once("```").unwrap().0.to_owned()
}

/// All lines of the page's shell blocks that are typed.
fn typed(page: &str) -> Vec<&str> {
    let blocks = page.split("\n```sh\n").skip(1).map(|rest| rest.split_once("\n```").unwrap().0);
    blocks.filter(|block| !block.starts_with('#')).flat_map(str::lines).collect()
}

/// A server, a Vault, and whoever types.
struct World {
    page: String,
    address: String,
    issuer: String,
    place: Place,
    _server: Server,
    vault: Child,
}

impl World {
    fn start() -> Self {
        let page = fs::read_to_string(PAGE).unwrap();
        let (port, bundle_port) = (free_port(), free_port());
        let (address, issuer) = (format!("https://127.0.0.1:{port}"), format!("https://127.0.0.1:{bundle_port}"));
        let here = |text: &str| text.replace(VAULT, &address).replace("https://ci.example.org", &issuer);
        let mut place = Place::with(&here(&block(&page, "toml", "server.toml")));
        let config = fs::read_to_string(place.config()).unwrap();
        fs::write(place.config(), config.replace(&format!(":{}", place.bundle_port), &format!(":{bundle_port}")))
            .unwrap();
        place.bundle_port = bundle_port;
        let policy = block(&page, "toml", "policy.toml");
        fs::write(place.file("policy.toml"), here(&format!("{policy}{OTHERS}"))).unwrap();
        let server = Server::start(&place);
        let vault = judge(&place, port);
        Self { page, address, issuer, place, _server: server, vault }
    }

    fn here(&self, text: &str) -> String {
        text.replace(VAULT, &self.address).replace("https://ci.example.org", &self.issuer)
    }

    /// Runs lines with these variables besides, in a folder.
    fn shell(&self, lines: &str, folder: &Path, variables: &[(&str, &str)]) -> Output {
        let own = lanyard();
        let own = Path::new(own.get_program()).parent().unwrap().display();
        let path = format!("{}:{own}:{}", self.place.file("bin").display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        shell.args(["-euc", &self.here(lines)]).current_dir(folder).env_clear().env("PATH", path);
        shell.env("HOME", folder).env("TMPDIR", folder).env("VAULT_ADDR", &self.address);
        shell.env("VAULT_CACERT", self.place.file("vault-ca.pem")).envs(variables.iter().copied());
        shell.output().unwrap()
    }

    /// What an operator types.
    fn operator(&self, line: &str) -> Output {
        let [server, ca] = reached(&self.place);
        let variables = [("VAULT_TOKEN", "root"), ("LANYARD_SERVER", &server), ("LANYARD_SERVER_CA", &ca)];
        self.shell(line, &self.place.file(""), &variables)
    }

    /// What a job of the page's file types, or something in its place.
    fn job(&self, production: bool, line: &str) -> Output {
        let folder = tempfile::tempdir().unwrap();
        let mut claims = self.place.issuer.claims(SystemClock.now());
        let environment =
            [("environment", "production"), ("environment_protected", "true"), ("environment_action", "start")];
        for (name, value) in environment.into_iter().filter(|_| production) {
            claims.insert(name.to_owned(), value.into());
        }
        let (token, [server, ca]) = (self.place.issuer.mint(&claims), reached(&self.place));
        let variables = [("LANYARD_ID_TOKEN", &*token), ("LANYARD_SERVER", &server), ("LANYARD_SERVER_CA", &ca)];
        self.shell(line, folder.path(), &variables)
    }

    fn script(&self, file: &str) -> String {
        let text = block(&self.page, "yaml", file);
        text.split_once("  script:\n  - ").unwrap().1.trim().to_owned()
    }

    fn refused(&self, production: bool, line: &str, why: &str) {
        let output = self.job(production, line);
        assert!(!output.status.success() && words(&output).contains(why), "{line}: {}", words(&output));
        assert!(!words(&output).contains(SECRET), "{}", words(&output));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _dead = self.vault.kill().and_then(|()| self.vault.wait());
    }
}

/// By which variables the server is found.
fn reached(place: &Place) -> [String; 2] {
    [format!("https://127.0.0.1:{}", place.port), place.data().join("door-ca.pem").display().to_string()]
}

/// Starts the Vault, which trusts our roots for clients and our door for documents.
fn judge(place: &Place, port: u16) -> Child {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    fs::write(place.file("vault-ca.pem"), certificate.pem()).unwrap();
    fs::write(place.file("vault-key.pem"), key.serialize_pem()).unwrap();
    fs::create_dir(place.file("bin")).unwrap();
    fs::write(place.file("bin/vault"), PROGRAM).unwrap();
    fs::set_permissions(place.file("bin/vault"), Permissions::from_mode(0o755)).unwrap();
    let [server, ca] = reached(place);
    let mut roots = lanyard();
    roots.args(["bundle", "show", "--format", "pem", "--server", &server, "--server-ca", &ca]);
    fs::write(place.file("client-roots.pem"), roots.output().unwrap().stdout).unwrap();
    let [program, script] = python("vault.py");
    let mut vault = Command::new(program);
    vault.arg(script).arg(port.to_string());
    vault.args(["vault-ca.pem", "vault-key.pem", "client-roots.pem"].map(|name| place.file(name)));
    vault.arg(place.data().join("door-ca.pem")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut vault = vault.spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(vault.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    assert_eq!(ready, "ready\n");
    vault
}

#[test]
fn jobs_of_the_rendered_role_read_their_secret_by_token_and_by_certificate_and_nobody_else_does() {
    let world = World::start();
    for line in typed(&world.page) {
        let output = world.operator(line);
        assert!(output.status.success(), "{line}: {}", words(&output));
    }
    let secret = json!({ "data": { "password": SECRET } }).to_string();
    for path in ["secret/data/deploy", "secret/data/other"] {
        let written = world.operator(&format!("printf %s '{secret}' | vault write {path} -"));
        assert!(written.status.success(), "{}", words(&written));
    }
    let (by_token, by_certificate) =
        (world.script("by-token.gitlab-ci.yml"), world.script("by-certificate.gitlab-ci.yml"));
    for line in [&by_token, &by_certificate] {
        let output = world.job(true, line);
        assert!(output.status.success(), "{line}: {}", words(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), SECRET, "{line}");
        world.refused(true, &line.replace("secret/deploy", "secret/other"), "permission denied");
    }
    let of_sub = "claim \\\"sub\\\" does not match any associated bound claim values";
    world.refused(false, &by_token, of_sub.replace('\\', "").as_str());
    world.refused(
        false,
        &by_certificate,
        "no chain matching all constraints could be found for this login certificate",
    );
    let for_another = by_token.replace(" --vault-role", &format!(" --vault-audience {OTHER} --vault-role"));
    world.refused(false, &for_another, "invalid audience (aud) claim");
    world.refused(true, &for_another, "audience_not_granted");
    let without =
        "curl -sS --cacert \"$VAULT_CACERT\" -d '{\"name\": \"deploy\"}' \"$VAULT_ADDR/v1/auth/cert/login\"; false";
    world.refused(true, without, "invalid certificate or no client certificate supplied");
    world.refused(true, &by_certificate.replace("name=deploy", "name=nobody"), "no chain matching all constraints");
}

#[test]
fn the_page_shows_what_its_command_prints() {
    let world = World::start();
    let line = typed(&world.page).into_iter().find(|line| line.starts_with("lanyard policy render vault")).unwrap();
    let before = world.operator("lanyard bundle show --format pem > roots.pem");
    assert!(before.status.success(), "{}", words(&before));
    let rendered = world.operator(line.split_once(" > ").unwrap().0);
    let text = String::from_utf8(rendered.stdout).unwrap().replace(&world.address, VAULT);
    let roots: Vec<Value> = text
        .lines()
        .filter(|line| line.contains("-----BEGIN"))
        .map(|line| {
            line.trim()
                .trim_end_matches(',')
                .split_once(": ")
                .map(|(_, pem)| serde_json::from_str(pem).unwrap())
                .unwrap()
        })
        .collect();
    let [root] = roots.as_slice() else { panic!("one role holds roots: {text}") };
    let pem = root.to_string();
    let shown = text.replace(pem.as_str(), "\"-----BEGIN CERTIFICATE-----\\n…\\n-----END CERTIFICATE-----\\n\"");
    let head = "\n```sh\n# vault.sh\n";
    let (above, rest) = world.page.split_once(head).unwrap();
    let below = rest.split_once("```\n").unwrap().1;
    golden::hold(Path::new(PAGE), &format!("{above}{head}{}\n```\n{below}", shown.trim_end()));
}

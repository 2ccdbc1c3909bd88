//! `lanyard exec` for software that knows nothing of SPIFFE: tokens in files, a role of AWS's taken by AWS's own SDK, a
//! token of Vault's. Credentials are there before the command, fresh while it runs, and gone with it.

use crate::https::{Script, Scripted, Trouble, json_answer};
use crate::issuer::POLICY;
use crate::place::Place;
use crate::python::python;
use crate::server::{Server, lanyard, words};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use lanyard::clock::{Clock, SystemClock};
use lanyard::svid::inspect_jwt;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

const ROLE: &str = "arn:aws:iam::123456789012:role/deploy";

/// A server whose rule grants tokens for these audiences, of a few seconds each.
struct Cloud {
    place: Place,
    _server: Server,
}

impl Cloud {
    fn granting(audiences: &[&str]) -> Self {
        let place = Place::new();
        let policy = POLICY.replace("ttl = \"15m\"", "ttl = \"6s\"");
        let policy = policy.replace(r#"["https://service.test"]"#, &json!(audiences).to_string());
        fs::write(place.file("policy.toml"), policy).unwrap();
        let server = Server::start(&place);
        Self { place, _server: server }
    }

    /// `exec` of a new job, with nothing in the environment but what a job has.
    fn exec(&self, flags: &[&str]) -> Command {
        let mut exec = lanyard();
        let path = std::env::var("PATH").unwrap();
        exec.env_clear().env("PATH", path).env("TMPDIR", self.place.file("")).env("CI_JOB_ID", "5299490");
        exec.env("LANYARD_SERVER", format!("https://127.0.0.1:{}", self.place.port));
        exec.env("LANYARD_SERVER_CA", self.place.data().join("door-ca.pem"));
        exec.env("LANYARD_ID_TOKEN", self.place.issuer.token(SystemClock.now()));
        exec.arg("exec").args(flags).arg("--");
        exec
    }
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", words(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_file_holds_a_whole_token_that_is_replaced_while_the_command_runs_and_gone_with_it() {
    let cloud = Cloud::granting(&["https://service.test"]);
    let file = cloud.place.file("token");
    let flag = format!("https://service.test={}", file.display());
    // Read all the time, and never anything but a whole token.
    let script = "first=$(cat $0); stat -c %a $0\n\
                  until next=$(cat $0) && [ \"$next\" != \"$first\" ]; do case $next in ey*.*.*) ;; *) exit 9;; esac; done\n\
                  echo $first $next";
    let output = run(cloud.exec(&["--token-file", &flag]).args(["sh", "-c", script]).arg(&file));
    let told = said(&output);
    let words: Vec<&str> = told.split_whitespace().collect();
    assert_eq!(words[0], "600");
    let [first, next] = [words[1], words[2]].map(|token| inspect_jwt(token).unwrap());
    assert_eq!((&first.spiffe_id, &*first.audience), (&next.spiffe_id, &["https://service.test".to_owned()][..]));
    assert!(first.not_after < next.not_after, "the next one lives longer");
    assert!(!file.exists());
    let left = fs::read_dir(cloud.place.file(""))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".token"));
    assert_eq!(left.count(), 0);
}

#[test]
fn an_audience_that_the_rule_does_not_grant_is_told_with_the_line_that_would_and_nothing_runs() {
    let cloud = Cloud::granting(&["https://service.test"]);
    let file = cloud.place.file("token");
    let flag = format!("https://other.test={}", file.display());
    let output = run(cloud.exec(&["--token-file", &flag]).args(["touch"]).arg(cloud.place.file("ran")));
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(words(&output).contains("audience_not_granted"), "{}", words(&output));
    assert!(words(&output).contains("    audiences = [\"https://other.test\"]"), "{}", words(&output));
    assert!(!file.exists() && !cloud.place.file("ran").exists());

    let policy = fs::read_to_string(cloud.place.file("policy.toml")).unwrap();
    let x509_only: String = policy
        .lines()
        .filter(|line| !line.starts_with("kinds") && !line.starts_with("audiences"))
        .fold(String::new(), |text, line| text + line + "\n");
    let place = Place::new();
    fs::write(place.file("policy.toml"), x509_only).unwrap();
    let server = Server::start(&place);
    let cloud = Cloud { place, _server: server };
    let output = run(cloud.exec(&["--aws-role", ROLE]).arg("true"));
    let told = words(&output);
    assert!(told.contains("kinds = [\"x509\", \"jwt\"]\n    audiences = [\"sts.amazonaws.com\"]"), "{told}");
}

/// AWS STS, which believes a token that our server has signed lately and nothing else, once a call.
#[derive(Default)]
struct Sts {
    troubles: Mutex<Vec<Trouble>>,
    asked: Mutex<Vec<BTreeMap<String, String>>>,
}

impl Script for Sts {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let form = reqwest::Url::parse(&format!("form:?{}", String::from_utf8_lossy(&body))).unwrap();
        let form: BTreeMap<String, String> = form.query_pairs().into_owned().collect();
        let token = form.get("WebIdentityToken").and_then(|token| inspect_jwt(token).ok());
        self.asked.lock().unwrap().push(form);
        let trouble = self.troubles.lock().unwrap().pop();
        if let Some(trouble) = trouble {
            return trouble.answer().await;
        }
        let Some(token) = token.filter(|token| token.audience == ["sts.amazonaws.com"]) else {
            return xml(400, &sts_error("InvalidIdentityToken"));
        };
        let credentials = format!(
            "<Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
             <SessionToken>{}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>",
            token.spiffe_id
        );
        let result = format!(
            "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <AssumeRoleWithWebIdentityResult>{credentials}</AssumeRoleWithWebIdentityResult>\
             </AssumeRoleWithWebIdentityResponse>"
        );
        xml(200, &result)
    }
}

fn sts_error(code: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>as AWS says it</Message></Error><RequestId>1</RequestId></ErrorResponse>"
    )
}

fn xml(status: u16, body: &str) -> Response<Full<Bytes>> {
    let answer = Response::builder().status(status).header("content-type", "text/xml");
    answer.body(body.to_owned().into()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_s_own_sdk_takes_the_role_with_what_it_finds_in_the_environment() {
    let (cloud, sts) = (Cloud::granting(&["sts.amazonaws.com"]), Arc::new(Sts::default()));
    let served = Scripted::serve(Arc::clone(&sts)).await;
    let ca = cloud.place.file("sts-ca.pem");
    fs::write(&ca, &served.ca_pem).unwrap();
    let exec = |flags: &[&str]| {
        let mut exec = cloud.exec(&[&["--aws-role", ROLE], flags].concat());
        exec.env("AWS_ENDPOINT_URL_STS", format!("https://127.0.0.1:{}", served.port)).env("AWS_CA_BUNDLE", &ca);
        exec.env("AWS_REGION", "eu-central-1").env("AWS_DEFAULT_REGION", "eu-central-1").env("AWS_MAX_ATTEMPTS", "1");
        exec.env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(std::env::var_os("PYTHONPATH").map(|path| ("PYTHONPATH", path)));
        // What would come before the role.
        exec.env("AWS_ACCESS_KEY_ID", "AKIAOLD").env("AWS_SECRET_ACCESS_KEY", "old").env("AWS_PROFILE", "nobody");
        exec
    };
    let output = tokio::task::block_in_place(|| run(exec(&[]).args(python("aws_role.py"))));
    let found: Value = serde_json::from_str(&said(&output)).unwrap();
    assert_eq!((&found["key"], &found["by"]), (&json!("ASIAEXAMPLE"), &json!("assume-role-with-web-identity")));
    assert_eq!(found["token"], "spiffe://ci.example.org/acme/payments/api/-/pipelines/574");
    assert!(words(&output).contains("AWS_ACCESS_KEY_ID"), "what was taken out is told: {}", words(&output));
    let asked = std::mem::take(&mut *sts.asked.lock().unwrap());
    assert_eq!((&*asked[0]["RoleArn"], &*asked[0]["RoleSessionName"]), (ROLE, "gitlab-job-5299490"));

    let named = ["--aws-session-name", "release"];
    for (status, code) in [(400, "ExpiredTokenException"), (403, "AccessDenied"), (400, "IDPRejectedClaim")] {
        sts.troubles.lock().unwrap().push(Trouble::Answer(status, Vec::new(), sts_error(code).into_bytes()));
        let output = tokio::task::block_in_place(|| run(exec(&named).args(python("aws_role.py"))));
        assert!(!output.status.success() && words(&output).contains(code), "{}", words(&output));
    }
    assert!(sts.asked.lock().unwrap().iter().all(|form| form["RoleSessionName"] == "release"));

    let look = "echo $AWS_WEB_IDENTITY_TOKEN_FILE; stat -c '%a %U' $AWS_WEB_IDENTITY_TOKEN_FILE $(dirname $AWS_WEB_IDENTITY_TOKEN_FILE)";
    let output = tokio::task::block_in_place(|| run(exec(&[]).args(["sh", "-c", look])));
    let told = said(&output);
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[1].starts_with("600 ") && lines[2].starts_with("700 "), "{told}");
    assert!(lines[0].starts_with("/dev/shm/") && !Path::new(lines[0]).parent().unwrap().exists(), "{told}");
}

/// Vault's `jwt` method and its tokens, which live for three seconds unless they are renewed.
pub(crate) struct JwtMethod {
    pub(crate) audience: Mutex<String>,
    asked: Mutex<Vec<String>>,
    troubles: Mutex<Vec<Trouble>>,
}

impl JwtMethod {
    /// For nobody yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { audience: Mutex::default(), asked: Mutex::default(), troubles: Mutex::default() })
    }
}

impl Script for JwtMethod {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap_or_default();
        let path = head.uri.path().strip_prefix("/v1/").unwrap_or_default().to_owned();
        self.asked.lock().unwrap().push(path.clone());
        let trouble = self.troubles.lock().unwrap().pop();
        if let Some(trouble) = trouble {
            return trouble.answer().await;
        }
        let token = head.headers.get("x-vault-token").map(|token| token.to_str().unwrap().to_owned());
        let auth = json!({"auth": {"client_token": "hvs.of-the-job", "lease_duration": 3, "renewable": true}});
        match (path.as_str(), token.as_deref()) {
            ("auth/jwt/login", None) => {
                let is_bound = inspect_jwt(body["jwt"].as_str().unwrap_or_default())
                    .is_ok_and(|jwt| jwt.audience == [self.audience.lock().unwrap().clone()]);
                if is_bound && body["role"] == "deploy" {
                    return json_answer(200, &auth);
                }
                json_answer(400, &json!({"errors": ["error validating token: invalid audience (aud) claim"]}))
            }
            ("auth/token/lookup-self", Some("hvs.of-the-job")) => {
                json_answer(200, &json!({"data": {"ttl": 3, "renewable": true}}))
            }
            ("auth/token/renew-self", Some("hvs.of-the-job")) => json_answer(200, &auth),
            ("auth/token/revoke-self", Some("hvs.of-the-job")) => {
                Response::builder().status(204).body(Full::default()).unwrap()
            }
            _ => json_answer(404, &json!({"errors": []})),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_gets_vault_s_token_which_is_renewed_while_it_runs_and_revoked_at_its_end() {
    let vault = JwtMethod::new();
    let served = Scripted::serve(Arc::clone(&vault)).await;
    let address = format!("https://127.0.0.1:{}", served.port);
    vault.audience.lock().unwrap().clone_from(&address);
    let cloud = Cloud::granting(&[&address]);
    let ca = cloud.place.file("vault-ca.pem");
    fs::write(&ca, &served.ca_pem).unwrap();
    let exec = |flags: &[&str], command: &[&str]| {
        let mut exec = cloud.exec(&[&["--vault-addr", &address, "--vault-role", "deploy"], flags].concat());
        tokio::task::block_in_place(|| run(exec.env("VAULT_CACERT", &ca).args(command)))
    };
    let asked = || std::mem::take(&mut *vault.asked.lock().unwrap());
    let renewals = Arc::clone(&vault);
    let done = cloud.place.file("renewed");
    let touched = done.clone();
    let watching = tokio::spawn(async move {
        let renewed = || renewals.asked.lock().unwrap().iter().filter(|path| path.ends_with("renew-self")).count();
        while renewed() < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        fs::write(&touched, "").unwrap();
    });
    let script = "until [ -e $0 ]; do sleep 0.1; done; echo $VAULT_ADDR $VAULT_TOKEN";
    let output = exec(&[], &["sh", "-c", script, done.to_str().unwrap()]);
    assert_eq!(said(&output).trim(), format!("{address} hvs.of-the-job"));
    watching.await.unwrap();
    let paths = asked();
    assert_eq!(
        (paths.first().map(String::as_str), paths.last().map(String::as_str)),
        (Some("auth/jwt/login"), Some("auth/token/revoke-self"))
    );
    assert_eq!(paths.iter().filter(|path| path.ends_with("login")).count(), 1, "one login: {paths:?}");

    vault.audience.lock().unwrap().push_str("/other");
    let output = exec(&[], &["touch", cloud.place.file("ran").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let told = words(&output);
    assert!(told.contains("invalid audience") && told.contains("vault read auth/jwt/role/deploy"), "{told}");
    for (trouble, wanted) in [
        (Trouble::Answer(404, Vec::new(), br#"{"errors":["no handler for route"]}"#.to_vec()), "--vault-mount"),
        (Trouble::Answer(503, Vec::new(), br#"{"errors":["Vault is sealed"]}"#.to_vec()), "sealed"),
        (Trouble::Answer(200, Vec::new(), b"<html>".to_vec()), "did not answer as Vault does"),
        (Trouble::Answer(307, vec![("location", "https://elsewhere.test/")], Vec::new()), "redirect"),
    ] {
        vault.troubles.lock().unwrap().push(trouble);
        let told = words(&exec(&[], &["touch", cloud.place.file("ran").to_str().unwrap()]));
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
    assert!(!cloud.place.file("ran").exists(), "nothing runs without its credentials");
}

//! `lanyard gitlab hooks`: the real program against a GitLab that answers as a script says, rightly and in every bad way.

use crate::https::{Script, Scripted, Trouble, json_answer};
use crate::issuer::{AUDIENCE, FakeIssuer};
use crate::server::{lanyard, words};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::process::Command;

const TOKEN: &str = "glpat-Az_09-not-to-be-told";
const SECRET: &str = "what-only-gitlab-and-we-know";
const SIGNING: &str = "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";
const URL: &str = "https://lanyard.example/v1/hooks/gitlab/corp";

/// What GitLab holds, and what it was asked.
#[derive(Default)]
struct Gitlab {
    /// By the path of the list.
    hooks: Mutex<BTreeMap<String, Vec<Value>>>,
    troubles: Mutex<VecDeque<Trouble>>,
    asked: Mutex<Vec<String>>,
    /// Takes a signing token, as one whose feature flag is off: and does nothing.
    signs_nothing: bool,
}

impl Script for Gitlab {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let (method, path) = (head.method, head.uri.path().strip_prefix("/api/v4/").unwrap().to_owned());
        self.asked.lock().unwrap().push(format!("{method} {path}"));
        let trouble = self.troubles.lock().unwrap().pop_front();
        if let Some(trouble) = trouble {
            return trouble.answer().await;
        }
        if head.headers.get("private-token").is_none_or(|token| token != TOKEN) {
            return json_answer(401, &json!({"message": "401 Unauthorized"}));
        }
        let page =
            head.uri.query().and_then(|query| query.rsplit_once("&page=")).map_or(1, |(_, page)| page.parse().unwrap());
        self.do_as_told((&method, &path), page, &body)
    }
}

impl Gitlab {
    fn do_as_told(&self, (method, path): (&Method, &str), page: usize, body: &[u8]) -> Response<Full<Bytes>> {
        const PAGE: usize = 25;
        let mut hooks = self.hooks.lock().unwrap();
        let none = || json_answer(404, &json!({"error": "404 Not Found"}));
        if *method == Method::GET {
            let Some(all) = hooks.get(path) else { return none() };
            let from = all.len().min((page - 1) * PAGE);
            let to = all.len().min(page * PAGE);
            let mut answer = json_answer(200, &json!(all[from..to]));
            let next = if to < all.len() { (page + 1).to_string() } else { String::new() };
            answer.headers_mut().insert("x-next-page", next.parse().unwrap());
            return answer;
        }
        let mut sent: Value = serde_json::from_slice(body).unwrap();
        let sent = sent.as_object_mut().unwrap();
        for (secret, shown) in [("token", "token_present"), ("signing_token", "signing_token_present")] {
            if let Some(value) = sent.remove(secret) {
                assert!([SECRET, SIGNING].contains(&value.as_str().unwrap()));
                sent.insert(shown.to_owned(), json!(secret == "token" || !self.signs_nothing));
            }
        }
        if *method == Method::POST {
            let Some(list) = hooks.get_mut(path) else { return none() };
            let mut hook = json!({"id": 100 + list.len(), "token_present": false, "signing_token_present": false});
            hook.as_object_mut().unwrap().extend(sent.clone());
            list.push(hook.clone());
            return json_answer(201, &hook);
        }
        let (list, id) = path.rsplit_once('/').unwrap();
        let Some(hook) = hooks.get_mut(list).unwrap().iter_mut().find(|hook| hook["id"].as_u64() == id.parse().ok())
        else {
            return none();
        };
        hook.as_object_mut().unwrap().extend(sent.clone());
        let answer = json_answer(200, hook);
        drop(hooks);
        answer
    }
}

/// A GitLab that runs, and a server's configuration that knows it.
struct Scene {
    folder: TempDir,
    gitlab: Arc<Gitlab>,
    _serving: Scripted,
}

impl Scene {
    async fn open() -> Self {
        Self::with(Gitlab::default()).await
    }

    /// With these webhooks in the group.
    async fn of_group(hooks: Value) -> Self {
        let scene = Self::open().await;
        scene.gitlab.hooks.lock().unwrap().insert(GROUP.to_owned(), serde_json::from_value(hooks).unwrap());
        scene
    }

    async fn with(gitlab: Gitlab) -> Self {
        let (folder, gitlab) = (TempDir::new().unwrap(), Arc::new(gitlab));
        let serving = Scripted::serve(Arc::clone(&gitlab)).await;
        let put = |name: &str, text: &[u8]| {
            fs::write(folder.path().join(name), text).unwrap();
            fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        };
        put("gitlab-ca.pem", serving.ca_pem.as_bytes());
        put("api-token", TOKEN.as_bytes());
        put("secret", SECRET.as_bytes());
        put("signing", SIGNING.as_bytes());
        put("secret-of-one", b"what-only-gitlab-and-we-know-of-4711");
        put("jwks.json", &FakeIssuer::new().jwks());
        put("policy.toml", b"[[rule]]\nname = \"r\"\nid = \"/{project_path}/-/x\"\nwhen = { issuer = \"corp\" }\n");
        put("server.toml", config(serving.port).as_bytes());
        Self { folder, gitlab, _serving: serving }
    }

    async fn hooks(&self, arguments: &[&str]) -> Output {
        let mut command = Command::from(lanyard());
        command.args(["gitlab", "hooks"]).args(arguments).args(["--server", "https://lanyard.example", "--config"]);
        let output = command.arg(self.folder.path().join("server.toml")).output().await.unwrap();
        let all = words(&output);
        for secret in [TOKEN, SECRET, SIGNING] {
            assert!(!all.contains(secret), "{all}");
        }
        output
    }

    /// What it says as JSON of its only place, and its exit code.
    async fn place(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let output = self.hooks(&[arguments, &["--json"]].concat()).await;
        let mut facts: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", words(&output)));
        assert_eq!(facts["url"], URL);
        (output.status.code(), facts["places"][0].take())
    }

    fn trouble(&self, troubles: impl IntoIterator<Item = Trouble>) {
        self.gitlab.troubles.lock().unwrap().extend(troubles);
        self.gitlab.asked.lock().unwrap().clear();
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.gitlab.asked.lock().unwrap())
    }

    fn there(&self, path: &str) -> Vec<Value> {
        self.gitlab.hooks.lock().unwrap()[path].clone()
    }
}

const GROUP: &str = "groups/acme%2Fpayments/hooks";

fn config(port: u16) -> String {
    format!(
        r#"
trust_domain = "ci.example.org"
data_dir = "data"
policy_file = "policy.toml"
[[issuer]]
name = "corp"
url = "https://127.0.0.1:{port}"
audience = "{AUDIENCE}"
jwks_file = "jwks.json"
[issuer.api]
ca_file = "gitlab-ca.pem"
token_file = "api-token"
[[issuer.hook]]
group = "Acme/payments"
secret_file = "secret"
signing_token_file = "signing"
[[issuer.hook]]
project = 4711
secret_file = "secret-of-one"
"#
    )
}

/// Somebody else's webhook.
fn foreign(id: u64) -> Value {
    json!({"id": id, "url": "https://chat.example/hook", "push_events": true, "enable_ssl_verification": false})
}

#[tokio::test]
async fn plan_says_what_apply_does_once_and_foreign_webhooks_stay_as_they_are() {
    // Ours would be on the third page.
    let scene = Scene::of_group(json!((1..=60).map(foreign).collect::<Vec<_>>())).await;
    let group = ["--group", "acme/payments"];
    let (code, place) = scene.place(&[&["plan"], &group[..]].concat()).await;
    assert_eq!((code, &place["state"], &place["hook"]), (Some(0), &json!("to add"), &Value::Null));
    assert_eq!(scene.asked(), [format!("GET {GROUP}"), format!("GET {GROUP}"), format!("GET {GROUP}")]);
    let (code, place) = scene.place(&[&["apply"], &group[..]].concat()).await;
    assert_eq!((code, &place["state"], &place["wrong"]), (Some(0), &json!("added"), &json!([])));
    assert!(scene.asked().contains(&format!("POST {GROUP}")));
    for action in ["plan", "apply"] {
        let (code, place) = scene.place(&[&[action], &group[..]].concat()).await;
        assert_eq!((code, &place["state"]), (Some(0), &json!("as wanted")));
        assert!(scene.asked().iter().all(|asked| asked.starts_with("GET")), "nothing is to be done");
    }
    let there = scene.there(GROUP);
    assert_eq!(there[..60], (1..=60).map(foreign).collect::<Vec<_>>());
    assert_eq!((there.len(), &there[60]["url"], &there[60]["push_events"]), (61, &json!(URL), &json!(false)));
    let (_, place) = scene.place(&[&["apply", "--secrets"], &group[..]].concat()).await;
    assert_eq!(place["state"], "changed", "the secrets are sent again where that is asked for");
}

#[tokio::test]
async fn a_webhook_of_ours_that_is_wrong_is_shown_with_what_is_wrong_and_put_right() {
    let old = json!({
        "id": 7, "url": URL.replace("example/", "example:443/"), "push_events": true, "job_events": false,
        "pipeline_events": true, "deployment_events": true, "note_events": true, "enable_ssl_verification": false,
        "token_present": true, "signing_token_present": false, "alert_status": "disabled",
    });
    let scene = Scene::of_group(json!([foreign(1), old])).await;
    let group = ["--group", "acme/payments"];
    let (code, place) = scene.place(&[&["plan"], &group[..]].concat()).await;
    assert_eq!((code, &place["state"], &place["hook"]), (Some(0), &json!("to change"), &json!(7)));
    let wrong =
        json!(["job_events off", "note_events on", "push_events on", "no SSL verification", "no signing token"]);
    assert_eq!(place["wrong"], wrong);
    assert!(place["remarks"][0].as_str().unwrap().contains("has stopped calling it (disabled)"), "{place}");
    let table = words(&scene.hooks(&[&["plan"], &group[..]].concat()).await);
    assert!(table.contains("group acme/payments\t7\tto change\tjob_events off; note_events on;"), "{table}");
    assert_eq!(scene.there(GROUP)[1], old, "a plan changes nothing");
    let (code, place) = scene.place(&[&["apply"], &group[..]].concat()).await;
    assert_eq!((code, &place["state"], &place["hook"]), (Some(0), &json!("changed"), &json!(7)));
    assert_eq!(scene.there(GROUP)[0], foreign(1));
}

#[tokio::test]
async fn where_gitlab_takes_a_signing_token_and_keeps_none_apply_fails_and_says_so() {
    let gitlab = Gitlab { signs_nothing: true, ..Gitlab::default() };
    gitlab.hooks.lock().unwrap().insert(GROUP.to_owned(), Vec::new());
    let scene = Scene::with(gitlab).await;
    let (code, place) = scene.place(&["apply", "--group", "acme/payments"]).await;
    assert_eq!(
        (code, &place["state"], &place["wrong"]),
        (Some(1), &json!("not as wanted"), &json!(["no signing token"]))
    );
}

#[tokio::test]
async fn without_group_webhooks_the_projects_are_named_and_take_the_groups_hook() {
    let scene = Scene::open().await;
    let projects = json!([{"id": 4, "path_with_namespace": "acme/payments/api"}, {"id": 5, "path_with_namespace": "acme/payments/web"}]);
    let put = |path: &str, list: Value| {
        scene.gitlab.hooks.lock().unwrap().insert(path.to_owned(), serde_json::from_value(list).unwrap());
    };
    put("groups/acme%2Fpayments/projects", projects);
    put("projects/4/hooks", json!([foreign(1)]));
    put("projects/acme%2Fpayments%2Fweb/hooks", json!([]));
    put("projects/4711/hooks", json!([]));
    let output = scene.hooks(&["plan", "--group", "acme/payments"]).await;
    let told = words(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("4\tacme/payments/api\n5\tacme/payments/web") && told.contains("GitLab Premium"), "{told}");
    assert!(told.contains("lanyard gitlab hooks apply --group acme/payments --project 4 --project 5"), "{told}");
    let output = scene.hooks(&["plan", "--group", "acme/payments", "--json"]).await;
    let facts: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &facts["projects"][1]["id"]), (Some(1), &json!(5)));
    let both = ["--group", "acme/payments", "--project", "4", "--project", "acme/payments/web"];
    let output = scene.hooks(&[&["apply"], &both[..]].concat()).await;
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(
        (scene.there("projects/4/hooks").len(), scene.there("projects/acme%2Fpayments%2Fweb/hooks").len()),
        (2, 1)
    );

    let output = scene.hooks(&["apply", "--group", "acme/payments", "--project", "4", "--project", "99"]).await;
    assert!(output.status.code() == Some(1) && words(&output).contains("may not see it"), "{}", words(&output));
    assert!(words(&output).contains("project 4\t101\tas wanted"), "what was done is told: {}", words(&output));

    let (_, place) = scene.place(&["plan", "--project", "4711"]).await;
    assert_eq!(place["state"], "to add", "a project with a hook of its own");
    for (arguments, told) in [
        (
            &["--project", "12"][..],
            "no [[issuer.hook]] of corp is for project 12; there are hooks for group acme/payments, project 4711",
        ),
        (&["--project", "acme/api"], "--project is the one number"),
        (&["--group", "acme"], "no [[issuer.hook]] of corp is for group acme"),
        (&["--group", "../admin"], "is no path of a group"),
        (&[], "say whose webhooks"),
        (&["--group", "acme/payments", "--issuer", "other"], "no issuer \"other\""),
    ] {
        let output = scene.hooks(&[&["plan"], arguments].concat()).await;
        assert_eq!(output.status.code(), Some(2), "{}", words(&output));
        assert!(words(&output).contains(told), "{}", words(&output));
    }
}

#[tokio::test]
async fn a_gitlab_that_wants_patience_gets_some() {
    let scene = Scene::of_group(json!([])).await;
    let busy = |wait: &'static str| Trouble::Answer(429, vec![("retry-after", wait)], Vec::new());
    scene.trouble([busy("1"), busy("0")]);
    let (code, place) = scene.place(&["apply", "--group", "acme/payments"]).await;
    assert_eq!((code, &place["state"]), (Some(0), &json!("added")));
    assert_eq!(scene.asked().len(), 4);
    scene.trouble([busy("3600")]);
    let output = scene.hooks(&["plan", "--group", "acme/payments"]).await;
    assert!(words(&output).contains("wants to be left alone for 3600 s"), "{}", words(&output));
    assert_eq!((output.status.code(), scene.asked().len()), (Some(1), 1));
    scene.trouble([busy("0"), busy("0"), busy("0")]);
    let output = scene.hooks(&["plan", "--group", "acme/payments"]).await;
    assert_eq!((output.status.code(), scene.asked().len()), (Some(1), 3), "and no more");
}

#[tokio::test]
async fn every_bad_answer_is_told_with_what_to_do_and_nothing_is_changed() {
    let scene = Scene::of_group(json!([])).await;
    let answer = |status, body: &[u8]| Trouble::Answer(status, Vec::new(), body.to_vec());
    let echo = format!(r#"{{"message": "token is odd: {SECRET}"}}"#);
    for (trouble, code, told) in [
        (answer(401, b"{}"), 1, "is wrong, expired or revoked"),
        (answer(403, b"{}"), 1, "it needs the scope api"),
        (answer(404, b"{}"), 1, "may not see it"),
        (answer(422, echo.as_bytes()), 1, "try again later"),
        (answer(500, b"<html>500</html>"), 1, "try again later"),
        (answer(200, b"<html>a page to sign in</html>"), 1, "does not answer as GitLab's API does"),
        (answer(200, b"{\"message\": \"no list\"}"), 1, "does not answer as GitLab's API does"),
        (Trouble::Answer(302, vec![("location", "https://elsewhere.example/")], Vec::new()), 1, "none is followed"),
        (Trouble::Answer(200, vec![("x-next-page", "1")], b"[]".to_vec()), 1, "pages without end"),
        (answer(200, &vec![b' '; 300_000]), 1, "more than"),
        (Trouble::Silence, 3, "run it again"),
    ] {
        scene.trouble([trouble]);
        let output = scene.hooks(&["apply", "--group", "acme/payments"]).await;
        assert_eq!(output.status.code(), Some(code), "{told}: {}", words(&output));
        assert!(words(&output).contains(told), "{told}: {}", words(&output));
        assert!(scene.asked().iter().all(|asked| asked.starts_with("GET")));
    }
    for (body, told) in [(r#"{"error": "Invalid url given"}"#, "Invalid url given"), (&*echo, "try again later")] {
        scene.trouble([answer(200, b"[]"), answer(422, body.as_bytes())]);
        let output = scene.hooks(&["apply", "--group", "acme/payments"]).await;
        assert!(words(&output).contains(told), "{}", words(&output));
    }
    assert!(scene.there(GROUP).is_empty());

    let config = scene.folder.path().join("server.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("ca_file = \"gitlab-ca.pem\"\n", "")).unwrap();
    let output = scene.hooks(&["plan", "--group", "acme/payments"]).await;
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    assert!(words(&output).contains("set ca_file in [issuer.api]"), "{}", words(&output));
    fs::set_permissions(scene.folder.path().join("secret"), fs::Permissions::from_mode(0o644)).unwrap();
    let output = scene.hooks(&["plan", "--group", "acme/payments"]).await;
    assert!(output.status.code() == Some(1) && words(&output).contains("chmod 600"), "{}", words(&output));
}

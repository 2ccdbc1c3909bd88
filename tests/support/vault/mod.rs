//! A scripted Vault: its tokens, its logins, its errors. What is mounted in it stands in files of its own.

pub(crate) mod transit;

use super::https::{Script, Scripted, Trouble, json_answer};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use lanyard::crypto::Random;
use lanyard::vault::{VaultAuth, VaultSettings};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// The token that an operator has put into a file.
pub(crate) const TOKEN: &str = "hvs.of-an-operator";
const SECRET_ID: &str = "2f6d4e0b-the-role-s-secret";
const JWT: &str = "eyJh.service-account.token";

/// Something that is mounted in it.
pub(crate) trait Engine: Send + Sync + 'static {
    /// To a verb (`GET`, `LIST`, `POST`, `DELETE`) and the path below the mount.
    fn answer(&self, verb: &str, path: &str, body: &Value) -> (u16, Value);
}

/// An answer with data, as Vault wraps it.
pub(crate) fn data(data: &Value) -> (u16, Value) {
    let wrapped = json!({
        "request_id": "6d8a52cf-2f5c-0e5a-6fd4-000000000001", "lease_id": "", "renewable": false, "lease_duration": 0,
        "data": data, "wrap_info": null, "warnings": null, "auth": null,
    });
    (200, wrapped)
}

/// A refusal, as Vault words it.
pub(crate) fn error(status: u16, said: &str) -> (u16, Value) {
    (status, json!({ "errors": [said] }))
}

/// No data, and nothing wrong.
pub(crate) fn done() -> (u16, Value) {
    (204, Value::Null)
}

#[derive(Default)]
struct State {
    engines: Vec<(&'static str, Arc<dyn Engine>)>,
    /// How long each lives.
    tokens: Mutex<BTreeMap<String, u64>>,
    /// Beginnings of paths that no token may reach.
    denied: Mutex<BTreeSet<String>>,
    /// For the next calls of a path that holds the text.
    troubles: Mutex<Vec<(String, Trouble)>>,
    asked: Mutex<Vec<String>>,
    is_sealed: AtomicBool,
}

/// A Vault that runs until it is dropped.
pub(crate) struct ScriptedVault {
    state: Arc<State>,
    served: Scripted,
    pub(crate) folder: TempDir,
}

impl ScriptedVault {
    /// With engines by their mounts, none of which begins another's.
    pub(crate) async fn with(engines: Vec<(&'static str, Arc<dyn Engine>)>) -> Self {
        let tokens = Mutex::new(BTreeMap::from([(TOKEN.to_owned(), 3600)]));
        let state = Arc::new(State { engines, tokens, ..State::default() });
        let (served, folder) = (Scripted::serve(Arc::clone(&state)).await, TempDir::new().unwrap());
        for (name, text) in [("token", TOKEN), ("secret-id", SECRET_ID), ("jwt", JWT), ("ca.pem", &served.ca_pem)] {
            fs::write(folder.path().join(name), text).unwrap();
            fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        Self { state, served, folder }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn address(&self) -> String {
        format!("https://127.0.0.1:{}", self.served.port)
    }

    /// How a client comes in, by the operator's token.
    pub(crate) fn settings(&self) -> VaultSettings {
        self.settings_by(VaultAuth::TokenFile(self.file("token")))
    }

    pub(crate) fn settings_by(&self, auth: VaultAuth) -> VaultSettings {
        let ca_pem = Some(self.served.ca_pem.clone().into_bytes());
        VaultSettings { address: self.address(), namespace: None, ca_pem, auth }
    }

    pub(crate) fn approle(&self) -> VaultAuth {
        let (mount, role_id) = ("approle".to_owned(), "lanyard-role".to_owned());
        VaultAuth::AppRole { mount, role_id, secret_id_file: self.file("secret-id") }
    }

    pub(crate) fn kubernetes(&self) -> VaultAuth {
        VaultAuth::Jwt { mount: "k8s".to_owned(), role: "lanyard".to_owned(), jwt_file: self.file("jwt") }
    }

    /// The section of a server's configuration.
    pub(crate) fn section(&self) -> String {
        let (address, folder) = (self.address(), self.folder.path().display());
        format!("[vault]\naddress = \"{address}\"\nca_file = \"{folder}/ca.pem\"\ntoken_file = \"{folder}/token\"\n")
    }

    /// In place of the right answer, for the next calls of a path that holds the text.
    pub(crate) fn trouble(&self, path: &str, troubles: impl IntoIterator<Item = Trouble>) {
        self.state.troubles.lock().unwrap().extend(troubles.into_iter().map(|trouble| (path.to_owned(), trouble)));
    }

    /// As `vault operator seal` does, and `unseal`.
    pub(crate) fn seal(&self, is_sealed: bool) {
        self.state.is_sealed.store(is_sealed, Ordering::Relaxed);
    }

    /// As a policy that does not allow it.
    pub(crate) fn deny(&self, beginning: &str) {
        self.state.denied.lock().unwrap().insert(beginning.to_owned());
    }

    pub(crate) fn allow_all(&self) {
        self.state.denied.lock().unwrap().clear();
    }

    /// Takes all tokens back, as `vault token revoke` does.
    pub(crate) fn revoke_tokens(&self) {
        self.state.tokens.lock().unwrap().clear();
    }

    /// What was asked since this was asked last: verb, path, and the namespace if one was named.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.state.asked.lock().unwrap())
    }
}

impl Script for State {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path = head.uri.path().strip_prefix("/v1/").unwrap_or_default();
        let verb = match (&head.method, head.uri.query()) {
            (&Method::GET, Some("list=true")) => "LIST",
            (method, _) => method.as_str(),
        };
        let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let namespace = header("x-vault-namespace").map(|name| format!(" in {name}")).unwrap_or_default();
        self.asked.lock().unwrap().push(format!("{verb} {path}{namespace}"));
        if self.is_sealed.load(Ordering::Relaxed) {
            return json_answer(503, &json!({ "errors": ["Vault is sealed"] }));
        }
        if let Some(trouble) = self.trouble(path) {
            return trouble.answer().await;
        }
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let (status, answer) = self.answer_to((verb, path), header("x-vault-token").as_deref(), &body);
        if answer.is_null() {
            Response::builder().status(status).body(Full::default()).unwrap()
        } else {
            json_answer(status, &answer)
        }
    }
}

impl State {
    fn trouble(&self, path: &str) -> Option<Trouble> {
        let mut troubles = self.troubles.lock().unwrap();
        let at = troubles.iter().position(|(part, _)| path.contains(part.as_str()))?;
        Some(troubles.remove(at).1)
    }

    fn answer_to(&self, (verb, path): (&str, &str), token: Option<&str>, body: &Value) -> (u16, Value) {
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        match path {
            "auth/approle/login" if text("role_id") == "lanyard-role" && text("secret_id") == SECRET_ID => {
                return self.let_in(60);
            }
            "auth/k8s/login" if text("role") == "lanyard" && text("jwt") == JWT => return self.let_in(60),
            "auth/approle/login" => return error(400, "invalid role or secret ID"),
            "auth/k8s/login" => return error(403, "permission denied"),
            _ => {}
        }
        let life = token.and_then(|token| self.tokens.lock().unwrap().get(token).copied());
        let Some(life) = life else { return error(403, "permission denied") };
        if self.denied.lock().unwrap().iter().any(|beginning| path.starts_with(beginning.as_str())) {
            return error(403, "1 error occurred:\n\t* permission denied\n\n");
        }
        match path {
            "auth/token/lookup-self" => data(&json!({ "ttl": life, "renewable": life < 10_000, "type": "service" })),
            "auth/token/renew-self" => of_token(token.unwrap_or_default(), life),
            _ => self.engine(verb, path, body),
        }
    }

    fn engine(&self, verb: &str, path: &str, body: &Value) -> (u16, Value) {
        let below = |mount: &str| path.strip_prefix(mount)?.strip_prefix('/').map(str::to_owned);
        let found = self.engines.iter().find_map(|(mount, engine)| Some((engine, below(mount)?)));
        let none = || error(404, &format!("no handler for route {path:?}. route entry not found."));
        found.map_or_else(none, |(engine, path)| engine.answer(verb, &path, body))
    }

    fn let_in(&self, seconds: u64) -> (u16, Value) {
        let token = format!("hvs.login-{}", Random::system().bytes::<8>().map(|byte| byte.to_string()).concat());
        self.tokens.lock().unwrap().insert(token.clone(), seconds);
        of_token(&token, seconds)
    }
}

fn of_token(token: &str, seconds: u64) -> (u16, Value) {
    let auth = json!({
        "client_token": token, "accessor": "0e9e354a", "policies": ["default", "lanyard"], "metadata": {},
        "lease_duration": seconds, "renewable": true, "token_type": "service", "orphan": true,
    });
    (200, json!({ "request_id": "6d8a52cf-2f5c-0e5a-6fd4-000000000002", "data": null, "warnings": null, "auth": auth }))
}

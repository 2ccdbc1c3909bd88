//! What plays a cluster's API: the way to it, and its words.

use super::https::Scripted;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// How `kubectl` comes to it; `user` says as whom.
pub(crate) fn kubeconfig(served: &Scripted, user: &Value) -> String {
    let address = format!("https://127.0.0.1:{}", served.port);
    let cluster = json!({ "server": address, "certificate-authority-data": STANDARD.encode(&served.ca_pem) });
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{ "name": "test", "cluster": cluster }],
        "users": [{ "name": "test", "user": user }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
    });
    config.to_string()
}

/// What the API says instead of an object.
pub(crate) fn status(code: u16, said: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "message": said, "reason": said, "code": code,
    })
}

/// A line of a watch.
pub(crate) fn event(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({ "type": kind, "object": object }))
}

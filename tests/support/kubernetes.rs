//! The way to a server that plays a cluster's API.

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

//! What an object of a cluster must hold, and what is to be done about the one that is found: pure.

use crate::authority::Published;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// By this name the API knows which fields are ours.
pub(super) const FIELD_MANAGER: &str = "lanyard";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const TRUST_DOMAIN: &str = "lanyard/trust-domain";
const SEQUENCE: &str = "lanyard/sequence";

/// Which kind of object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ObjectKind {
    /// `certificates.k8s.io` `ClusterTrustBundle`.
    ClusterTrustBundle {
        /// Whose certificates it verifies; none where it is for no signer.
        signer: Option<String>,
    },
    /// `ConfigMap`.
    ConfigMap {
        /// Its namespace.
        namespace: String,
        /// Under which keys of `data` the bundle stands.
        keys: MapKeys,
    },
}

/// Keys of a ConfigMap; at least one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MapKeys {
    /// For the certificates.
    pub pem: Option<String>,
    /// For the SPIFFE document.
    pub spiffe: Option<String>,
}

/// What is to be done about an object.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Due {
    /// It holds what it should.
    Nothing,
    /// It belongs to somebody else.
    NotOurs(String),
    /// It holds more than we know: another server of this trust domain wrote it.
    Newer(u64),
    Write(Write),
}

/// How an object is written.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Write {
    /// Whether fields are taken that others have come to manage.
    pub(super) force: bool,
    /// What became of what we had written, where somebody changed it.
    pub(super) restores: Option<String>,
}

impl ObjectKind {
    /// The whole of what we say of it, as the API takes it by server-side apply.
    pub(super) fn wanted(&self, name: &str, version: &str, published: &Published) -> Value {
        let bundle = &published.bundle;
        let metadata = json!({
            "name": name,
            "labels": { MANAGED_BY: FIELD_MANAGER },
            "annotations": { TRUST_DOMAIN: bundle.trust_domain.as_str(), SEQUENCE: bundle.sequence.to_string() },
        });
        match self {
            Self::ClusterTrustBundle { signer } => {
                let mut spec = json!({ "trustBundle": published.pem });
                if let (Some(signer), Some(spec)) = (signer, spec.as_object_mut()) {
                    spec.insert("signerName".to_owned(), json!(signer));
                }
                let version = format!("certificates.k8s.io/{version}");
                json!({ "apiVersion": version, "kind": "ClusterTrustBundle", "metadata": metadata, "spec": spec })
            }
            Self::ConfigMap { namespace, keys } => {
                let json_text = String::from_utf8_lossy(&published.json).into_owned();
                let pem = keys.pem.clone().map(|key| (key, json!(published.pem)));
                let spiffe = keys.spiffe.clone().map(|key| (key, json!(json_text)));
                let data: Map<String, Value> = pem.into_iter().chain(spiffe).collect();
                let mut metadata = metadata;
                if let Some(metadata) = metadata.as_object_mut() {
                    metadata.insert("namespace".to_owned(), json!(namespace));
                }
                json!({ "apiVersion": version, "kind": "ConfigMap", "metadata": metadata, "data": data })
            }
        }
    }
}

/// What is to be done, where `wrote` says whether this process has written the object before.
pub(super) fn due(found: Option<&Value>, wanted: &Value, (take_over, wrote): (bool, bool)) -> Due {
    let Some(found) = found else {
        let restores = wrote.then(|| "somebody deleted it".to_owned());
        return Due::Write(Write { force: take_over, restores });
    };
    let is_ours = [("labels", MANAGED_BY), ("annotations", TRUST_DOMAIN)]
        .into_iter()
        .all(|(of, name)| word(found, of, name).is_some() && word(found, of, name) == word(wanted, of, name));
    if !is_ours && !take_over {
        return Due::NotOurs(owner(found));
    }
    if holds(found, wanted) {
        return Due::Nothing;
    }
    let [there, ours] = [found, wanted].map(|object| word(object, "annotations", SEQUENCE)?.parse::<u64>().ok());
    if let Some(newer) = there.filter(|there| is_ours && Some(*there) > ours && is_of_a_server(found, wanted)) {
        return Due::Newer(newer);
    }
    let restores = (is_ours && there == ours).then(|| match editor(found) {
        Some(editor) => format!("{editor} edited it"),
        None => "somebody edited it".to_owned(),
    });
    // Whoever edits by hand is overruled; whoever declares the object anew all the time would do the same to us.
    let force = take_over || is_ours && !managers(found, "Apply").any(|other| other != FIELD_MANAGER);
    Due::Write(Write { force, restores })
}

/// Whether an object's number is another server's word: a key of ours is in the object, and no editor wrote the number. Whoever may
/// edit an object may write any number, and that alone must not keep what we publish out.
fn is_of_a_server(found: &Value, wanted: &Value) -> bool {
    let [there, ours] = [found, wanted].map(|object| keys_in(object, wanted));
    let writes_numbers = |entry: &Value| {
        let annotations = entry.get("fieldsV1").and_then(|fields| fields.get("f:metadata")?.get("f:annotations"));
        annotations.is_some_and(|fields| fields.get(format!("f:{SEQUENCE}")).is_some())
    };
    let is_editor = |entry: &&Value| entry.get("manager").is_some_and(|said| said != FIELD_MANAGER);
    !there.is_disjoint(&ours) && !managed_fields(found).filter(is_editor).any(writes_numbers)
}

/// The keys in those fields of an object that are ours to fill: certificates by their DER, others by their `kid`.
fn keys_in(object: &Value, wanted: &Value) -> BTreeSet<String> {
    let fields = ["data", "spec"].into_iter().filter_map(|of| Some((object.get(of)?, wanted.get(of)?.as_object()?)));
    let texts = fields.flat_map(|(there, ours)| ours.keys().filter_map(|name| there.get(name)?.as_str()));
    texts.flat_map(|text| keys_of_document(text).unwrap_or_else(|| certificates_of(text))).collect()
}

/// Of a SPIFFE bundle (SPIFFE Trust Domain and Bundle §4).
fn keys_of_document(text: &str) -> Option<Vec<String>> {
    let document: Value = serde_json::from_str(text).ok()?;
    let certificate = |key: &Value| Some(key.get("x5c")?.get(0)?.as_str()?.to_owned());
    let name = |key: &Value| Some(key.get("kid")?.as_str()?.to_owned());
    let keys = document.get("keys")?.as_array()?;
    Some(keys.iter().filter_map(|key| certificate(key).or_else(|| name(key))).collect())
}

/// Of PEM: `x5c` has the same base64, without the ends of lines (RFC 7517 §4.7).
fn certificates_of(text: &str) -> Vec<String> {
    let bodies = text.split("-----BEGIN CERTIFICATE-----").skip(1).filter_map(|rest| rest.split_once("-----END"));
    bodies.map(|(body, _)| body.split_whitespace().collect()).collect()
}

/// Whether an object says all that is wanted; what others add is theirs. The API's own version of the kind does not count.
pub(super) fn holds(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted
            .iter()
            .filter(|(name, _)| *name != "apiVersion" && *name != "kind")
            .all(|(name, value)| found.get(name).is_some_and(|there| holds(there, value))),
        (found, wanted) => found == wanted,
    }
}

fn word<'o>(object: &'o Value, of: &str, name: &str) -> Option<&'o str> {
    object.get("metadata")?.get(of)?.get(name)?.as_str()
}

/// Whose an object is, as far as it says.
fn owner(object: &Value) -> String {
    let of_domain = word(object, "annotations", TRUST_DOMAIN).map(|other| format!("the trust domain {other}'s"));
    let managed = word(object, "labels", MANAGED_BY).filter(|other| *other != FIELD_MANAGER).map(str::to_owned);
    let writer = || managers(object, "").next().map(str::to_owned);
    of_domain.or(managed).or_else(writer).unwrap_or_else(|| "somebody else".to_owned())
}

/// Who wrote last, of those who are not us.
fn editor(object: &Value) -> Option<&str> {
    managers(object, "Update").filter(|other| *other != FIELD_MANAGER).last()
}

/// Who manages fields of it by an operation; by any where none is named.
fn managers<'o>(object: &'o Value, operation: &str) -> impl Iterator<Item = &'o str> {
    let by = move |entry: &&Value| operation.is_empty() || entry.get("operation").is_some_and(|said| said == operation);
    managed_fields(object).filter(by).filter_map(|entry| entry.get("manager")?.as_str())
}

/// Who manages which of its fields, one entry each (Kubernetes, "Server-Side Apply").
fn managed_fields(object: &Value) -> impl Iterator<Item = &Value> {
    let fields = object.get("metadata").and_then(|metadata| metadata.get("managedFields")).and_then(Value::as_array);
    fields.into_iter().flatten()
}

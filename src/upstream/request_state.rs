//! What the status of a `CertificateRequest` says: a pure reading of its conditions.

use serde_json::Value;

/// How far a request has come. Texts are what its last condition says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum RequestState {
    /// Somebody approved it; it is not signed.
    Approved(String),
    /// Somebody said no: that is final.
    Denied(String),
    /// Its issuer could not: that is final too.
    Failed(String),
    /// The certificate, in base64 as it stands there.
    Signed(String),
    /// Nobody has looked at it.
    Unapproved,
}

/// Reads the object's `status`.
pub(super) fn state_of(object: &Value) -> RequestState {
    let status = &object["status"];
    let condition = |kind: &str| {
        let all = status["conditions"].as_array();
        all.and_then(|all| all.iter().find(|one| one["type"] == kind))
    };
    let is_true = |kind: &str| condition(kind).filter(|one| one["status"] == "True");
    let words = |one: &Value| {
        let [reason, message] = ["reason", "message"].map(|key| one[key].as_str().unwrap_or_default());
        [reason, message].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ")
    };
    if let Some(denied) = is_true("Denied") {
        return RequestState::Denied(words(denied));
    }
    if let Some(invalid) = is_true("InvalidRequest") {
        return RequestState::Failed(words(invalid));
    }
    let ready = condition("Ready");
    if let Some(failed) = ready.filter(|one| one["reason"] == "Failed" || one["reason"] == "Denied") {
        return RequestState::Failed(words(failed));
    }
    let certificate = status["certificate"].as_str().filter(|text| !text.is_empty());
    if let (Some(_ready), Some(certificate)) = (is_true("Ready"), certificate) {
        return RequestState::Signed(certificate.to_owned());
    }
    match is_true("Approved") {
        Some(approved) => RequestState::Approved(words(ready.unwrap_or(approved))),
        None => RequestState::Unapproved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_state_of_a_request_is_told_from_its_conditions() {
        let of = |conditions: Value, certificate: &str| {
            state_of(&json!({ "status": { "conditions": conditions, "certificate": certificate } }))
        };
        let one = |kind: &str, status: &str, reason: &str| json!({ "type": kind, "status": status, "reason": reason, "message": "words" });
        let said = |reason: &str| format!("{reason}: words");
        assert_eq!(state_of(&json!({})), RequestState::Unapproved);
        assert_eq!(of(json!([]), ""), RequestState::Unapproved);
        assert_eq!(of(json!([one("Approved", "False", "x")]), ""), RequestState::Unapproved);
        let approved = one("Approved", "True", "cert-manager.io");
        assert_eq!(of(json!([approved]), ""), RequestState::Approved(said("cert-manager.io")));
        let pending = one("Ready", "False", "Pending");
        assert_eq!(of(json!([approved, pending]), ""), RequestState::Approved(said("Pending")));
        let ready = one("Ready", "True", "Issued");
        assert_eq!(of(json!([approved, ready]), "Q0VSVA=="), RequestState::Signed("Q0VSVA==".to_owned()));
        assert_eq!(
            of(json!([approved, ready]), ""),
            RequestState::Approved(said("Issued")),
            "a word is no certificate"
        );
        assert_eq!(of(json!([approved]), "Q0VSVA=="), RequestState::Approved(said("cert-manager.io")));
        let failed = one("Ready", "False", "Failed");
        assert_eq!(of(json!([approved, failed]), "Q0VSVA=="), RequestState::Failed(said("Failed")));
        assert_eq!(of(json!([one("InvalidRequest", "True", "x")]), ""), RequestState::Failed(said("x")));
        let denied = one("Denied", "True", "policy");
        assert_eq!(of(json!([denied, ready]), "Q0VSVA=="), RequestState::Denied(said("policy")));
    }
}

//! How each mesh matches a peer against an object, written apart from what renders the objects.
//!
//! Istio: `pilot/pkg/security/authz/model` and `matcher`. Linkerd: `identity_match.rs` of its policy controller, and
//! `authz.rs` of its proxy. Envoy: `StringMatcher`. Vault: `path_login.go` of its `cert` and `jwt`, and `go-glob`.

use regex::Regex;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashMap;

/// What a peer shows: the first name in its certificate counts for Linkerd, the URI for the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) uri: &'a str,
    pub(crate) first_name: &'a str,
}

fn texts<'v>(object: &'v Value, pointer: &str) -> impl Iterator<Item = &'v str> {
    let list = object.pointer(pointer).and_then(Value::as_array);
    list.unwrap_or_else(|| panic!("{object} has no {pointer}")).iter().map(|text| text.as_str().unwrap())
}

fn of_kind<'d>(objects: &'d [Value], kind: &str) -> &'d Value {
    objects.iter().find(|object| object["kind"] == kind).unwrap()
}

/// One of the policy's rules matches, by one of its sources.
pub(crate) fn istio_admits(objects: &[Value], shown: Shown<'_>) -> bool {
    let policy = of_kind(objects, "AuthorizationPolicy");
    assert_eq!(policy["spec"]["action"], "ALLOW");
    policy["spec"]["rules"].as_array().unwrap().iter().any(|rule| {
        let sources = rule["from"].as_array().unwrap();
        sources.iter().any(|from| match from.pointer("/source/principals") {
            None => true,
            Some(_) => texts(from, "/source/principals").any(|principal| istio_principal(principal, shown.uri)),
        })
    })
}

fn istio_principal(principal: &str, uri: &str) -> bool {
    match (principal, principal.strip_prefix('*'), principal.strip_suffix('*')) {
        ("*", ..) => !uri.is_empty(),
        (_, Some(end), _) => whole(&format!("spiffe://.*{}", regex::escape(end)), uri),
        (_, None, Some(beginning)) => uri.starts_with(&format!("spiffe://{beginning}")),
        (_, None, None) => uri == format!("spiffe://{principal}"),
    }
}

/// A policy of the mesh's own that admits a namespace, by the two expressions of `source.namespace` and service accounts.
pub(crate) fn istio_reads_a_namespace(uri: &str) -> bool {
    whole(".*/ns/.*/.*", uri) || whole("spiffe://.+/ns/.+/(.+/|)sa/.+(/.+)?", uri)
}

/// One of the identities is the peer's, or its end.
pub(crate) fn linkerd_admits(objects: &[Value], shown: Shown<'_>) -> bool {
    let authentication = of_kind(objects, "MeshTLSAuthentication");
    texts(authentication, "/spec/identities").any(|identity| match identity.strip_prefix("*.") {
        _ if identity == "*" => true,
        Some(end) => shown.first_name.ends_with(&format!(".{end}")),
        None => shown.first_name == identity,
    })
}

/// One principal of RBAC is the peer's.
pub(crate) fn envoy_admits(bootstrap: &Value, shown: Shown<'_>) -> bool {
    let manager = bootstrap.pointer("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config").unwrap();
    let rules = &manager["http_filters"][0]["typed_config"]["rules"];
    assert_eq!(rules["action"], "ALLOW");
    let policies = rules["policies"].as_object().unwrap().values();
    let mut principals = policies.flat_map(|policy| policy["principals"].as_array().unwrap());
    principals.any(|principal| {
        let matcher = principal["authenticated"]["principal_name"].as_object().unwrap();
        let (kind, text) = matcher.iter().next().unwrap();
        match kind.as_str() {
            "exact" => shown.uri == text.as_str().unwrap(),
            "prefix" => !text.as_str().unwrap().is_empty() && shown.uri.starts_with(text.as_str().unwrap()),
            "safe_regex" => whole(text["regex"].as_str().unwrap(), shown.uri),
            other => panic!("Envoy knows no {other}"),
        }
    })
}

/// A role of `cert` has one pattern that fits; one of `jwt` has the subject, if it names one, and one of its claims.
pub(crate) fn vault_admits(calls: &[Value], shown: Shown<'_>) -> bool {
    let [call] = calls else { panic!("one role: {calls:?}") };
    let data = &call["data"];
    if call["path"].as_str().unwrap().starts_with("auth/cert/certs/") {
        return texts(data, "/allowed_uri_sans").any(|pattern| go_glob(pattern, shown.uri));
    }
    let fits = |wanted: &str| match data["bound_claims_type"].as_str() {
        Some("glob") => go_glob(wanted, shown.uri),
        _ => wanted == shown.uri,
    };
    let subject = data.get("bound_subject").is_none_or(|subject| subject == shown.uri);
    subject && texts(data, "/bound_claims/sub").any(fits)
}

/// Every star is anything at all.
fn go_glob(pattern: &str, text: &str) -> bool {
    whole(&pattern.split('*').map(regex::escape).collect::<Vec<_>>().join(".*"), text)
}

/// Envoy holds an expression against the whole text.
fn whole(expression: &str, text: &str) -> bool {
    thread_local!(static KNOWN: RefCell<HashMap<String, Regex>> = RefCell::default());
    KNOWN.with_borrow_mut(|known| {
        let regex = known.entry(expression.to_owned());
        regex.or_insert_with(|| Regex::new(&format!("^(?:{expression})$")).unwrap()).is_match(text)
    })
}

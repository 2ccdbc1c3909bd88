//! Our discovery document and keys before those who read them: the rules of each consumer, as its manual tells them, held against
//! what the bundle port serves while keys change. Whether one takes a token is `src/consumer`'s to say.

use crate::oidc::Cloudy;
use crate::rotation::lanyard;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The two documents, as somebody reads them who was told the issuer's name.
struct Documents {
    issuer: String,
    configuration: Value,
    keys: Value,
}

type Verdict = Result<(), String>;

/// A consumer, and its rules.
type Reader = (&'static str, fn(&Documents) -> Verdict);

const READERS: [Reader; 5] = [("aws", aws), ("entra", entra), ("google", google), ("istio", istio), ("vault", vault)];

/// A hundred keys of a kind; the lists that its provider page asks for; nothing signed by PSS or `EdDSA`.
fn aws(read: &Documents) -> Verdict {
    read.is_of_its_issuer()?;
    read.lists("response_types_supported", &["id_token"])?;
    read.lists("subject_types_supported", &["public"])?;
    let algorithms = read.texts("id_token_signing_alg_values_supported")?;
    needed(algorithms.iter().all(|name| name.starts_with("RS") || name.starts_with("ES")), "an algorithm")?;
    for kind in ["RSA", "EC"] {
        let of_kind = read.keys()?.iter().filter(|key| key["kty"] == kind).count();
        needed(of_kind <= 100, "a hundred keys of a kind")?;
    }
    read.each_key(|key| is_rsa(key) || is_ec(key))
}

/// RS256 by keys with a name of their own.
fn entra(read: &Documents) -> Verdict {
    read.is_of_its_issuer()?;
    read.lists("id_token_signing_alg_values_supported", &["RS256"])?;
    needed(read.keys()?.iter().any(is_rsa), "an RSA key")
}

/// Keys that are RSA or P-256, each with a name.
fn google(read: &Documents) -> Verdict {
    read.is_of_its_issuer()?;
    read.each_key(|key| is_rsa(key) || (is_ec(key) && key["crv"] == "P-256"))
}

/// Only where the keys are; each is one that Envoy can parse and whose `alg`, where it has one, is of its kind.
fn istio(read: &Documents) -> Verdict {
    read.keys_are_named()?;
    read.each_key(|key| match key["alg"].as_str() {
        None => is_rsa(key) || is_ec(key),
        Some("RS256" | "RS384" | "RS512" | "PS256" | "PS384" | "PS512") => is_rsa(key),
        Some("ES256") => is_ec(key) && key["crv"] == "P-256",
        Some(_other) => false,
    })
}

/// The name byte for byte; a set that its JOSE library reads whole.
fn vault(read: &Documents) -> Verdict {
    read.is_of_its_issuer()?;
    read.each_key(|key| (is_rsa(key) || is_ec(key)) && key["use"] == "sig")
}

impl Documents {
    async fn served(by: &Cloudy) -> Self {
        let (_, configuration) = by.document("/.well-known/openid-configuration").await;
        let keys = configuration["jwks_uri"].as_str().and_then(|uri| uri.strip_prefix(&by.issuer)).unwrap();
        let (_, keys) = by.document(keys).await;
        Self { issuer: by.issuer.clone(), configuration, keys }
    }

    fn is_of_its_issuer(&self) -> Verdict {
        needed(self.configuration["issuer"] == *self.issuer, "the issuer's name")?;
        self.keys_are_named()
    }

    fn keys_are_named(&self) -> Verdict {
        let uri = self.configuration["jwks_uri"].as_str();
        needed(uri.is_some_and(|uri| uri.starts_with("https://")), "where the keys are")
    }

    fn texts(&self, member: &str) -> Result<Vec<&str>, String> {
        let all = self.configuration[member].as_array().filter(|all| !all.is_empty());
        let all = all.ok_or_else(|| format!("it has no {member}"))?;
        all.iter().map(|one| one.as_str().ok_or_else(|| format!("{member} has what is no text"))).collect()
    }

    fn lists(&self, member: &str, wanted: &[&str]) -> Verdict {
        let texts = self.texts(member)?;
        needed(wanted.iter().all(|one| texts.contains(one)), member)
    }

    fn keys(&self) -> Result<&[Value], String> {
        let keys = self.keys["keys"].as_array().filter(|keys| !keys.is_empty());
        keys.map(Vec::as_slice).ok_or_else(|| "there are no keys".to_owned())
    }

    /// Every one is as it should be, and has a name that no other has.
    fn each_key(&self, so: impl Fn(&Value) -> bool) -> Verdict {
        let keys = self.keys()?;
        for (at, key) in keys.iter().enumerate() {
            needed(so(key), &format!("what key {at} is: {key}"))?;
            let is_named = key["kid"].as_str().is_some_and(|kid| !kid.is_empty());
            let is_alone = keys.iter().filter(|other| other["kid"] == key["kid"]).count() == 1;
            needed(is_named && is_alone, &format!("a name of its own for key {at}"))?;
        }
        Ok(())
    }
}

fn needed(so: bool, what: &str) -> Verdict {
    if so { Ok(()) } else { Err(format!("it lacks or mistakes {what}")) }
}

fn bytes_of(key: &Value, member: &str) -> usize {
    let decoded = key[member].as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    decoded.map_or(0, |bytes| bytes.len())
}

/// 2048 bits at least, and no leading zero that some count as a ninth bit.
fn is_rsa(key: &Value) -> bool {
    key["kty"] == "RSA" && bytes_of(key, "n") >= 256 && bytes_of(key, "e") == 3
}

fn is_ec(key: &Value) -> bool {
    let of_curve = match key["crv"].as_str() {
        Some("P-256") => 32,
        Some("P-384") => 48,
        _ => return false,
    };
    key["kty"] == "EC" && ["x", "y"].iter().all(|member| bytes_of(key, member) == of_curve)
}

/// Who does not take it, with why.
fn refused_by(read: &Documents) -> Vec<(&'static str, String)> {
    READERS.into_iter().filter_map(|(name, reads)| Some((name, reads(read).err()?))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_consumer_s_own_rules_take_what_is_served_at_every_moment_of_a_change_of_keys() {
    let world = Cloudy::open(7).await;
    let mut seen = Vec::new();
    for kind in ["jwt", "jwt-rs256"] {
        let of_kind = ["--kind", kind, "--reason", "a drill"];
        let former = lanyard(&world.site, &["list", "--kind", kind]).await.unwrap();
        let is_former = |key: &&Value| key["kind"] == kind && key["state"] == "active";
        let former = former["keys"].as_array().unwrap().iter().find(is_former).unwrap()["key_id"].clone();
        let former = former.as_str().unwrap();
        let steps: [&[&str]; 4] =
            [&["prepare"], &["activate", "--force"], &["taint", "--no-wait", former], &["revoke", former, "--force"]];
        for step in steps {
            lanyard(&world.site, &[step, &of_kind[..]].concat()).await.unwrap();
            let read = Documents::served(&world).await;
            let refused = refused_by(&read);
            assert!(refused.is_empty(), "{kind}, after {step:?}: {refused:?}: {}", read.keys);
            seen.push(read.keys);
        }
    }
    seen.dedup();
    assert!(seen.len() >= 4, "keys came and went: {seen:?}");
}

type Change = fn(&mut Documents);

/// What would shut whom out: why the documents are as they are.
const ALL: &[&str] = &["aws", "entra", "google", "istio", "vault"];
const CHANGES: [(&str, Change, &[&str]); 13] = [
    ("the usual ones", |_| {}, &[]),
    ("a slash behind the issuer", |read| read.issuer.push('/'), &["aws", "entra", "google", "vault"]),
    ("keys in clear text", |read| read.configuration["jwks_uri"] = json!("http://ci.test/keys"), ALL),
    (
        "another issuer in it",
        |read| read.configuration["issuer"] = json!("https://other.test"),
        &["aws", "entra", "google", "vault"],
    ),
    ("no response types", |read| read.configuration["response_types_supported"] = Value::Null, &["aws"]),
    ("pairwise subjects", |read| read.configuration["subject_types_supported"] = json!(["pairwise"]), &["aws"]),
    (
        "EdDSA beside",
        |read| read.configuration["id_token_signing_alg_values_supported"] = json!(["RS256", "EdDSA"]),
        &["aws"],
    ),
    ("ES256 alone", |read| read.configuration["id_token_signing_alg_values_supported"] = json!(["ES256"]), &["entra"]),
    ("no keys", |read| read.keys = json!({"keys": []}), ALL),
    ("no RSA key", |read| drop(keys(read).pop()), &["entra"]),
    ("a key without a name", |read| keys(read)[0]["kid"] = json!(""), &["aws", "google", "istio", "vault"]),
    ("a key for TLS", |read| keys(read)[0]["use"] = json!("enc"), &["vault"]),
    ("an algorithm of another kind", |read| keys(read)[0]["alg"] = json!("RS256"), &["istio"]),
];

fn keys(read: &mut Documents) -> &mut Vec<Value> {
    read.keys["keys"].as_array_mut().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_consumer_s_own_rules_refuse_documents_that_it_could_not_use() {
    let world = Cloudy::open(8).await;
    for (name, change, who) in CHANGES {
        let mut read = Documents::served(&world).await;
        change(&mut read);
        let refused = refused_by(&read);
        assert_eq!(refused.iter().map(|(reader, _)| *reader).collect::<Vec<_>>(), who, "{name}: {refused:?}");
    }
}

//! JWT-SVIDs over the socket: for whom, of which identity, and what a validation answers.

use crate::rotation::lanyard;
use crate::stand_in::{ID, StandIn};
use crate::support::beside::{Beside, FIRST_ID, SECOND_ID, Site, TWO_PROFILES, asked, within};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::clock::Clock;
use lanyard::svid::inspect_jwt;
use lanyard::wire::workload::{Jwtsvid, JwtsvidRequest, ValidateJwtsvidRequest, ValidateJwtsvidResponse};
use prost_types::value::Kind;
use serde_json::Value;
use std::collections::BTreeSet;
use tonic::{Code, Status};

async fn fetch(agent: &Beside, audience: &[&str], spiffe_id: &str) -> Result<Vec<Jwtsvid>, Status> {
    let audience = audience.iter().map(|&name| name.to_owned()).collect();
    let request = JwtsvidRequest { audience, spiffe_id: spiffe_id.to_owned() };
    Ok(within(agent.workload().fetch_jwtsvid(asked(request))).await?.into_inner().svids)
}

async fn validate(agent: &Beside, audience: &str, svid: &str) -> Result<ValidateJwtsvidResponse, Status> {
    let request = ValidateJwtsvidRequest { audience: audience.to_owned(), svid: svid.to_owned() };
    Ok(within(agent.workload().validate_jwtsvid(asked(request))).await?.into_inner())
}

/// Shows: WAPI-28, WAPI-29, WAPI-30.
#[tokio::test(flavor = "multi_thread")]
async fn a_named_id_gives_that_one_none_gives_all_and_others_are_refused() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    let audience = ["https://service.test"];
    let all = fetch(&agent, &audience, "").await.unwrap();
    let told: Vec<_> = all.iter().map(|svid| (&*svid.spiffe_id, &*svid.hint)).collect();
    assert_eq!(told, [(FIRST_ID, "istio"), (SECOND_ID, "linkerd")]);
    for svid in all.iter().chain(&fetch(&agent, &audience, SECOND_ID).await.unwrap()) {
        assert_eq!(inspect_jwt(&svid.svid).unwrap().spiffe_id.as_str(), svid.spiffe_id);
    }
    let one = fetch(&agent, &audience, SECOND_ID).await.unwrap();
    assert_eq!(one.iter().map(|svid| &*svid.spiffe_id).collect::<Vec<_>>(), [SECOND_ID]);

    for (id, code) in [
        ("spiffe://ci.example.org/acme/payments/api/-/pipelines/575", Code::PermissionDenied),
        ("spiffe://other.example/acme", Code::PermissionDenied),
        ("spiffe://ci.example.org", Code::PermissionDenied),
        ("spiffe://ci.example.org/a/", Code::InvalidArgument),
        ("SPIFFE://ci.example.org/a", Code::InvalidArgument),
        ("acme", Code::InvalidArgument),
    ] {
        assert_eq!(fetch(&agent, &audience, id).await.unwrap_err().code(), code, "{id}");
    }
}

/// Shows: WAPI-27.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_for_every_audience_asked_for_or_there_is_none() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    let both = ["https://other.test", "https://service.test"];
    let svids = fetch(&agent, &both, "").await.unwrap();
    for svid in &svids {
        let audience: BTreeSet<_> = inspect_jwt(&svid.svid).unwrap().audience.into_iter().collect();
        assert_eq!(audience, both.map(str::to_owned).into());
    }
    for audience in [&["https://elsewhere.test"][..], &["https://service.test", "https://elsewhere.test"]] {
        assert_eq!(fetch(&agent, audience, "").await.unwrap_err().code(), Code::PermissionDenied, "{audience:?}");
    }

    let one_only = Site::open(&TWO_PROFILES.replace("multi_audience = true\n", "")).await;
    let agent = one_only.logged_in().await;
    assert_eq!(fetch(&agent, &both, "").await.unwrap_err().code(), Code::PermissionDenied, "never a subset");
    assert_eq!(fetch(&agent, &both[..1], "").await.unwrap().len(), 2);
}

/// A kept token is worth no more than the key that signed it.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_token_is_not_handed_out_once_its_key_is_tainted() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    let kid = async || {
        let token = fetch(&agent, &["https://service.test"], FIRST_ID).await.unwrap().remove(0).svid;
        inspect_jwt(&token).unwrap().kid
    };
    let (former, of_jwt) = (kid().await, ["--kind", "jwt", "--reason", "a drill"]);
    let authority = async |step: &[&str]| lanyard(&site, &[step, &of_jwt[..]].concat()).await.unwrap();
    let listed = lanyard(&site, &["list", "--kind", "jwt"]).await.unwrap();
    authority(&["prepare"]).await;
    authority(&["activate", "--force"]).await;
    assert_eq!(kid().await, former, "it is kept");
    authority(&["taint", "--no-wait", listed["keys"][0]["key_id"].as_str().unwrap()]).await;
    within(async {
        while kid().await == former {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn audiences_that_read_alike_when_run_together_share_no_token() {
    let named = r#"audiences = ["ab", "c", "a", "bc", "a,bc", "ab\u0000c", "abc", "aab", "istio", "a istio"]"#;
    let policy = TWO_PROFILES.replace(r#"audiences = ["https://service.test", "https://other.test"]"#, named);
    let site = Site::open(&policy).await;
    let agent = site.logged_in().await;
    let mut tokens = BTreeSet::new();
    let sets: [&[&str]; 9] = [
        &["ab", "c"],
        &["a", "bc"],
        &["a,bc"],
        &["ab\0c"],
        &["abc"],
        &["a", "ab", "c"],
        &["aab", "c"],
        &["a", "istio"],
        &["a istio"],
    ];
    for audience in sets {
        let wanted: BTreeSet<String> = audience.iter().map(|&name| name.to_owned()).collect();
        for svid in fetch(&agent, audience, "").await.unwrap() {
            let facts = inspect_jwt(&svid.svid).unwrap();
            assert_eq!(facts.audience.into_iter().collect::<BTreeSet<_>>(), wanted);
            assert_eq!(facts.spiffe_id.as_str(), svid.spiffe_id);
            assert!(tokens.insert(svid.svid), "{audience:?} has a token that another has too");
        }
    }
    let again = fetch(&agent, &["c", "ab"], "").await.unwrap();
    assert!(again.iter().all(|svid| tokens.contains(&svid.svid)), "the order of a set means nothing, and it is kept");
}

/// Shows: WAPI-31.
#[tokio::test(flavor = "multi_thread")]
async fn every_vector_of_a_token_has_its_verdict_over_the_socket() {
    let server = StandIn::start().await;
    let agent = server.agent().await;
    let vectors = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/spiffe.json"));
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    let vectors = vectors["jwt_svid"].as_array().unwrap();
    assert_eq!(vectors.len(), 41);
    for vector in vectors {
        let payload = with_times(&vector["payload"], server.clock.now().unix_timestamp());
        let [header, payload] = [&vector["header"], &payload].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{header}.{payload}");
        let signature = URL_SAFE_NO_PAD.encode(server.jwt_key.sign_jws(signed.as_bytes()).unwrap());
        let verdict = validate(&agent, "reports", &format!("{signed}.{signature}")).await;
        let told = verdict.as_ref().map(|valid| &*valid.spiffe_id).map_err(Status::code);
        // Where the standard leaves it open, we refuse.
        let wanted = if vector["verdict"] == "accept" { Ok(ID) } else { Err(Code::InvalidArgument) };
        assert_eq!(told, wanted, "{}", vector["id"]);
    }
}

/// Numbers for `$now+N`, and a text where the vector wants one, as the vectors' notes say.
fn with_times(payload: &Value, now: i64) -> Value {
    let number = |text: &str| {
        let offset = text.strip_prefix("$now")?;
        Some(match offset.split_once('.') {
            Some((whole, "5")) => (now + whole.parse::<i64>().unwrap()).to_string() + ".5",
            _ if offset.is_empty() => now.to_string(),
            _ => (now + offset.parse::<i64>().unwrap()).to_string(),
        })
    };
    let mut payload = payload.clone();
    for value in payload.as_object_mut().unwrap().values_mut() {
        let Some(text) = value.as_str() else { continue };
        if let Some(number) = number(text) {
            *value = serde_json::from_str(&number).unwrap();
        } else if let Some(number) = text.strip_prefix('"').and_then(|text| number(text.strip_suffix('"')?)) {
            *value = number.into();
        }
    }
    payload
}

/// Shows: WAPI-32.
#[tokio::test(flavor = "multi_thread")]
async fn a_validation_answers_with_the_id_and_all_claims_numbers_included() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    let token = fetch(&agent, &["https://service.test"], FIRST_ID).await.unwrap().remove(0).svid;
    let answer = validate(&agent, "https://service.test", &token).await.unwrap();
    assert_eq!(answer.spiffe_id, FIRST_ID);
    let claims = answer.claims.unwrap().fields;
    let said: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap();
    assert_eq!(claims.keys().collect::<Vec<_>>(), said.as_object().unwrap().keys().collect::<Vec<_>>());
    assert_eq!(claims["sub"].kind, Some(Kind::StringValue(FIRST_ID.to_owned())));
    for time in ["exp", "iat"] {
        assert_eq!(claims[time].kind, Some(Kind::NumberValue(said[time].as_f64().unwrap())), "{time}");
    }
    let Some(Kind::ListValue(audience)) = &claims["aud"].kind else { panic!("`aud` is a list") };
    assert_eq!(audience.values[0].kind, Some(Kind::StringValue("https://service.test".to_owned())));
    assert_eq!(validate(&agent, "https://other.test", &token).await.unwrap_err().code(), Code::InvalidArgument);
}

/// Shows: WAPI-32.
#[tokio::test(flavor = "multi_thread")]
async fn the_claims_of_others_tokens_are_told_as_they_are_and_their_audience_as_a_list() {
    let server = StandIn::start().await;
    let agent = server.agent().await;
    let now = server.clock.now().unix_timestamp();
    let payload = serde_json::json!({
        "sub": ID, "aud": "reports", "exp": now + 60, "iat": now, "half": 0.5, "big": 9_007_199_254_740_991_i64,
        "less": -3, "yes": true, "none": null, "deep": {"list": [1, "a", {"x": []}]},
    });
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","kid":"j1","typ":"JWT"}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload.to_string()));
    let signature = URL_SAFE_NO_PAD.encode(server.jwt_key.sign_jws(signed.as_bytes()).unwrap());
    let answer = validate(&agent, "reports", &format!("{signed}.{signature}")).await.unwrap();
    let mut told = as_json(Kind::StructValue(answer.claims.unwrap()));
    assert_eq!(told["aud"], serde_json::json!(["reports"]));
    told["aud"] = "reports".into();
    let mut doubles = payload;
    for number in ["exp", "iat", "big", "less"] {
        doubles[number] = doubles[number].as_f64().into();
    }
    doubles["deep"]["list"][0] = 1.0.into();
    assert_eq!(told, doubles);
}

fn as_json(kind: Kind) -> Value {
    match kind {
        Kind::NullValue(_) => Value::Null,
        Kind::BoolValue(truth) => truth.into(),
        Kind::NumberValue(number) => number.into(),
        Kind::StringValue(text) => text.into(),
        Kind::ListValue(list) => list.values.into_iter().map(|value| as_json(value.kind.unwrap())).collect(),
        Kind::StructValue(object) => {
            Value::Object(object.fields.into_iter().map(|(name, value)| (name, as_json(value.kind.unwrap()))).collect())
        }
    }
}

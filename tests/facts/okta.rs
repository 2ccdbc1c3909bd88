//! Okta's accounts and groups as its API shows them, with every state that is not in use and every list that goes astray.

use crate::asking::{Asking, SECRET, claims, corp, said};
use crate::scripted::{Reply, Scripted};
use lanyard::clock::{Clock, ManualClock, SystemClock};
use lanyard::facts::{LetIn, Limits, OktaApi, Place};
use lanyard::policy::Answer;
use lanyard::token::Claims;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const LOGIN: &str = "ada@corp.example";
pub(crate) const ID: &str = "00ub0oNGTSWTBKOLGLNR";

pub(crate) fn identity(account: &str) -> Claims {
    let mine = json!({"provider": "saml", "extern_uid": account});
    claims(&[("user_identities", json!([mine, {"provider": "ldapmain", "extern_uid": "cn=ada"}]))])
}

pub(crate) fn user(status: &str) -> Value {
    json!({"id": ID, "status": status, "profile": {"login": "Ada@corp.example", "email": "ada@corp.example"}})
}

pub(crate) fn groups(names: &[&str]) -> Value {
    names
        .iter()
        .map(|name| json!({"id": "00g1", "type": "OKTA_GROUP", "profile": {"name": name, "description": ""}}))
        .collect()
}

fn asking(okta: &Scripted) -> Asking {
    asking_at(Arc::new(SystemClock), okta)
}

fn asking_at(clock: Arc<dyn Clock>, okta: &Scripted) -> Asking {
    let url = okta.url.clone();
    Asking::at(clock, SECRET, move |token_file| {
        let place = Place { url, let_in: LetIn::Okta, token_file, ca_pem: None };
        Arc::new(OktaApi { issuer: corp(), place, limits: Limits::default(), provider: "saml".to_owned() })
    })
}

/// One whose user is so, and in one group.
fn okta(user: Value) -> Scripted {
    let expected = format!("SSWS {SECRET}");
    Scripted::new(move |path, let_in| match path {
        _ if let_in != expected => Reply::of("401 Unauthorized", r#"{"errorCode":"E0000011"}"#),
        "/api/v1/users/ada%40corp.example" | "/api/v1/users/00ub0oNGTSWTBKOLGLNR" | "/api/v1/users/ada" => {
            Reply::json(&user)
        }
        "/api/v1/users/00ub0oNGTSWTBKOLGLNR/groups?limit=200" => Reply::json(&groups(&["Everyone", "release"])),
        _ => Reply::of("404 Not Found", r#"{"errorCode":"E0000007"}"#),
    })
}

pub(crate) const NEED: &str = "\"directory.enabled\" = true, \"directory.group\" = \"release\"";

async fn heard(okta: &Scripted, claims: &Claims) -> (String, String) {
    let heard = asking(okta).heard(NEED, claims).await;
    (said(heard.of("directory.enabled")), said(heard.of("directory.group")))
}

#[tokio::test]
async fn an_active_account_is_enabled_and_in_its_groups_by_id_and_by_login() {
    for account in [LOGIN, ID] {
        let okta = okta(user("ACTIVE"));
        assert_eq!(heard(&okta, &identity(account)).await, ("true".to_owned(), "[Everyone, release]".to_owned()));
        assert_eq!(okta.asked().len(), 2, "both facts by one question");
    }
}

#[tokio::test]
async fn an_account_is_known_again_by_its_id_and_answers_for_one_user() {
    let okta = okta(user("ACTIVE"));
    let expected = format!("SSWS {SECRET}");
    let of_user = |user_id: u64, account: &str| {
        let mine = json!([{"provider": "saml", "extern_uid": account}]);
        claims(&[("user_id", json!(user_id)), ("user_identities", mine)])
    };
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let asking = asking_at(Arc::<ManualClock>::clone(&clock), &okta);
    let heard = async |claims: &Claims| {
        // Nothing that was said before counts.
        clock.advance(Duration::from_secs(61));
        said(asking.heard(NEED, claims).await.of("directory.enabled"))
    };
    assert_eq!(heard(&of_user(51, LOGIN)).await, "true");
    assert!(heard(&of_user(52, LOGIN)).await.contains("answers to another user of the issuer already"));
    okta.answers(move |path, let_in| match path {
        _ if let_in != expected => Reply::of("401 Unauthorized", "{}"),
        "/api/v1/users/00ub0oNGTSWTBKOLGLNR" => {
            Reply::json(&json!({"id": ID, "status": "ACTIVE", "profile": {"login": "countess@corp.example"}}))
        }
        "/api/v1/users/eve%40corp.example" => {
            Reply::json(&json!({"id": "00uEve", "status": "ACTIVE", "profile": {"login": "eve@corp.example"}}))
        }
        _ if path.ends_with("/groups?limit=200") => Reply::json(&groups(&[])),
        _ => Reply::of("404 Not Found", "{}"),
    });
    assert_eq!(heard(&of_user(51, LOGIN)).await, "true", "she was renamed, and GitLab has not noticed");
    assert!(heard(&of_user(53, LOGIN)).await.contains("Okta knows no account"));
    assert!(heard(&of_user(51, "eve@corp.example")).await.contains("another account than before"));
}

#[tokio::test]
async fn no_other_state_is_in_use_and_a_word_that_nobody_knows_is_none() {
    for status in [
        "STAGED",
        "PROVISIONED",
        "RECOVERY",
        "PASSWORD_EXPIRED",
        "LOCKED_OUT",
        "SUSPENDED",
        "DEPROVISIONED",
        "active",
        "OF_TOMORROW",
    ] {
        let (enabled, group) = heard(&okta(user(status)), &identity(LOGIN)).await;
        assert!(enabled.starts_with("no: ") && enabled.contains(status) && group == enabled, "{enabled}, {group}");
    }
}

#[tokio::test]
async fn what_is_not_the_very_account_is_none() {
    let of_nobody = [
        (identity("gone@corp.example"), "Okta knows no account"),
        (identity("ada"), "another account"),
        (identity(""), "an account that nobody has"),
        (identity("me"), "an account that nobody has"),
        (identity(".."), "an account that nobody has"),
        (identity("../groups"), "Okta knows no account"),
        (identity("00u1?expand=x"), "Okta knows no account"),
        (claims(&[]), "no user_identities"),
        (claims(&[("user_identities", json!([]))]), "no identity of saml"),
        (
            claims(&[(
                "user_identities",
                json!([{"provider": "saml", "extern_uid": "a"}, {"provider": "saml", "extern_uid": "b"}]),
            )]),
            "several identities",
        ),
    ];
    for (claims, told) in of_nobody {
        let okta = okta(user("ACTIVE"));
        let (enabled, _) = heard(&okta, &claims).await;
        assert!(enabled.starts_with("no: ") && enabled.contains(told), "{enabled}, not {told}");
        assert!(okta.asked().iter().all(|path| path.starts_with("/api/v1/users/") && path.matches('/').count() == 4));
    }
}

#[tokio::test]
async fn groups_go_on_where_okta_says_but_not_for_ever_and_not_elsewhere() {
    for (next, expected) in [
        ("HERE&after=2", "[a, b]"),
        ("HERE", "unavailable: Okta's list of the account's groups does not end"),
        (
            "https://elsewhere.example/api/v1/users/00ub0oNGTSWTBKOLGLNR/groups?limit=200",
            "unavailable: Okta says that the list of groups goes on at https://elsewhere.example",
        ),
    ] {
        let okta = okta(user("ACTIVE"));
        let here = format!("{}/api/v1/users/{ID}/groups?limit=200", okta.url);
        let link = format!("Link: <{here}>; rel=\"self\"\r\nLink: <{}>; rel=\"next\"", next.replace("HERE", &here));
        okta.answers(move |path, _| match path {
            _ if path.ends_with("after=2") => {
                let mut page = groups(&["b", "of an application"]);
                page[1]["type"] = json!("APP_GROUP");
                Reply::json(&page)
            }
            _ if path.contains("/groups") => Reply::json(&groups(&["a"])).with(&link),
            _ => Reply::json(&user("ACTIVE")),
        });
        let (_, group) = heard(&okta, &identity(LOGIN)).await;
        assert!(group.starts_with(expected), "{group}, not {expected}");
    }
}

#[tokio::test]
async fn an_okta_that_does_not_say_is_no_answer_and_says_when_it_may_be_asked_again() {
    let later = SystemClock.now().unix_timestamp() + 40;
    for (reply, told) in [
        (Reply::of("401 Unauthorized", r#"{"errorCode":"E0000011"}"#), "API token"),
        (Reply::of("403 Forbidden", r#"{"errorCode":"E0000006"}"#), "API token"),
        (
            Reply::of("429 Too Many Requests", r#"{"errorCode":"E0000047"}"#)
                .with(&format!("X-Rate-Limit-Reset: {later}")),
            "429",
        ),
        (Reply::of("500 Oh", ""), "500"),
        (Reply::of("200 OK", "<html>"), "no user"),
        (Reply::json(&json!({"id": ID, "status": "ACTIVE"})), "no user"),
    ] {
        let (is_limited, okta) = (reply.status.starts_with("429"), okta(user("ACTIVE")));
        let mut reply = Some(reply);
        okta.answers(move |_, _| reply.take().unwrap());
        let heard = asking(&okta).heard(NEED, &identity(LOGIN)).await;
        let answer = heard.of("directory.enabled").unwrap();
        assert!(said(Some(answer)).starts_with("unavailable: ") && said(Some(answer)).contains(told), "{answer:?}");
        let retry_after = if let Answer::Unavailable { retry_after, .. } = answer { *retry_after } else { None };
        assert_eq!(retry_after.is_some_and(|wait| (30..=40).contains(&wait)), is_limited, "{answer:?}");
    }
}

//! What GitLab links a user to, as its users API tells administrators.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what cannot be set up ends the test")]

use crate::asking::{SECRET, corp, world};
use crate::scripted::{Reply, Scripted};
use lanyard::clock::SystemClock;
use lanyard::crypto::install_providers;
use lanyard::facts::{GitlabApi, LetIn, Limits, Place};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use tempfile::TempDir;

/// What is heard of user 51, of a GitLab that answers so.
async fn heard(reply: Reply) -> Result<Vec<String>, String> {
    install_providers();
    let mut reply = Some(reply);
    let gitlab = Scripted::new(move |path, let_in| match path {
        "/users/51" if let_in == SECRET => reply.take().unwrap(),
        _ => Reply::of("401 Unauthorized", "{}"),
    });
    let folder = TempDir::new().unwrap();
    let token_file = folder.path().join("token");
    fs::write(&token_file, SECRET).unwrap();
    fs::set_permissions(&token_file, fs::Permissions::from_mode(0o600)).unwrap();
    let place = Place { url: gitlab.url.clone(), let_in: LetIn::GitLab, token_file, ca_pem: None };
    let api = GitlabApi { issuer: corp(), place, limits: Limits::default() };
    let links = api.links(&world(Arc::new(SystemClock), folder.path()));
    let told = links.of(51).await?;
    Ok(told.into_iter().map(|link| format!("{} {}", link.provider, link.extern_uid)).collect())
}

fn user(changes: &[(&str, Value)]) -> Reply {
    let mut user = json!({"id": 51, "username": "ada", "state": "active", "identities": [
        {"provider": "ldapmain", "extern_uid": "cn=ada,dc=corp", "saml_provider_id": null},
        {"provider": "saml", "extern_uid": "ada@corp.example", "saml_provider_id": 7},
    ]});
    for (name, value) in changes {
        user[name] = value.clone();
    }
    Reply::json(&user)
}

#[tokio::test]
async fn gitlab_tells_the_links_of_a_user_who_is_active_and_whoever_may_not_hear_them_hears_nothing_good() {
    let both = ["ldapmain cn=ada,dc=corp", "saml ada@corp.example"].map(str::to_owned).to_vec();
    assert_eq!(heard(user(&[])).await, Ok(both));
    let nothing: Result<Vec<String>, &str> = Ok(Vec::new());
    for (reply, told) in [
        (user(&[("state", json!("blocked"))]), nothing.clone()),
        (user(&[("state", json!("ldap_blocked"))]), nothing.clone()),
        (user(&[("id", json!(52))]), nothing.clone()),
        (Reply::of("404 Not Found", "{}"), nothing.clone()),
        (user(&[("identities", json!([]))]), nothing.clone()),
        (user(&[("identities", Value::Null)]), Err("an administrator's")),
        (Reply::of("401 Unauthorized", "{}"), Err("token is not taken")),
        (Reply::of("500 Oh", ""), Err("500")),
        (Reply::of("200 OK", "<html>"), Err("no user")),
    ] {
        match (heard(reply).await, told) {
            (Ok(heard), Ok(told)) => assert_eq!(heard, told),
            (Err(heard), Err(told)) => assert!(heard.contains(told), "{heard}, not {told}"),
            (heard, told) => panic!("{heard:?}, not {told:?}"),
        }
    }
}

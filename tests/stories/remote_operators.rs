//! Operators who are elsewhere: let in by their provider's token if somebody wrote them down, and by nothing else.

use super::doors::Doors;
use crate::support::harness::POLICY;
use crate::support::issuer::FakeIssuer;
use lanyard::clock::{Clock, SystemClock};
use lanyard::tls::TlsClient;
use lanyard::wire::lanyard::ListBansRequest;
use lanyard::wire::lanyard::admin_client::AdminClient;
use lanyard::wire::{ServerUrl, channel};
use serde_json::{Map, Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::JoinSet;
use tonic::Code;

const PROVIDER: &str = "https://corp.okta.com/oauth2/default";

struct Site {
    doors: Doors,
    provider: FakeIssuer,
    secrets: TempDir,
}

impl Site {
    async fn open() -> Self {
        Self::with("").await
    }

    /// With other sections before the operators'.
    async fn with(sections: &str) -> Self {
        let (provider, secrets) = (FakeIssuer::new(), TempDir::new().unwrap());
        fs::write(secrets.path().join("provider.json"), provider.jwks()).unwrap();
        let lines = format!(
            "{sections}[operators]\nlisten = [\"127.0.0.1:0\"]\n[[operators.issuer]]\nname = \"okta\"\nurl = \"{PROVIDER}\"\n\
             audience = \"api://lanyard\"\njwks_file = \"{}\"\nrequire.scp = \"lanyard.admin\"\npeople.\"00u1\" = \"ada\"\n",
            secrets.path().join("provider.json").display()
        );
        let doors = Doors::whose_issuer_says(&lines, &POLICY.replace("ttl =", "jwt_without_key = true\nttl =")).await;
        Self { doors, provider, secrets }
    }

    /// What Okta says of her.
    fn claims() -> Map<String, Value> {
        let now = SystemClock.now().unix_timestamp();
        let claims = json!({
            "iss": PROVIDER, "aud": "api://lanyard", "sub": "00u1", "iat": now, "exp": now + 600, "cid": "0oa1",
            "scp": ["openid", "lanyard.admin"],
        });
        claims.as_object().unwrap().clone()
    }

    fn saying(&self, name: &str, value: Value) -> String {
        let mut claims = Self::claims();
        claims.insert(name.to_owned(), value);
        claims.retain(|_name, value| !value.is_null());
        self.provider.mint(&claims)
    }

    /// A command from elsewhere: its exit code, and all that it said.
    async fn lanyard(&self, token: &str, arguments: &[&str]) -> (i32, String) {
        let file = self.secrets.path().join("token");
        fs::write(&file, token).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lanyard"));
        command.args(arguments).arg("--admin-url").arg(format!("https://{}", self.doors.admin.unwrap()));
        command.arg("--admin-ca").arg(self.doors.folder.path().join("data/door-ca.pem"));
        let output = command.env("LANYARD_OPERATOR_TOKEN_FILE", file).output().await.unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap(), said)
    }

    fn journal(&self) -> String {
        let folder = self.doors.folder.path().join("data/journal");
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.filter_map(|file| fs::read_to_string(file).ok()).collect()
    }
}

#[tokio::test]
async fn whoever_is_written_down_operates_the_server_from_elsewhere_and_stands_in_the_journal() {
    let site = Site::open().await;
    let token = site.provider.mint(&Site::claims());
    let (code, said) = site.lanyard(&token, &["ban", "add", "--project", "4711", "--reason", "ticket 7"]).await;
    assert_eq!(code, 0, "{said}");
    let (code, said) = site.lanyard(&token, &["ban", "list", "--json"]).await;
    assert!(code == 0 && said.contains("ticket 7"), "{said}");
    let journal = site.journal();
    let record = |line: &str| serde_json::from_str::<Value>(line.get(65..)?).ok();
    let entries: Vec<Value> = journal.lines().filter_map(record).map(|record| record["entry"].clone()).collect();
    let of = |kind: &str| entries.iter().find(|entry| entry["kind"] == kind).unwrap_or_else(|| panic!("{journal}"));
    let (came, banned) = (of("operator_came"), of("ban_added"));
    assert_eq!((&came["operator"], &came["issuer"], &came["asked"]), (&json!("ada"), &json!("okta"), &json!("AddBan")));
    assert!(came["uid"] == banned["uid"] && came["uid"].as_u64().unwrap() >= 1 << 31, "{came} {banned}");
    assert_eq!((&came["subject"], &came["person"]), (&json!("00u1"), &Value::Null));
    assert!(!journal.contains(&token) && !journal.contains("0oa1"), "neither the token nor what else it says");
    site.doors.close().await;
}

#[tokio::test]
async fn where_persons_are_sealed_an_operator_is_too_and_the_configured_name_stands() {
    let site = Site::with("[audit]\npeople = \"sealed\"\n").await;
    let token = site.provider.mint(&Site::claims());
    let (code, said) = site.lanyard(&token, &["pin", "set", "corp", "acme/new", "4712", "--reason", "moved"]).await;
    assert_eq!(code, 0, "{said}");
    let journal = site.journal();
    assert!(
        !journal.contains("00u1") && journal.contains("\"operator\":\"ada\"") && journal.contains("\"person\":{"),
        "{journal}"
    );
    assert!(journal.contains("\"user\":\"ada of okta\""), "who did it stands beside the deed: {journal}");
    site.doors.close().await;
}

#[tokio::test]
async fn of_many_whose_tokens_are_judged_at_once_some_are_told_to_come_back() {
    let site = Site::open().await;
    let url: ServerUrl = format!("https://{}", site.doors.admin.unwrap()).parse().unwrap();
    let tls = TlsClient::new(&site.doors.trust, None, &["h2"]).unwrap();
    let (admin, mut asking) = (AdminClient::new(channel(&url, tls).unwrap()), JoinSet::new());
    let token = site.provider.mint(&Site::claims());
    for _one in 0..200 {
        let mut request = tonic::Request::new(ListBansRequest {});
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let mut admin = admin.clone();
        asking.spawn(async move { admin.list_bans(request).await.err().map(|no| no.code()) });
    }
    let said = asking.join_all().await;
    let crowded = said.iter().filter(|no| **no == Some(Code::ResourceExhausted)).count();
    assert!(crowded > 0 && said.iter().all(|no| matches!(no, None | Some(Code::ResourceExhausted))), "{said:?}");
    assert!(said.iter().any(Option::is_none), "some are let in");
    site.doors.close().await;
}

#[tokio::test]
async fn nobody_else_s_token_opens_the_door_for_operators() {
    let site = Site::open().await;
    let now = SystemClock.now().unix_timestamp();
    let job = site.doors.token();
    let (status, answer) =
        site.doors.post("/v1/svid/jwt", &json!({"token": job, "audience": ["https://service.test"]})).await;
    assert_eq!(status, 200, "{answer}");
    let own = answer["jwt_svid"].as_str().unwrap().to_owned();
    let stranger = FakeIssuer::new().mint(&Site::claims());
    for (token, told) in [
        (site.saying("aud", json!("api://another")), "operator_token_refused"),
        (site.saying("aud", json!(["api://lanyard", "api://another"])), "operator_token_refused"),
        (site.saying("iss", json!("https://corp.okta.com")), "no [[operators.issuer]] has the token's iss"),
        (site.saying("iss", json!(format!("{PROVIDER}/"))), "no [[operators.issuer]] has the token's iss"),
        (site.saying("exp", json!(now - 60)), "operator_token_refused"),
        (site.saying("iat", json!(now - 2 * 3600)), "operator_token_refused"),
        (site.saying("nbf", json!(now + 600)), "operator_token_refused"),
        (site.saying("sub", json!("00u2")), "the token's sub is nobody's"),
        (site.saying("sub", json!("00U1")), "the token's sub is nobody's"),
        (site.saying("sub", json!("spiffe://ci.example.org/acme")), "operator_token_refused"),
        (site.saying("sub", Value::Null), "operator_token_refused"),
        (site.saying("scp", json!(["openid"])), "the token's scp is not as"),
        (site.saying("scp", Value::Null), "the token's scp is not as"),
        (stranger, "operator_token_refused"),
        (job, "no [[operators.issuer]] has the token's iss"),
        (own, "operator_token_refused"),
        ("x".to_owned(), "operator_token_refused"),
    ] {
        let (code, said) = site.lanyard(&token, &["session", "list"]).await;
        assert!(code == 1 && said.contains(told), "{told}: {code} {said}");
    }
    let mut bare = Command::new(env!("CARGO_BIN_EXE_lanyard"));
    bare.args(["session", "list", "--admin-url"]).arg(format!("https://{}", site.doors.admin.unwrap()));
    assert_eq!(bare.env_remove("LANYARD_OPERATOR_TOKEN_FILE").output().await.unwrap().status.code(), Some(2));
    assert!(!site.journal().contains("operator_came"));
    site.doors.close().await;
}

//! A path belongs to one project: learned when a rule first grants it, or said by an operator, and each change is told.

use super::doors::Doors;
use crate::support::harness::{Harness, POLICY, csr, start};
use lanyard::crypto::PemLabel;
use lanyard::store::JournalReader;
use serde_json::{Map, Value, json};
use std::path::Path;
use tokio::process::Command;

/// The claims, as of a project at this path.
fn moved(mut claims: Map<String, Value>, path: &str, id: &str) -> Map<String, Value> {
    let subject = format!("project_path:{path}:ref_type:branch:ref:main");
    for (name, value) in [
        ("project_path", path),
        ("job_project_path", path),
        ("project_id", id),
        ("job_project_id", id),
        ("sub", &subject),
    ] {
        claims.insert(name.to_owned(), value.into());
    }
    claims
}

/// What the journal says of pins.
fn changes(folder: &Path) -> Vec<Value> {
    let records = JournalReader::open(&folder.join("data")).unwrap();
    let entries = records.map(|record| serde_json::from_str::<Value>(record.unwrap().entry.get()).unwrap());
    entries.filter(|entry| entry["kind"] == "pin_changed").collect()
}

#[tokio::test]
async fn a_renamed_project_keeps_its_pins_and_the_journal_says_what_it_was_called() {
    let harness = Harness::with(POLICY, "sled").await;
    for path in ["acme/payments/api", "acme/payments/api", "acme/Billing/api", "acme/payments/API", "acme/pay"] {
        let claims = moved(harness.issuer.claims(start()), path, "4711");
        harness.exchange_by_csr(&harness.issuer.mint(&claims), csr()).await.unwrap();
    }
    // What it was called before is still its own.
    let claims = moved(harness.issuer.claims(start()), "acme/payments/api", "9999");
    let refusal = harness.exchange_by_csr(&harness.issuer.mint(&claims), csr()).await.unwrap_err();
    assert_eq!(refusal.code(), "project_path_reused");
    let command = "lanyard pin set corp acme/payments/api 9999";
    let journal = harness.journal();
    assert!(refusal.to_string().contains(command) && journal.contains(command), "{refusal}");

    let told: Vec<Value> = changes(harness.folder.path());
    let facts: Vec<_> =
        told.iter().map(|entry| [&entry["path"], &entry["new"], &entry["how"], &entry["from"]]).collect();
    let (first, second) = (json!("acme/payments/api"), json!("acme/billing/api"));
    assert_eq!(
        facts,
        [
            [&first, &json!(4711), &json!("first_use"), &Value::Null],
            [&second, &json!(4711), &json!("rename"), &json!([first])],
            [&json!("acme/pay"), &json!(4711), &json!("rename"), &json!([second, first])],
        ]
    );
    assert!(told.iter().all(|entry| entry["request_id"].is_string() && entry["job"]["project_id"] == 4711));
}

/// `lanyard pin …`: its exit code, and all that it said.
async fn pin(doors: &Doors, arguments: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanyard"));
    command.arg("pin").args(arguments.split(' ')).arg("--admin-socket").arg(doors.folder.path().join("admin.sock"));
    let output = command.output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// What a job of a project at this path gets: its ID, or what it is told.
async fn job(doors: &Doors, path: &str, id: &str) -> Result<String, (String, String)> {
    let token = doors.token_of(path, id);
    let pem = PemLabel::CertificateRequest.armour(&csr()).to_string();
    let (status, answer) = doors.post("/v1/svid/x509", &json!({ "token": token, "csr": pem })).await;
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap().to_owned();
    if status == 200 { Ok(text("spiffe_id")) } else { Err((text("code"), text("detail"))) }
}

impl Doors {
    fn token_of(&self, path: &str, id: &str) -> String {
        use lanyard::clock::{Clock as _, SystemClock};
        self.issuer.mint(&moved(self.issuer.claims(SystemClock.now()), path, id))
    }

    /// What explain says, to the job and to operators: the code, and the reason.
    async fn explained(&self, path: &str, id: &str) -> [(String, String); 2] {
        let token = self.token_of(path, id);
        let (_, walk) = self.post("/v1/explain", &json!({ "token": token })).await;
        let file = self.folder.path().join("token");
        std::fs::write(&file, token).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lanyard"));
        command.args(["explain", "--json", "--token-file"]).arg(file);
        command.arg("--admin-socket").arg(self.folder.path().join("admin.sock"));
        let output = command.output().await.unwrap();
        let whole: Value = serde_json::from_slice(&output.stdout).unwrap();
        let verdict = |walk: &Value| {
            let verdict = walk.get("verdict").unwrap();
            let text = |name: &str| verdict.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            (text("code"), text("reason"))
        };
        [verdict(&walk), verdict(&whole)]
    }
}

#[tokio::test]
async fn where_pins_are_declared_an_operator_s_word_is_the_only_way_in() {
    let doors = Doors::whose_issuer_says("pins = \"declared\"", POLICY).await;
    let (code, detail) = job(&doors, "acme/Payments/api", "4711").await.unwrap_err();
    assert_eq!(code, "project_path_not_pinned");
    assert!(detail.contains("ask yours") && !detail.contains("pin set"), "{detail}");
    let [bearer, operator] = doors.explained("acme/payments/api", "4711").await;
    assert_eq!((&*bearer.0, &*operator.0), ("project_path_not_pinned", "project_path_not_pinned"));
    assert!(operator.1.contains("lanyard pin set corp acme/payments/api 4711") && !bearer.1.contains("pin set"));

    let said = pin(&doors, "set corp Acme/payments/API 4711 --reason asked-by-ada").await;
    assert_eq!(said, (Some(0), "Acme/payments/API belongs to project 4711 from now on\n".to_owned()));
    let id = "spiffe://ci.example.org/acme/payments/api/-/pipelines/574";
    assert_eq!(job(&doors, "acme/payments/api", "4711").await.as_deref(), Ok(id));
    assert!(doors.explained("acme/payments/api", "4711").await.iter().all(|(code, _)| code.is_empty()));
    // A new name of a known project is not learned here either.
    assert_eq!(job(&doors, "acme/billing/api", "4711").await.unwrap_err().0, "project_path_not_pinned");

    let (code, detail) = job(&doors, "acme/payments/api", "9999").await.unwrap_err();
    assert_eq!(code, "project_path_reused");
    assert!(!detail.contains("4711") && detail.contains("ask your operator"), "{detail}");
    assert!(pin(&doors, "set corp acme/payments/api 9999").await.1.contains("not to 4711 any more"));
    assert!(pin(&doors, "set corp acme/payments/api 9999").await.1.contains("already"));
    assert_eq!(job(&doors, "acme/payments/api", "9999").await.as_deref(), Ok(id));
    assert_eq!(job(&doors, "acme/payments/api", "4711").await.unwrap_err().0, "project_path_reused");
    assert!(pin(&doors, "delete corp acme/payments/api --reason closed").await.1.contains("it was project 9999's"));
    assert_eq!(pin(&doors, "delete corp acme/payments/api").await.0, Some(1));
    assert_eq!(job(&doors, "acme/payments/api", "9999").await.unwrap_err().0, "project_path_not_pinned");

    let folder = doors.folder.path().to_owned();
    let told = changes(&folder);
    let own = json!(rustix::process::getuid().as_raw());
    assert!(told.iter().all(|entry| entry["how"] == "operator" && entry["uid"] == own && entry["user"].is_string()));
    let facts: Vec<_> = told.iter().map(|entry| [&entry["old"], &entry["new"], &entry["reason"]]).collect();
    let [none, first, second] = [Value::Null, json!(4711), json!(9999)];
    let [asked, closed] = [json!("asked-by-ada"), json!("closed")];
    assert_eq!(facts, [[&none, &first, &asked], [&first, &second, &none], [&second, &none, &closed]]);
    let mut shown = Command::new(env!("CARGO_BIN_EXE_lanyard"));
    shown.args(["audit", "show", "--kind", "pin_changed", "--project", "9999", "--data-dir"]).arg(folder.join("data"));
    let shown = String::from_utf8(shown.output().await.unwrap().stdout).unwrap();
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert!(shown.contains("acme/payments/api is project 9999, was 4711 ("), "{shown}");
    assert!(shown.contains("acme/payments/api is nobody's, was project 9999 ("), "{shown}");
    doors.close().await;
}

#[tokio::test]
async fn a_list_of_pins_is_read_page_by_page_and_by_pattern() {
    let doors = Doors::with(POLICY).await;
    job(&doors, "acme/payments/api", "4711").await.unwrap();
    job(&doors, "acme/payments/renamed", "4711").await.unwrap();
    for (wrong, wanted) in [
        ("set crop acme/a 1", 1),
        ("set corp acme 1", 1),
        ("set corp acme/a 0", 2),
        ("set corp https://gitlab/acme/a 1", 1),
    ] {
        let (code, said) = pin(&doors, wrong).await;
        assert_eq!(code, Some(wanted), "{said}");
    }
    // More than a page has.
    let admin = doors.folder.path().join("admin.sock");
    let channel = crate::support::beside::channel(&admin);
    let mut client = lanyard::wire::lanyard::admin_client::AdminClient::new(channel);
    for n in 0..1100 {
        let path = format!("zoo/animals-{n:04}");
        let asked = lanyard::wire::lanyard::SetPinRequest {
            issuer: "corp".into(),
            path,
            project_id: 1 + n,
            reason: String::new(),
        };
        client.set_pin(asked).await.unwrap();
    }
    let (_, all) = pin(&doors, "list --json").await;
    let all: Vec<Value> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(all.len(), 1102);
    let (path, by) = (&all[1]["path"], &all[1]["by"]);
    assert_eq!(
        (path, &by["how"], &by["from"]),
        (&json!("acme/payments/renamed"), &json!("rename"), &json!(["acme/payments/api"]))
    );
    assert!(all[0]["since"].as_str().unwrap().ends_with('Z') && all[0]["project_id"] == 4711);
    let (_, some) = pin(&doors, "list --issuer corp --path ZOO/*-10*").await;
    assert_eq!(some.lines().count(), 100, "{some}");
    let (_, one) = pin(&doors, "list --path */*/api").await;
    let first_use = "first use, by rule \"every project, its pipelines\"";
    assert!(one.starts_with("corp\tacme/payments/api\t4711\t20") && one.trim_end().ends_with(first_use), "{one}");
    assert_eq!(pin(&doors, "list --issuer nobody").await, (Some(0), String::new()));
    doors.close().await;
}

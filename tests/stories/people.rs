//! A person asks to be forgotten: no line of the journal changes, and nothing in the data folder tells of them any more.

use super::auditors::{commands_of, typed};
use super::doors::{Doors, code_of, exchange};
use super::ends::hangs_up;
use crate::support::harness::{Agent, Harness, POLICY, csr};
use crate::support::issuer::FakeIssuer;
use lanyard::clock::{Clock, SystemClock};
use lanyard::crypto::{KeyAlgorithm, KeyPair};
use lanyard::issuance::{Erasure, ErasureError, Refusal};
use lanyard::session::SessionError;
use lanyard::token::IssuerName;
use lanyard::wire::lanyard::RenewRequest;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::Duration;
use time::OffsetDateTime;

const SEALED: &str = "[audit]\npeople = \"sealed\"";
const USER: u64 = 734_028_151_900_417_263;
/// All that tells of one person: id, login, mail, an account elsewhere, a group.
const TRACES: [&str; 5] = ["734028151900417263", "countess", "lovelace@", "uid=byron", "acme/analysts"];

/// A token of a job that she started, whose `sub` names her too.
fn token_of_ada(issuer: &FakeIssuer, now: OffsetDateTime) -> String {
    let mut claims = issuer.claims(now);
    for (name, value) in [
        ("user_id", json!(USER.to_string())),
        ("user_login", json!("countess")),
        ("user_email", json!("lovelace@corp.example")),
        ("user_identities", json!([{ "provider": "ldapmain", "extern_uid": "uid=byron,dc=corp,dc=example" }])),
        ("groups_direct", json!(["acme/analysts"])),
        ("sub", json!("project_path:acme/payments/api:ref_type:branch:ref:main:user_login:countess")),
    ] {
        claims.insert(name.to_owned(), value);
    }
    issuer.mint(&claims)
}

/// What of her stands in which file below a folder.
fn traces(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for file in fs::read_dir(folder).unwrap().map(|file| file.unwrap()) {
        let path = file.path();
        let kind = file.file_type().unwrap();
        if kind.is_dir() {
            found.extend(traces(&path));
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap();
            let has = |trace: &str| bytes.windows(trace.len()).any(|piece| piece == trace.as_bytes());
            found.extend(
                TRACES.into_iter().filter(|trace| has(trace)).map(|trace| format!("{trace} in {}", path.display())),
            );
        }
    }
    found
}

/// Only hers, so that nothing is renewed without knowing who she is.
fn only_hers() -> String {
    POLICY.replace("issuer = \"corp\"", &format!("issuer = \"corp\"\nuser_id = {USER}"))
}

fn erasure<'a>(issuer: &'a IssuerName, reason: &'a str) -> Erasure<'a> {
    Erasure { issuer, user: USER, uid: 7, reason }
}

#[tokio::test]
async fn an_erasure_is_carried_out_though_whoever_asked_for_it_hangs_up() {
    let harness = Harness::whose_issuer_says(SEALED, &only_hers(), "memory").await;
    let (agent, corp) = (Agent::new(), IssuerName("corp".into()));
    harness.exchange(&token_of_ada(&harness.issuer, harness.now()), &agent).await.unwrap();
    let mut heard = harness.issuance().sessions.listen(agent.public().id(), 1).unwrap();
    hangs_up(harness.issuance().erase(&erasure(&corp, "PRIVACY-1741"))).await;
    let told = tokio::time::timeout(Duration::from_secs(20), heard.next()).await.unwrap().unwrap();
    assert_eq!(told.reason.as_str(), "erased");
    assert!(harness.issuance().people.name_of(&corp, &USER.to_string()).is_none(), "the key is gone");
}

#[tokio::test]
async fn a_sealed_person_is_renewed_over_restarts_and_forgotten_for_good() {
    let mut harness = Harness::whose_issuer_says(SEALED, &only_hers(), "sled").await;
    let (agent, data) = (Agent::new(), harness.folder.path().join("data"));
    let first = harness.exchange(&token_of_ada(&harness.issuer, harness.now()), &agent).await.unwrap();
    let session = first.session().unwrap().to_owned();
    let mut grace = harness.issuer.claims(harness.now());
    grace.insert("user_login".to_owned(), "countess-to-be".into());
    let refused = harness.exchange(&harness.issuer.mint(&grace), &agent).await.unwrap_err();
    assert_eq!(refused.code(), "no_rule_matches");
    harness.renew(&session, &agent).await.unwrap();
    harness = harness.restarted(None).await;
    harness.renew(&session, &agent).await.unwrap();
    assert_eq!(traces(&data), [""; 0]);
    let request = first.request_id().to_owned();
    let told = json!(harness.issuance().recall(&request).await.unwrap().unwrap());
    assert_eq!((&told["person_erased"], &told["verdict"]["outcome"]), (&json!(false), &json!("granted")));
    assert!(told["rules"].to_string().contains(&USER.to_string()), "{told}");

    let backup = fs::read(data.join("people.keys")).unwrap();
    let corp = IssuerName("corp".into());
    let forgotten = harness.issuance().erase(&erasure(&corp, "PRIVACY-1741")).await.unwrap();
    assert_eq!(forgotten.struck.sessions.len(), 1);
    let ended = harness.renew(&session, &agent).await.unwrap_err();
    assert!(matches!(ended, Refusal::Session(SessionError::Ended)), "{ended}");
    let told = json!(harness.issuance().recall(&request).await.unwrap().unwrap());
    assert_eq!(told["person_erased"], true);
    assert!(!told.to_string().contains("countess"), "{told}");
    let again = harness.issuance().erase(&erasure(&corp, "PRIVACY-1741")).await.unwrap_err();
    assert!(matches!(again, ErasureError::Unknown), "{again}");

    // A backup of the keys brings nobody back who the journal says was erased.
    harness.parts.store.close();
    fs::write(data.join("people.keys"), backup).unwrap();
    harness = harness.restarted(None).await;
    let told = json!(harness.issuance().recall(&request).await.unwrap().unwrap());
    assert_eq!(told["person_erased"], true);
    assert!(harness.renew(&session, &agent).await.is_err());
    assert_eq!(traces(&data), [""; 0]);
    let erased = harness.entries("person_erased");
    assert_eq!((erased.len(), &erased[0]["person"]), (1, &json!(forgotten.person)));
    assert_eq!(harness.entries("session_ended")[0]["why"], "erased");
}

#[tokio::test]
async fn a_crash_between_the_record_and_the_deletion_is_made_good_at_the_next_start() {
    let harness = Harness::whose_issuer_says(SEALED, POLICY, "sled").await;
    let data = harness.folder.path().join("data");
    let first = harness.exchange(&token_of_ada(&harness.issuer, harness.now()), &Agent::new()).await.unwrap();
    // The keys cannot be written: recorded, and not yet deleted.
    fs::create_dir(data.join(".people.keys.new")).unwrap();
    let corp = IssuerName("corp".into());
    let not_yet = harness.issuance().erase(&erasure(&corp, "PRIVACY-1741")).await.unwrap_err();
    assert!(matches!(not_yet, ErasureError::NotDeleted(_)), "{not_yet}");
    let request = first.request_id().to_owned();
    let erased =
        async |harness: &Harness| json!(harness.issuance().recall(&request).await.unwrap())["person_erased"] == true;
    assert!(!erased(&harness).await);
    fs::remove_dir(data.join(".people.keys.new")).unwrap();
    let harness = harness.restarted(None).await;
    assert!(erased(&harness).await);
}

#[tokio::test]
async fn an_operator_erases_at_a_running_server_with_the_page_s_commands() {
    let doors = Doors::whose_issuer_says(SEALED, &POLICY.replace("ttl =", "tags = [\"pci\"]\nttl =")).await;
    let data = doors.folder.path().join("data");
    let key = KeyPair::generate(KeyAlgorithm::EcP256).unwrap();
    let mut agent = doors.agent(Some(&key));
    let hers = token_of_ada(&doors.issuer, SystemClock.now());
    let session = agent.exchange(exchange(hers)).await.unwrap().into_inner().session;
    let others = doors.agent(Some(&key)).exchange(exchange(doors.token())).await.unwrap().into_inner();
    let again = RenewRequest { session: session.clone(), csr: csr().into(), ..RenewRequest::default() };
    agent.renew(again.clone()).await.unwrap();
    let (code, printed, said) = typed(&doors, "lanyard audit show --user Countess").await;
    assert_eq!((code, printed.matches("\tcountess\t").count()), (Some(0), 3), "{printed}{said}");
    let (_, printed, _) = typed(&doors, "lanyard audit show --user countess --json --kind intent").await;
    let first: Value = serde_json::from_str(printed.lines().next().unwrap()).unwrap();
    assert_eq!(first["person"], json!({ "user_login": "countess", "user_id": USER }), "{first}");
    assert!(!first["entry"].to_string().contains("countess"), "{first}");
    assert_eq!(traces(&data), [""; 0]);

    let lines = commands_of("A person asks to be forgotten", "lanyard audit");
    assert_eq!(lines.len(), 4, "{lines:?}");
    for line in lines {
        let line = line.replace("gitlab", "corp").replace("USER-ID", &USER.to_string()).replace("LOGIN", "countess");
        let (code, printed, said) = typed(&doors, &line).await;
        let wanted = if line.contains("--user countess") { Some(1) } else { Some(0) };
        assert_eq!(code, wanted, "{line}: {printed}{said}");
        if line.contains("audit erase") {
            assert!(printed.contains("1 live session ended") && said.contains("backups"), "{printed}{said}");
        }
    }
    assert_eq!(code_of(&agent.renew(again).await.unwrap_err()), "session_ended");
    let mine = RenewRequest { session: others.session, csr: csr().into(), ..RenewRequest::default() };
    doors.agent(Some(&key)).renew(mine).await.unwrap();
    let (_, printed, _) = typed(&doors, "lanyard audit show --kind intent").await;
    assert_eq!((printed.matches("\t(erased)\t").count(), printed.matches("\tada\t").count()), (2, 2), "{printed}");
    let (code, _, said) = typed(&doors, "lanyard audit show --user countess").await;
    assert!(code == Some(1) && said.contains("of somebody who is erased"), "{said}");
    let elsewhere = format!("lanyard audit erase --issuer corp --user {USER} --reason again");
    let (code, _, said) = typed(&doors, &elsewhere).await;
    assert!(code == Some(1) && said.contains("person_unknown"), "{said}");
    assert_eq!(traces(&data), [""; 0]);

    // Who comes again is somebody new.
    agent.exchange(exchange(token_of_ada(&doors.issuer, SystemClock.now()))).await.unwrap();
    let (_, printed, _) = typed(&doors, "lanyard audit show --kind intent").await;
    assert_eq!((printed.matches("\t(erased)\t").count(), printed.matches("\tcountess\t").count()), (2, 1), "{printed}");
    // Without the sealing key a copy of the journal tells of nobody.
    let copy = doors.folder.path().join("copy");
    fs::create_dir(&copy).unwrap();
    fs::create_dir(copy.join("journal")).unwrap();
    for file in fs::read_dir(data.join("journal")).unwrap().map(|file| file.unwrap().path()) {
        fs::copy(&file, copy.join("journal").join(file.file_name().unwrap())).unwrap();
    }
    let (_, printed, _) =
        typed(&doors, &format!("lanyard audit show --kind intent --data-dir {}", copy.display())).await;
    assert_eq!(printed.matches("\t(sealed)\t").count(), 5, "{printed}");
    doors.close().await;
}

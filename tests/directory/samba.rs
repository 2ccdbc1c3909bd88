//! What a job gets when the rule that speaks needs the directory.

use crate::domain::{BASE, Domain, PASSWORD};
use crate::scene::{BY_LINK, Scene, Told, dn, link, needing};
use crate::support::beside::{Site, within};
use crate::support::harness::{Agent, POLICY};
use lanyard::audit::Person;
use lanyard::directory::Pinned;
use lanyard::issuance::Erasure;
use lanyard::token::IssuerName;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const ENABLED: &str = "\"directory.enabled\" = true";
const BY_NAMES: &str = "[[directory.account]]\nprovider = \"saml\"\nattribute = \"userPrincipalName\"\n\
                        [[directory.account]]\nclaim = \"user_email\"\n";

#[tokio::test]
async fn a_job_of_a_person_whose_account_is_open_gets_its_identity_and_others_get_none() {
    let domain = Domain::new();
    let scene = Scene::of(&domain, &Told::default(), ENABLED).await;
    let agent = Agent::new();
    let token = |user_id, name| scene.harness.issuer.mint(&scene.claims(user_id, link(&dn(name))));
    scene.harness.exchange(&token(51, "alice"), &agent).await.unwrap();
    let refusal = scene.harness.exchange(&token(52, "bob"), &agent).await.unwrap_err();
    assert_eq!(refusal.code(), "need_failed");
    assert!(refusal.to_string().contains("the account is disabled"), "{refusal}");
    let journal = scene.harness.journal();
    let remembered: Vec<_> = journal.lines().filter(|line| line.contains(r#""kind":"account_remembered""#)).collect();
    assert_eq!(remembered.len(), 1, "of bob nothing is remembered: {remembered:?}");
    assert!(
        journal.contains(r#""directory.enabled":{"is":true}}"#) && journal.contains(r#""directory.account":{"is":""#)
    );
    assert!(!journal.contains(PASSWORD));
}

#[tokio::test]
async fn an_account_that_may_not_act_and_a_link_that_leads_to_none_are_a_no() {
    let domain = Domain::new();
    for _try in 0..4 {
        assert!(!domain.try_password("dave", "not-the-password"));
    }
    let scene = Scene::of(&domain, &Told::default(), ENABLED).await;
    assert_eq!(scene.linked(1, &dn("alice")).await, ("pass".to_owned(), "true".to_owned()));
    let gone = "it was renamed, moved or deleted";
    for (user_id, extern_uid, told) in [
        (2, dn("bob"), "the account is disabled"),
        (3, dn("carol"), "the account has expired"),
        (4, dn("dave"), "the account is locked"),
        (5, dn("erin"), "the account's password has expired"),
        (6, dn("Guest"), "the account is disabled"),
        (7, dn("nobody"), gone),
        (8, format!("CN=build01,CN=Computers,{BASE}"), gone),
        (9, dn("platform"), gone),
        (10, BASE.to_owned(), gone),
        (11, "DC=other,DC=test".to_owned(), gone),
        (12, "cn=x\\,ou=admins".to_owned(), gone),
        (13, format!("cn=x\\,ou=admins,{BASE}"), gone),
        (14, "*)(objectClass=*".to_owned(), gone),
        (15, format!("CN=*,CN=Users,{BASE}"), gone),
        (16, String::new(), "the token names no account"),
    ] {
        let (outcome, got) = scene.linked(user_id, &extern_uid).await;
        assert!(outcome == "fail" && got.contains(told), "{extern_uid}: {outcome} {got}");
        assert!(!got.to_lowercase().contains("cn="), "it names nobody: {got}");
    }
    let scene = Scene::of(&domain, &Told { base: &format!("OU=Others,{BASE}"), ..Told::default() }, ENABLED).await;
    assert_eq!(scene.linked(1, &format!("CN=mallory,OU=Others,{BASE}")).await.0, "pass");
    assert_eq!(scene.linked(2, &dn("alice")).await.0, "fail", "she stands elsewhere");
}

#[tokio::test]
async fn a_name_is_compared_as_it_is_and_leads_to_one_account_or_to_none() {
    let domain = Domain::new();
    let scene = Scene::of(&domain, &Told { ways: BY_NAMES, ..Told::default() }, ENABLED).await;
    let saml = |uid: &str| json!([{ "provider": "saml", "extern_uid": uid }]);
    for (user_id, identities, mail, outcome, told) in [
        (1, saml("alice@corp.lanyard.test"), "", "pass", "true"),
        (1, saml("ALICE@corp.lanyard.test"), "", "pass", "true"),
        (3, saml("al*"), "alice@corp.lanyard.test", "fail", "no account of the token's user"),
        (4, saml("*"), "", "fail", "no account"),
        (5, saml("*)(objectClass=*"), "", "fail", "no account"),
        (6, saml("alice@corp.lanyard.test)(cn=*"), "", "fail", "no account"),
        (7, saml("alice\\40corp.lanyard.test"), "", "fail", "no account"),
        (1, json!([]), "alice@corp.lanyard.test", "pass", "true"),
        (9, json!([]), "frank@corp.lanyard.test", "fail", "more than one account"),
        (10, json!([]), "*", "fail", "no account"),
        (11, Value::Null, "nobody@corp.lanyard.test", "fail", "no account"),
    ] {
        let mut claims = scene.claims(user_id, identities);
        claims.insert("user_email".to_owned(), json!(mail));
        // GitLab says nothing of whoever has not allowed it.
        claims.retain(|_name, value| !value.is_null());
        let got = scene.judged(&claims).await;
        assert!(got.0 == outcome && got.1.contains(told), "{user_id}: {got:?}");
    }
}

#[tokio::test]
async fn who_is_in_a_group_by_another_group_or_by_the_primary_one_is_in_it_and_not_means_what_it_says() {
    let domain = Domain::new();
    let (sid, everybody) = (domain.sid_of_group("finance"), domain.sid_of_group("Domain Users"));
    let groups = format!(
        "deployers = \"cn=Deployers, {}\"\nfinance = \"{}\"\nfinance-by-sid = \"{sid}\"\neverybody = \"{everybody}\"\n\
         users-by-dn = \"{}\"\n",
        dn("x").split_once(',').unwrap().1,
        dn("finance"),
        dn("Domain Users"),
    );
    let scene = Scene::of(&domain, &Told { groups, ..Told::default() }, "\"directory.group\" = \"deployers\"").await;
    let groups = |text: &str| {
        let names: BTreeSet<String> = text.split([',', '[', ']', ' ']).map(str::to_owned).collect();
        names.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>().join(" ")
    };
    for (user_id, name, outcome, is_in) in [
        (1, "alice", "pass", "deployers everybody users-by-dn"),
        (2, "hugo", "fail", "everybody finance finance-by-sid users-by-dn"),
        (3, "grace", "fail", "everybody users-by-dn"),
    ] {
        let got = scene.linked(user_id, &dn(name)).await;
        assert_eq!((got.0.as_str(), groups(&got.1).as_str()), (outcome, is_in), "{name}: {got:?}");
    }
    let (outcome, got) = scene.linked(4, &dn("bob")).await;
    assert!(outcome == "fail" && got.contains("disabled"), "he is a member, and may not act: {got}");
    domain.tool(&["group", "removemembers", "platform", "alice"]);
    assert_eq!(scene.linked(1, &dn("alice")).await.0, "fail");
    // A group that is not there is no group that somebody is not in.
    domain.tool(&["group", "delete", "deployers"]);
    scene.harness.advance(300);
    let (outcome, got) = scene.linked(3, &dn("grace")).await;
    assert!(outcome == "unavailable" && got.contains("no group that is deployers in [directory.groups]"), "{got}");
    domain.tool(&["group", "add", "newsletter", "--group-type=Distribution"]);
    let groups = format!("newsletter = \"{}\"\nfinance = \"{}\"\n", dn("newsletter"), dn("finance"));
    let told = Told { groups, ..Told::default() };
    for (need, user_id, name, outcome, told_why) in [
        ("not.\"directory.group\" = \"newsletter\"", 5, "alice", "unavailable", "a distribution list"),
        ("not.\"directory.group\" = \"finance\"", 6, "hugo", "unavailable", "a distribution list"),
    ] {
        let scene = Scene::of(&domain, &told, need).await;
        let (got, why) = scene.linked(user_id, &dn(name)).await;
        assert!(got == outcome && why.contains(told_why), "{name}: {got} {why}");
    }
    let told = Told { groups: format!("finance = \"{}\"\n", dn("finance")), ..Told::default() };
    let scene = Scene::of(&domain, &told, "not.\"directory.group\" = \"finance\"").await;
    assert_eq!(scene.linked(6, &dn("hugo")).await.0, "fail", "his primary group");
    assert_eq!(scene.linked(5, &dn("alice")).await.0, "pass");
}

#[tokio::test]
async fn an_account_is_known_again_by_its_guid_and_no_other_takes_its_place() {
    let domain = Domain::new();
    let scene = Scene::of(&domain, &Told::default(), ENABLED).await;
    assert_eq!(scene.linked(51, &dn("alice")).await.0, "pass");
    domain.tool(&["user", "rename", "alice", "--force-new-cn=Alice Baker"]);
    assert_eq!(scene.linked(51, &dn("alice")).await.0, "pass", "GitLab has not noticed yet");
    assert_eq!(scene.linked(51, &dn("Alice Baker")).await.0, "pass");
    let (outcome, got) = scene.linked(52, &dn("alice")).await;
    assert!(outcome == "fail" && got.contains("renamed"), "nobody knows who that was: {got}");
    let (outcome, got) = scene.linked(51, &dn("grace")).await;
    assert!(outcome == "fail" && got.contains("another account than before"), "{got}");
    let Scene { harness, secrets } = scene;
    let scene = Scene { harness: harness.restarted(None).await, secrets };
    assert_eq!(scene.linked(51, &dn("grace")).await.0, "fail", "it is remembered");
    assert_eq!(scene.linked(53, &dn("grace")).await.0, "pass", "it is hers");
    let (outcome, got) = scene.linked(54, &dn("grace")).await;
    assert!(outcome == "fail" && got.contains("answers to another user of the issuer already"), "{got}");
    let pins = scene.harness.issuance().account_pins.clone();
    let (by, user) = (Person { uid: 7, user: None }, Pinned::User((IssuerName("corp".into()), 51)));
    assert!(pins.forget(&user, (&by, "made anew")).await.unwrap());
    assert!(!pins.forget(&user, (&by, "made anew")).await.unwrap(), "nothing is left to forget");
    assert_eq!(scene.linked(51, &dn("Alice Baker")).await.0, "pass");
    domain.tool(&["user", "delete", "alice"]);
    for name in ["alice", "Alice Baker"] {
        let (outcome, got) = scene.linked(51, &dn(name)).await;
        assert!(outcome == "fail" && got.contains("no account"), "{got}");
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_asked_is_no_answer_and_is_asked_again_when_it_can() {
    let mut domain = Domain::new();
    let stranger = Scene::of(&domain, &Told { ca: "another", ..Told::default() }, ENABLED).await;
    let (outcome, got) = stranger.linked(1, &dn("alice")).await;
    assert!(outcome == "unavailable" && got.contains("no TLS with"), "{got}");

    let by_start_tls = Scene::of(&domain, &Told { scheme: "ldap", ..Told::default() }, ENABLED).await;
    assert_eq!(by_start_tls.linked(1, &dn("alice")).await.0, "pass");

    let scene = Scene::of(&domain, &Told::default(), ENABLED).await;
    assert_eq!(scene.linked(1, &dn("alice")).await.0, "pass");
    domain.signal("STOP");
    let (outcome, got) = scene.linked(1, &dn("alice")).await;
    assert!(outcome == "unavailable" && got.contains("no answer within 3 s"), "{got}");
    domain.signal("CONT");
    assert_eq!(scene.linked(1, &dn("alice")).await.0, "pass");
    domain.kill();
    let (outcome, got) = scene.linked(1, &dn("alice")).await;
    assert!(outcome == "unavailable" && got.contains("cannot be asked"), "{got}");
    domain.start();
    assert_eq!(scene.linked(1, &dn("alice")).await.0, "pass");
    domain.kill();
    domain.start();
    assert_eq!(scene.linked(1, &dn("alice")).await.0, "pass", "that its connection was lost is nobody's business");
}

#[tokio::test]
async fn a_password_that_was_refused_is_not_tried_until_our_own_account_is_locked() {
    let domain = Domain::new();
    let scene = Scene::of(&domain, &Told::default(), ENABLED).await;
    scene.put_password("not-the-password\n");
    let (outcome, got) = scene.linked(1, &dn("alice")).await;
    assert!(outcome == "unavailable" && got.contains("wrong name or password"), "{got}");
    for _time in 0..5 {
        let (outcome, got) = scene.linked(1, &dn("alice")).await;
        assert!(outcome == "unavailable" && got.contains("not tried again"), "{got}");
    }
    assert!(domain.try_password("svc-lanyard", PASSWORD), "three tries would have locked it");
    scene.put_password("");
    let (outcome, got) = scene.linked(1, &dn("alice")).await;
    assert!(outcome == "unavailable" && got.contains("is empty"), "{got}");
    scene.put_password(&format!("{PASSWORD}\n"));
    assert_eq!(scene.linked(1, &dn("alice")).await.0, "pass");
}

#[tokio::test]
async fn whose_account_is_disabled_loses_what_lives_of_it_and_only_where_the_rule_needs_the_directory() {
    let mut domain = Domain::new();
    let other = POLICY.replace("every project, its", "whoever is left,").replace("/-/", "/-/b/");
    let need = format!("{ENABLED}\n[rule.unless]\nproject_id = 4712\n{other}");
    let scene = Scene::of(&domain, &Told::default(), &need).await;
    let agent = Agent::new();
    let mut sessions = Vec::new();
    for (name, project) in [("alice", "4711"), ("grace", "4711"), ("alice", "4712")] {
        let user_id = if name == "alice" { 51 } else { 52 };
        let mut claims = scene.claims(user_id, link(&dn(name)));
        of_project(&mut claims, project);
        let issued = scene.harness.exchange(&scene.harness.issuer.mint(&claims), &agent).await.unwrap();
        sessions.push(issued.session().unwrap().to_owned());
    }
    let (road, directory) = (scene.harness.issuance(), scene.harness.issuance().directory.as_ref().unwrap());
    assert_eq!(road.end_departed(directory).await.unwrap(), 0);
    domain.tool(&["user", "disable", "alice"]);
    domain.kill();
    road.end_departed(directory).await.unwrap_err();
    domain.start();
    assert_eq!(road.end_departed(directory).await.unwrap(), 1);
    assert_eq!(road.end_departed(directory).await.unwrap(), 0);
    let codes = [scene.harness.renew(&sessions[0], &agent).await.unwrap_err().code().to_owned()];
    assert_eq!(codes, ["session_ended"]);
    for session in &sessions[1..] {
        scene.harness.renew(session, &agent).await.unwrap();
    }
    domain.tool(&["user", "delete", "grace"]);
    assert_eq!(road.end_departed(directory).await.unwrap(), 1, "nor does an account live that is gone");
    assert_eq!(scene.harness.entries("session_ended").len(), 2);
}

#[tokio::test]
async fn a_workload_loses_its_identity_within_the_interval_when_the_account_is_disabled() {
    let (domain, secrets) = (Domain::new(), tempfile::TempDir::new().unwrap());
    let lines = Told::default().lines(&domain, secrets.path());
    let site = Site::open_saying(&needing(ENABLED), &lines).await;
    let mut claims = site.issuer.claims(lanyard::clock::Clock::now(&*site.clock));
    claims.insert("user_identities".to_owned(), link(&dn("alice")));
    let agent = site.agent();
    agent.login(site.issuer.mint(&claims)).await.unwrap();
    let mut stream = agent.x509_stream().await;
    within(stream.message()).await.unwrap().unwrap();
    domain.tool(&["user", "disable", "alice"]);
    site.clock.advance(Duration::from_secs(10));
    within(stream.message()).await.unwrap_err();
    agent.ended().await;
    for (code, told) in [(0, "the next account that user 51 of corp is led to"), (1, "no account is remembered")] {
        let mut forget = tokio::process::Command::new(env!("CARGO_BIN_EXE_lanyard"));
        forget.args(["directory", "forget", "--issuer", "corp", "--user", "51", "--reason", "made anew"]);
        let output = within(forget.arg("--admin-socket").arg(site.path("admin.sock")).output()).await.unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.code() == Some(code) && said.contains(told), "{said}");
    }
}

#[tokio::test]
async fn whose_account_it_is_stands_sealed_where_persons_are() {
    let domain = Domain::new();
    let sealed = "[audit]\npeople = \"sealed\"\n".to_owned();
    let scene = Scene::of(&domain, &Told { groups: sealed, ..Told::default() }, ENABLED).await;
    assert_eq!(scene.linked(51, &dn("grace")).await.0, "pass", "whoever only explains leaves nothing behind");
    let agent = Agent::new();
    let token = scene.harness.issuer.mint(&scene.claims(51, link(&dn("alice"))));
    scene.harness.exchange(&token, &agent).await.unwrap();
    assert_eq!(scene.linked(51, &dn("grace")).await.0, "fail");
    assert_eq!(scene.linked(51, &dn("alice")).await.0, "pass");
    assert_eq!(scene.linked(52, &dn("alice")).await.0, "fail", "also where nobody sees whose it is");
    domain.tool(&["user", "disable", "alice"]);
    let road = scene.harness.issuance();
    assert_eq!(road.end_departed(road.directory.as_ref().unwrap()).await.unwrap(), 1);
    domain.tool(&["user", "enable", "alice"]);
    let issuer = IssuerName("corp".into());
    let wish = Erasure { issuer: &issuer, user: 51, uid: 7, reason: "asked" };
    road.erase(&wish).await.unwrap();
    assert_eq!(
        scene.linked(52, &dn("alice")).await.0,
        "pass",
        "what was known of the account is forgotten with the person"
    );
    assert!(!scene.harness.journal().contains("directory.account"));
    let remembered = scene.harness.entries("account_remembered");
    assert_eq!((remembered.len(), remembered[0].get("account")), (1, None));
    assert_ne!(remembered[0]["user"], "51");
}

#[tokio::test]
async fn of_many_questions_at_once_with_a_wrong_password_one_shows_it() {
    let domain = Domain::new();
    let scene = Scene::of(&domain, &Told::default(), ENABLED).await;
    scene.put_password("not-the-password\n");
    scene.harness.advance(11);
    let mut asking = tokio::task::JoinSet::new();
    for user_id in 1..=8 {
        let token = scene.harness.issuer.mint(&scene.claims(user_id, link(&dn("alice"))));
        let road = std::sync::Arc::clone(&scene.harness.parts.issuance);
        asking.spawn(async move { serde_json::to_string(&road.explain(&token).await.unwrap().1).unwrap() });
    }
    let said = asking.join_all().await;
    let shown = said.iter().filter(|said| said.contains("wrong name or password")).count();
    assert_eq!((shown, said.len()), (1, 8), "{said:?}");
    assert!(domain.try_password("svc-lanyard", PASSWORD), "three tries would have locked it");
    // That it is busy, or locked for a while, says nothing of the password.
    domain.tool(&["user", "disable", "svc-lanyard"]);
    scene.put_password(&format!("{PASSWORD}\n"));
    let (outcome, got) = scene.linked(1, &dn("alice")).await;
    assert!(outcome == "unavailable" && got.contains("is disabled"), "{got}");
    domain.tool(&["user", "enable", "svc-lanyard"]);
    assert_eq!(scene.linked(1, &dn("alice")).await.0, "pass");
}

fn of_project(claims: &mut Map<String, Value>, project_id: &str) {
    let path = format!("acme/payments/p{project_id}");
    for (name, value) in [("project_id", project_id), ("project_path", path.as_str())] {
        claims.insert(name.to_owned(), json!(value));
        claims.insert(format!("job_{name}"), json!(value));
    }
    claims.insert("sub".to_owned(), json!(format!("project_path:{path}:ref_type:branch:ref:main")));
}

#[tokio::test]
async fn the_ways_are_tried_in_their_order() {
    let domain = Domain::new();
    let ways = format!("{BY_LINK}{BY_NAMES}");
    let scene = Scene::of(&domain, &Told { ways: &ways, ..Told::default() }, ENABLED).await;
    let both = |dn: &str, upn: &str| json!([{ "provider": "saml", "extern_uid": upn }, { "provider": "ldapmain", "extern_uid": dn }]);
    let (alice, bob) = ("alice@corp.lanyard.test", "bob@corp.lanyard.test");
    for (user_id, identities, outcome) in [
        (1, both(&dn("alice"), bob), "pass"),
        (2, both(&dn("bob"), alice), "fail"),
        (1, both(&dn("moved"), alice), "pass"),
        (4, both(&dn("moved"), bob), "fail"),
    ] {
        let got = scene.judged(&scene.claims(user_id, identities)).await;
        assert_eq!(got.0, outcome, "{user_id}: {got:?}");
    }
}

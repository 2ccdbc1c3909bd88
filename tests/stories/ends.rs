//! How identities end before their time: by an operator, by a ban, by the CI system, by a thief who shows himself.

use crate::support::harness::{Agent, Harness, POLICY, start};
use lanyard::issuance::{IssuedSvid, Refusal};
use lanyard::session::{Ban, EndReason, Ended, JobName, Listening, Revocation, Selector, Struck};
use lanyard::store::Store;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

fn selector(named: Value) -> Selector {
    serde_json::from_value(named).unwrap()
}

fn code(outcome: Result<IssuedSvid, Refusal>) -> &'static str {
    outcome.map_or_else(|refusal| refusal.code(), |_issued| "issued")
}

fn session_of(issued: &IssuedSvid) -> String {
    issued.session().unwrap().to_owned()
}

/// The next end that an agent hears of.
async fn hears(listening: &mut Listening) -> Ended {
    tokio::time::timeout(Duration::from_secs(20), listening.next()).await.unwrap().unwrap()
}

/// Asks for something, and goes away before there is an answer.
pub(crate) async fn hangs_up(asked: impl Future) {
    tokio::select! {
        biased;
        _ = asked => panic!("answered at once"),
        () = std::future::ready(()) => {}
    }
}

async fn revoke(harness: &Harness, named: Value) -> Struck {
    let selector = selector(named);
    let wish = Revocation { selector: &selector, uid: 7, reason: "a test" };
    harness.issuance().revoke(&wish).await.unwrap()
}

async fn ban(harness: &Harness, named: Value, until: Option<OffsetDateTime>) -> (Ban, Struck) {
    let ban = Ban::new(selector(named), (7, "a test".to_owned()), (harness.now(), until));
    let struck = harness.issuance().ban(&ban).await.unwrap();
    (ban, struck)
}

/// The journal's entries of these kinds.
fn entries(harness: &Harness, kinds: &[&str]) -> Vec<Value> {
    let journal = harness.journal();
    let records = journal.lines().map(|line| serde_json::from_str::<Value>(line.get(65..).unwrap()).unwrap());
    let entries = records.map(|mut record| record.get_mut("entry").unwrap().take());
    entries.filter(|entry| kinds.contains(&entry["kind"].as_str().unwrap())).collect()
}

/// The token of a new job of a project, on a branch.
fn token_of(harness: &Harness, project: u64, branch: &str) -> String {
    let mut claims = harness.issuer.claims(harness.now());
    let (id, path) = (project.to_string(), format!("acme/p{project}"));
    for (name, value) in [
        ("project_id", &id),
        ("job_project_id", &id),
        ("project_path", &path),
        ("job_project_path", &path),
        ("sub", &format!("project_path:{path}:ref_type:branch:ref:{branch}")),
        ("ref", &branch.to_owned()),
        ("ref_path", &format!("refs/heads/{branch}")),
    ] {
        claims.insert(name.to_owned(), value.as_str().into());
    }
    harness.issuer.mint(&claims)
}

/// Such a job, its session opened by an agent of its own.
async fn job(harness: &Harness, project: u64, branch: &str) -> (Agent, String, String) {
    let (token, agent) = (token_of(harness, project, branch), Agent::new());
    let issued = harness.exchange(&token, &agent).await.unwrap();
    (agent, session_of(&issued), token)
}

#[tokio::test]
async fn a_revocation_ends_what_is_meant_and_nothing_else_and_each_end_is_on_record() {
    let harness = Harness::new().await;
    let (one, first, token) = job(&harness, 1, "main").await;
    let (same, second, _) = job(&harness, 1, "other").await;
    let (other, third, _) = job(&harness, 2, "main").await;
    let sessions = &harness.issuance().sessions;
    let meant = selector(json!({ "project": 1, "ref": "main" }));
    assert_eq!(sessions.would_strike(&meant, harness.now()).sessions.len(), 1, "a dry run only counts");
    assert_eq!(code(harness.renew(&first, &one).await), "issued");

    harness.advance(60);
    let struck = revoke(&harness, json!({ "project": 1, "ref": "main" })).await;
    assert_eq!((struck.sessions.len(), struck.jobs()), (1, 1));
    assert_eq!(struck.svids_end_at(), Some(start() + Duration::from_secs(900)));
    assert_eq!(code(harness.renew(&first, &one).await), "session_ended");
    assert_eq!(code(harness.exchange(&token, &one).await), "session_ended");
    assert_eq!(code(harness.renew(&second, &same).await), "issued");
    assert_eq!(code(harness.renew(&third, &other).await), "issued");
    assert_eq!(revoke(&harness, json!({ "namespace": "acme" })).await.sessions.len(), 2);
    assert_eq!(code(harness.renew(&third, &other).await), "session_ended");
    assert_eq!(revoke(&harness, json!({ "namespace": "acme" })).await.sessions.len(), 0, "once is enough");

    let told = entries(&harness, &["sessions_revoked", "session_ended"]);
    let kinds: Vec<_> = told.iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    let (wish, end) = ("sessions_revoked", "session_ended");
    assert_eq!(kinds, [wish, end, wish, end, end, wish]);
    assert_eq!(told[0]["selector"], "project=1 ref=main");
    assert_eq!(told[0]["sessions"], 1);
    let end = &told[1];
    assert_eq!((&end["session"], &end["why"], &end["by"]), (&json!(first), &json!("revoked"), &json!("operator")));
    assert_eq!((&end["uid"], &end["say"], &end["job"]["project_id"]), (&json!(7), &json!("a test"), &json!(1)));
}

#[tokio::test]
async fn every_selector_finds_its_sessions_also_after_a_restart() {
    let harness = Harness::with(POLICY, "sled").await;
    let (_, session, _) = job(&harness, 1, "main").await;
    let closed = job(&harness, 2, "main").await.1;
    let agent = job(&harness, 3, "main").await.0;
    assert_eq!(revoke(&harness, json!({ "project": 2 })).await.sessions.len(), 1);
    let of = |harness: &Harness, named: Value| {
        harness.issuance().sessions.select(Some(&selector(named)), harness.now()).sessions
    };
    let one = of(&harness, json!({ "project": 1 })).remove(0);
    let named = [
        json!({ "issuer": "corp", "project": 1 }),
        json!({ "project": "acme/p1" }),
        json!({ "namespace": "acme", "job": one.job.job_id }),
        json!({ "project": 1, "pipeline": 574 }),
        json!({ "project": 1, "user": "ada", "ref": "main" }),
        json!({ "project": 1, "user": "51", "runner": 88 }),
        json!({ "project": 1, "rule": one.rule, "signer": one.signers[0] }),
    ];
    let harness = harness.restarted(None).await;
    for named in named {
        let found = of(&harness, named.clone());
        assert_eq!(found.iter().map(|one| one.id.to_string()).collect::<Vec<_>>(), [session.as_str()], "{named}");
    }
    let all = harness.issuance().sessions.select(None, harness.now());
    assert_eq!(all.sessions.len(), 2, "the closed one is not among them");
    assert!(!all.sessions.iter().any(|one| one.id.to_string() == closed));
    // Nobody knows when its SVID was given, but no later than now.
    assert_eq!(all.svids_end_at(), Some(harness.now() + Duration::from_secs(900)));
    harness.advance(3600);
    assert_eq!(of(&harness, json!({ "namespace": "acme" })).len(), 0, "its time is over");
    drop(agent);
}

#[tokio::test]
async fn a_ban_ends_what_lives_and_refuses_what_would_come_until_it_is_lifted() {
    let harness = Harness::with(POLICY, "sled").await;
    let (agent, session, _) = job(&harness, 1, "main").await;
    let (set, struck) = ban(&harness, json!({ "project": 1 }), None).await;
    assert_eq!(struck.sessions.len(), 1);
    assert_eq!(code(harness.renew(&session, &agent).await), "session_ended");
    let token = token_of(&harness, 1, "main");
    assert_eq!(code(harness.exchange(&token, &agent).await), "banned");
    assert_eq!(code(harness.jwt(&token, "https://service.test", Some(&agent)).await), "banned");
    job(&harness, 2, "main").await;

    let harness = harness.restarted(None).await;
    assert_eq!(harness.issuance().sessions.bans(harness.now()), std::slice::from_ref(&set));
    assert_eq!(code(harness.exchange(&token, &agent).await), "banned", "also after a restart");
    let issuance = harness.issuance();
    let by = (7, "a mistake");
    assert!(issuance.sessions.lift_ban(&issuance.ledger, "no such", by).await.unwrap().is_none());
    assert_eq!(issuance.sessions.lift_ban(&issuance.ledger, &set.id, by).await.unwrap(), Some(set.clone()));
    assert_eq!(code(harness.exchange(&token, &agent).await), "issued", "the ban did not use the token up");
    assert_eq!(code(harness.renew(&session, &agent).await), "session_ended", "what has ended stays ended");
    let told = entries(&harness, &["ban_added", "ban_removed", "session_ended", "refused"]);
    let kinds: Vec<_> = told.iter().map(|entry| entry["kind"].as_str().unwrap().to_owned()).collect();
    for kind in ["ban_added", "ban_removed", "session_ended", "refused"] {
        assert!(kinds.iter().any(|own| own == kind), "{kind}: {kinds:?}");
    }
    assert_eq!((&told[0]["ban"], &told[0]["selector"]), (&json!(set.id), &json!("project=1")));
}

#[tokio::test]
async fn a_ban_with_an_end_lasts_until_then_and_is_swept() {
    let harness = Harness::new().await;
    let until = harness.now() + Duration::from_secs(600);
    let (set, _) = ban(&harness, json!({ "user": "ada" }), Some(until)).await;
    let (again, _) = ban(&harness, json!({ "user": "ada" }), Some(until)).await;
    assert_eq!(set.id, again.id, "the same again is the same ban");
    let (token, agent) = (harness.issuer.token(harness.now()), Agent::new());
    harness.advance(599);
    assert_eq!(code(harness.exchange(&token, &agent).await), "banned");
    harness.advance(1);
    assert_eq!(code(harness.exchange(&token, &agent).await), "issued");
    let issuance = harness.issuance();
    assert!(issuance.sessions.bans(harness.now()).is_empty());
    assert_eq!(issuance.sessions.sweep(&issuance.ledger, harness.now()).await.unwrap().dropped, 1);
    assert!(harness.parts.store.list("ban/").unwrap().is_empty());
}

#[tokio::test]
async fn bans_by_rule_and_signer_are_judged_when_both_are_known() {
    let harness = Harness::new().await;
    let (agent, session, _) = job(&harness, 1, "main").await;
    let live = harness.issuance().sessions.select(None, harness.now()).sessions.remove(0);
    for named in [json!({ "rule": live.rule }), json!({ "signer": live.signers[0] })] {
        let (set, struck) = ban(&harness, named.clone(), None).await;
        assert!(struck.sessions.len() <= 1, "{named}");
        assert_ne!(code(harness.renew(&session, &agent).await), "issued");
        assert_eq!(code(harness.exchange(&token_of(&harness, 1, "main"), &Agent::new()).await), "banned", "{named}");
        let issuance = harness.issuance();
        issuance.sessions.lift_ban(&issuance.ledger, &set.id, (7, "done")).await.unwrap().unwrap();
    }
    assert_eq!(code(harness.exchange(&token_of(&harness, 1, "main"), &Agent::new()).await), "issued");
}

/// When the ban comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum When {
    /// Before the admission has got anywhere.
    AtOnce,
    /// While the admission waits for its commit.
    Noted,
    /// Just after it.
    Admitted,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_identity_outlives_a_ban_that_races_with_its_admission() {
    let harness = Arc::new(Harness::with(POLICY, "sled").await);
    for (round, when) in [When::AtOnce, When::Noted, When::Admitted].repeat(5).into_iter().enumerate() {
        let project = 1 + u64::try_from(round).unwrap();
        let (agent, token) = (Arc::new(Agent::new()), token_of(&harness, project, "main"));
        let meant = selector(json!({ "project": project }));
        let live = || harness.issuance().sessions.select(Some(&meant), harness.now()).sessions.len();
        let (own, with) = (Arc::clone(&harness), Arc::clone(&agent));
        let racing = tokio::spawn(async move { own.exchange(&token, &with).await });
        while when == When::Noted && live() == 0 || when == When::Admitted && !racing.is_finished() {
            tokio::task::yield_now().await;
        }
        let (set, struck) = ban(&harness, json!({ "project": project }), None).await;
        match racing.await.unwrap() {
            Ok(issued) => {
                assert_eq!(struck.sessions.len(), 1, "{when:?}: whoever got through was found and ended");
                assert_ne!(code(harness.renew(&session_of(&issued), &agent).await), "issued");
                assert!(struck.svids_end_at().unwrap() >= issued.not_after(), "{when:?}: the last SVID is known");
            }
            Err(refusal) => {
                assert_ne!(when, When::Admitted, "{refusal}");
                assert!(["banned", "session_ended"].contains(&refusal.code()), "{refusal}");
            }
        }
        assert_eq!(live(), 0);
        let issuance = harness.issuance();
        issuance.sessions.lift_ban(&issuance.ledger, &set.id, (7, "next")).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_job_that_is_over_before_its_token_was_used_gets_nothing() {
    let harness = Harness::new().await;
    let claims = harness.issuer.claims(start());
    let text = |name: &str| claims[name].as_str().unwrap().parse::<u64>().unwrap();
    let issuer = harness.issuance().issuers.by_url(crate::support::issuer::URL).unwrap().name().clone();
    let name = JobName { issuer, project_id: text("project_id"), job_id: text("job_id") };
    let until = start() + Duration::from_secs(3600);
    let issuance = harness.issuance();
    for _told_twice in 0..2 {
        let closed = issuance.sessions.close_job(&issuance.ledger, &name, EndReason::JobOver, until);
        assert_eq!(closed.await.unwrap(), 0);
    }
    assert_eq!(code(harness.exchange(&harness.issuer.mint(&claims), &Agent::new()).await), "session_ended");
    // The tombstone outlives the token, and no longer.
    harness.advance(3600 + 100);
    assert_eq!(issuance.sessions.sweep(&issuance.ledger, harness.now()).await.unwrap().dropped, 0);
    harness.advance(100);
    assert_eq!(issuance.sessions.sweep(&issuance.ledger, harness.now()).await.unwrap().dropped, 1);
    let told = entries(&harness, &["job_closed"]);
    assert_eq!((told.len(), &told[0]["why"], &told[0]["by"]), (1, &json!("job_over"), &json!("issuer")));
}

#[tokio::test]
async fn the_end_of_a_job_ends_all_its_sessions() {
    let harness = Harness::new().await;
    let mut claims = harness.issuer.claims(start());
    let (one, other) = (Agent::new(), Agent::new());
    let first = session_of(&harness.exchange(&harness.issuer.mint(&claims), &one).await.unwrap());
    claims.insert("jti".to_owned(), "11111111-0000-4000-8000-000000000000".into());
    let second = session_of(&harness.exchange(&harness.issuer.mint(&claims), &other).await.unwrap());
    let sessions = &harness.issuance().sessions;
    let mut heard = sessions.listen(other.public().id(), 1).unwrap();
    harness.issuance().end(EndReason::Logout, &first.parse().unwrap(), one.public().id()).await.unwrap();
    assert_eq!(hears(&mut heard).await.session.to_string(), second);
    assert_eq!(code(harness.renew(&second, &other).await), "session_ended");
    let ended = entries(&harness, &["session_ended"]);
    let mut told: Vec<_> = ended.iter().map(|entry| entry["session"].as_str().unwrap()).collect();
    told.sort_unstable();
    let mut meant = [first.as_str(), second.as_str()];
    meant.sort_unstable();
    assert_eq!(told, meant);
}

#[tokio::test]
async fn an_end_is_carried_out_though_whoever_asked_for_it_hangs_up() {
    let harness = Harness::new().await;
    let (agent, session, _) = job(&harness, 1, "main").await;
    let (sessions, owner) = (&harness.issuance().sessions, agent.public().id());
    let mut heard = sessions.listen(owner, 1).unwrap();
    hangs_up(harness.issuance().end(EndReason::Logout, &session.parse().unwrap(), owner)).await;
    assert_eq!(hears(&mut heard).await.reason, EndReason::Logout);
    assert_eq!(sessions.select(None, harness.now()).sessions.len(), 0);
    assert_eq!(entries(&harness, &["session_ended"]).len(), 1);
}

#[tokio::test]
async fn whoever_finishes_an_end_that_broke_off_tells_the_reason_of_that_end() {
    let harness = Harness::new().await;
    let (agent, session, _) = job(&harness, 1, "main").await;
    let (issuance, owner, session) = (harness.issuance(), agent.public().id(), session.parse().unwrap());
    let job = issuance.sessions.select(None, harness.now()).sessions.remove(0).job;
    let mut heard = issuance.sessions.listen(owner, 1).unwrap();
    let until = harness.now() + Duration::from_secs(60);
    hangs_up(issuance.sessions.close_job(&issuance.ledger, &job, EndReason::JobOver, until)).await;
    while issuance.sessions.lives(&session, owner, harness.now()).await.unwrap() {
        tokio::task::yield_now().await;
    }
    issuance.end(EndReason::Logout, &session, owner).await.unwrap();
    assert_eq!(hears(&mut heard).await.reason, EndReason::JobOver);
}

#[tokio::test]
async fn a_stolen_token_raises_an_alarm_and_leaves_the_job_its_identity() {
    let harness = Harness::new().await;
    let (agent, session, token) = job(&harness, 1, "main").await;
    assert_eq!(code(harness.exchange(&token, &Agent::new()).await), "token_replayed");
    assert_eq!(code(harness.renew(&session, &agent).await), "issued");
    let page = harness.parts.metrics.render();
    assert!(page.contains(r#"lanyard_token_replays_total{issuer="corp"} 1"#), "{page}");
    assert_eq!(entries(&harness, &["refused"])[0]["code"], "token_replayed");
}

#[tokio::test]
async fn where_the_issuer_says_so_a_stolen_token_ends_the_session_that_it_opened() {
    let harness = Harness::whose_issuer_says("on_replay = \"end\"", POLICY, "memory").await;
    let (agent, session, token) = job(&harness, 1, "main").await;
    assert_eq!(code(harness.jwt(&token, "https://service.test", None).await), "token_replayed");
    assert_eq!(code(harness.renew(&session, &agent).await), "issued", "a request without a key is no second key");
    let mut heard = harness.issuance().sessions.listen(agent.public().id(), 1).unwrap();
    assert_eq!(code(harness.exchange(&token, &Agent::new()).await), "token_replayed");
    assert_eq!(hears(&mut heard).await.reason.as_str(), "replayed");
    assert_eq!(code(harness.renew(&session, &agent).await), "session_ended");
    let page = harness.parts.metrics.render();
    assert!(page.contains(r#"lanyard_ended_sessions_total{reason="replayed"} 1"#), "{page}");
    let ended = entries(&harness, &["session_ended"]);
    assert_eq!((&ended[0]["why"], &ended[0]["by"]), (&json!("replayed"), &json!("server")));
}

//! The clock leaps while the server is at work: nothing is issued, nothing is on record, and the reason is told.

use crate::support::harness::{Agent, Harness};
use lanyard::issuance::Refusal;
use lanyard::session::{Ban, Revocation, Selector};
use lanyard::store::{ClockError, StoreError};
use std::time::Duration;
use time::OffsetDateTime;

/// Whether an answer is the 503 of a clock that leapt.
fn is_of_the_clock<T>(answer: Result<T, Refusal>) -> bool {
    let Err(refusal) = answer else { return false };
    assert_eq!(refusal.code(), "store_unavailable");
    matches!(refusal, Refusal::Store(StoreError::Clock(ClockError::Leapt { .. })))
}

#[tokio::test]
async fn nobody_gets_anything_while_the_clock_is_somewhere_else() {
    let (harness, agent) = (Harness::new().await, Agent::new());
    let token = harness.issuer.token(harness.now());
    let issued = harness.exchange(&token, &agent).await.unwrap();
    let session = issued.session().unwrap();
    let right = harness.now();
    for leap in [86_400, 60, -60] {
        harness.clock.set(right + time::Duration::seconds(leap));
        let another = harness.issuer.token(right);
        assert!(is_of_the_clock(harness.exchange(&another, &Agent::new()).await), "{leap} s: not the token's fault");
        assert!(is_of_the_clock(harness.renew(session, &agent).await), "{leap} s");
    }
    harness.clock.set(right);
    harness.renew(session, &agent).await.unwrap();
    assert_eq!(harness.entries("intent").len(), 2);
}

#[tokio::test]
async fn a_server_whose_clock_was_put_right_goes_on_with_the_first_token_from_then() {
    let (harness, agent) = (Harness::new().await, Agent::new());
    let issued = harness.exchange(&harness.issuer.token(harness.now()), &agent).await.unwrap();
    harness.clock.set(harness.now() + Duration::from_secs(120));
    assert!(is_of_the_clock(harness.renew(issued.session().unwrap(), &agent).await));
    harness.exchange(&harness.issuer.token(harness.now()), &Agent::new()).await.unwrap();
    harness.renew(issued.session().unwrap(), &agent).await.unwrap();
}

/// Whoever has the job of a session.
fn of_job(harness: &Harness, session: &str) -> Selector {
    let listed = harness.issuance().sessions.select(None, OffsetDateTime::UNIX_EPOCH);
    let one = listed.sessions.iter().find(|one| one.id.to_string() == session).unwrap();
    serde_json::from_value(serde_json::json!({ "job": one.job.job_id })).unwrap()
}

#[tokio::test]
async fn whoever_is_revoked_or_banned_loses_it_though_the_clock_is_somewhere_else() {
    let (harness, agents) = (Harness::new().await, [Agent::new(), Agent::new()]);
    let mut sessions = Vec::new();
    for agent in &agents {
        sessions.push(harness.exchange(&harness.issuer.token(harness.now()), agent).await.unwrap());
    }
    let right = harness.now();
    for (n, leap) in [(0, 86_400), (1, -86_400)] {
        harness.clock.set(right + time::Duration::seconds(leap));
        harness.issuance().sessions.sweep(&harness.issuance().ledger, harness.now()).await.unwrap();
        let selector = of_job(&harness, sessions[n].session().unwrap());
        let struck = if n == 0 {
            let wish = Revocation { selector: &selector, uid: 7, reason: "stolen" };
            harness.issuance().revoke(&wish).await.unwrap()
        } else {
            harness.issuance().ban(&Ban::new(selector, (7, "stolen".to_owned()), (right, None))).await.unwrap()
        };
        assert_eq!(struck.sessions.len(), 1, "{leap} s: also where it looks long over");
    }
    harness.clock.set(right);
    for (agent, issued) in agents.iter().zip(&sessions) {
        let refused = harness.renew(issued.session().unwrap(), agent).await.unwrap_err();
        assert_eq!(refused.code(), "session_ended");
    }
    assert_eq!((harness.entries("session_ended").len(), harness.entries("ban_added").len()), (2, 1));
}

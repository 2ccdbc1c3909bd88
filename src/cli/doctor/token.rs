//! The job's token: there, young, and what the server would make of it. It is not used up.

use super::Args;
use super::finding::Finding;
use crate::cli::remote::RemoteError;
use crate::cli::{render, snippet};
use crate::clock::{Clock as _, SystemClock};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// What a token says of its time, before anybody has vouched for it.
#[derive(Deserialize)]
struct Times {
    exp: i64,
}

/// Looks at the token, and asks the server about it where that answers. Who has an identity already can do without one:
/// `exec` takes the token out of its command's environment.
pub(super) async fn look(args: &Args, server_answers: bool, has_svid: bool) -> Vec<Finding> {
    let token = match args.token.read() {
        Ok(token) => token,
        Err(error) => {
            let (found, remedy) = split(&error.to_string());
            if has_svid {
                return vec![Finding::good("token", format!("{found}, and none is needed: an SVID is served"))];
            }
            return vec![Finding::wrong("token", found, remedy)];
        }
    };
    let young = match in_its_time(&token, SystemClock.now()) {
        Ok(young) => young,
        Err(over) => return vec![over],
    };
    let mut seen = vec![young];
    if server_answers {
        seen.push(explained(args, &token, has_svid).await);
    }
    seen
}

/// What is missing, and the lines that give it.
fn split(told: &str) -> (String, String) {
    let (found, remedy) = told.split_once([':', ',']).unwrap_or((told, ""));
    (found.to_owned(), remedy.trim().trim_start_matches("or ").to_owned())
}

fn in_its_time(token: &str, now: OffsetDateTime) -> Result<Finding, Finding> {
    let payload = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()).map(Zeroizing::new);
    let times: Option<Times> = payload.and_then(|payload| serde_json::from_slice(&payload).ok());
    let unlike = "take the id_token that GitLab gives the job (id_tokens: in .gitlab-ci.yml), and no other";
    let exp = times.and_then(|times| OffsetDateTime::from_unix_timestamp(times.exp).ok());
    let exp =
        exp.ok_or_else(|| Finding::wrong("token", "it is no id_token: it does not say until when it is good", unlike))?;
    if exp <= now {
        let remedy = "GitLab makes it when the job starts, for the job's timeout: retry the job, or look at this clock";
        return Err(Finding::wrong("token", format!("it was over at {}", render::time(exp)), remedy));
    }
    Ok(Finding::good("token", format!("good until {}", render::time(exp))))
}

async fn explained(args: &Args, token: &str, has_svid: bool) -> Finding {
    let walk = match args.server.post("/v1/explain", &json!({ "token": token })).await {
        Ok(answer) => serde_json::from_slice::<Value>(&answer).unwrap_or_default(),
        Err(RemoteError::Refused(problem)) => {
            let lines = problem.audience.as_deref().map(snippet::block).unwrap_or_default();
            return refused(&problem.code, &problem.detail, &lines);
        }
        Err(error) => return Finding::wrong("policy", error.to_string(), "ask again when the server answers"),
    };
    let said = |pointer: &str| walk.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    match said("/verdict/outcome") {
        "denied" => {
            let lines = walk.get("audience").and_then(Value::as_str).map(snippet::block).unwrap_or_default();
            refused(said("/verdict/code"), said("/verdict/reason"), &lines)
        }
        // Where an SVID is served, it is the agent that has used it.
        _ if walk.get("used").is_some_and(|used| used == true) && !has_svid => {
            let found = format!("this token gets {}, and is used", said("/verdict/spiffe_id"));
            Finding::warning(
                "policy",
                found,
                "only the key that used it gets more with it: log in once a job, or retry the job",
            )
        }
        _ => Finding::good("policy", format!("this token gets {}", said("/verdict/spiffe_id"))),
    }
}

/// By its code: whose business it is, and where to look.
fn refused(code: &str, reason: &str, lines: &str) -> Finding {
    let remedy = match code {
        "issuer_unknown" => {
            "the server knows another GitLab, or another spelling of its URL: compare iss with url of server.toml"
        }
        _ if !lines.is_empty() => lines,
        "issuer_unavailable" => {
            "the server cannot reach this GitLab's keys: `lanyard doctor --config server.toml` on the server says why"
        }
        "token_replayed" => "another key has used this token already: retry the job, and log in once a job",
        "banned" => "an operator keeps this job or its like out: ask them; `lanyard ban list` on the server says why",
        "session_ended" => "its session was ended, and the job is closed for good: start a new job",
        "no_rule_matches" => "`lanyard explain` shows each rule, and the term that does not hold",
        _ => "`lanyard explain` shows the whole walk",
    };
    Finding::wrong("policy", format!("{code}: {reason}"), remedy)
}

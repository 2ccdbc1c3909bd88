//! A record as a row: when, what kind, whose job, and in words what tells most of each kind.

use super::short;
use crate::audit::{Job, PinnedBy, Received};
use crate::cli::render;
use crate::policy::Answers;
use crate::store::Record;
use crate::token::ClaimValue;
use serde_json::Value;
use time::OffsetDateTime;

/// What stands above the rows.
pub(super) const HEAD: [&str; 8] = ["position", "at", "kind", "project", "job", "user", "request", "what"];

/// A record, as [`HEAD`] says, with a word for who is not to be known.
pub(super) fn of(record: &Record, entry: Received, unopened: &str) -> Vec<String> {
    let what = what(&entry);
    let request = entry.request_id.unwrap_or_default();
    let request = if render::is_terminal() { short(&request).to_owned() } else { request };
    let (at, position) = (render::time(record.at), record.position.to_string());
    let user = entry.job.as_ref().and_then(|job| user(job, unopened)).unwrap_or_default();
    let (project, job) = entry.job.map(|job| (job.project_path, job.job_id.to_string())).unwrap_or_default();
    vec![position, at, entry.kind, project, job, user, request, what]
}

/// Who started the job.
fn user(job: &Job, unopened: &str) -> Option<String> {
    let sealed = job.person.as_ref().map(|_| format!("({unopened})"));
    claim(job, "user_login").or_else(|| claim(job, "user_id")).or(sealed)
}

fn claim(job: &Job, name: &str) -> Option<String> {
    job.more.get(name).map(ClaimValue::view).map(|value| value.to_string())
}

/// The identity and its grounds, the code, the session, the key and what became of it.
fn what(entry: &Received) -> String {
    let text = |name: &str| entry.more.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| entry.more.get(name).and_then(Value::as_u64).unwrap_or_default();
    match entry.kind.as_str() {
        "authority" => key_step(entry),
        "account_forgotten" => format!("user {} of {}{}", text("user"), text("issuer"), said(entry)),
        "account_remembered" => format!("user {} of {} is {}", text("user"), text("issuer"), text("account")),
        "holder_confirmed" => {
            let (holder, sequence, uid) = (text("holder"), number("sequence"), number("uid"));
            format!("{holder} has bundle {sequence}{}, by user id {uid}", said(entry))
        }
        "bundle_changed" => bundle_changed(entry),
        "federation_set" => federation_set(entry),
        "crls_made" => format!("{} revoked", number("revoked")),
        "hook_refused" => format!("{}: {}", text("issuer"), text("code")),
        "intent" | "server_svid" => intent(entry),
        "issued" => format!("SHA-256 {}", short(text("digest"))),
        "observed" => format!("on trial, {}: {}", text("rule"), text("would")),
        "operator_came" => operator_came(entry),
        "orphan_deleted" => {
            format!("{} in {}, by user id {}", text("label"), text("place"), number("uid"))
        }
        "person_erased" => {
            let (person, issuer) = (text("person"), text("issuer"));
            format!("person {person} of {issuer} ({}), by user id {}", text("say"), number("uid"))
        }
        "pin_changed" => pin_changed(entry),
        "policy_changed" => policy_changed(entry),
        "refused" => join([text("code").to_owned(), job_told(entry), facts_told(entry)]),
        "restored" => restored(entry),
        "ban_added" | "ban_removed" | "sessions_revoked" => {
            format!("{} ({}), by user id {}", text("selector"), text("say"), number("uid"))
        }
        "job_closed" => format!("{} job {}: {}", text("issuer"), number("job_id"), cause(entry)),
        "session_ended" => format!("{}: {}", cause(entry), text("session")),
        "sealing_key_changed" => {
            let place = entry.more.get("place").and_then(Value::as_str);
            let place = place.map(|place| format!(", wrapped by {place:?}")).unwrap_or_default();
            let [old, new] = ["old", "new"].map(|name| text(name).get(..16).unwrap_or_default());
            format!("{new}{place}, was {old}")
        }
        "segments_archived" | "segments_removed" => {
            let to = entry.more.get("to").and_then(Value::as_str).map(|to| format!(" to {to}")).unwrap_or_default();
            let (first, last) = (number("first"), number("last"));
            format!("records {first} to {last}{to} ({}), {}", text("reason"), text("by"))
        }
        "tail_cut" => format!("{} unfinished bytes of {}", number("bytes"), text("segment")),
        "started" => text("version").to_owned(),
        "time_accepted" => format!("instead of {}: {}", text("instead_of"), text("reason")),
        "store_imported" => format!("{} keys", number("keys")),
        "store_reconciled" => reconciled(entry),
        "swept" => format!("{} records", number("records")),
        "told_late" => {
            let kind = entry.more.get("intended").and_then(|intended| intended.get("kind")).and_then(Value::as_str);
            format!("{} of {}, at revision {}", kind.unwrap_or("?"), text("replica"), number("revision"))
        }
        _ => String::new(),
    }
}

/// What etcd got back, who is gone with a journal, and what of theirs is told here.
fn reconciled(entry: &Received) -> String {
    let number = |name: &str| entry.more.get(name).and_then(Value::as_u64).unwrap_or_default();
    let names = |name: &str| {
        let all = entry.more.get(name).and_then(Value::as_array).into_iter().flatten();
        all.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
    };
    let told = |lead: &str, what: String| if what.is_empty() { what } else { format!("{lead} {what}") };
    let before = entry.more.get("refused_before").and_then(seconds).map(render::time).unwrap_or_default();
    let late = entry.more.get("told_late").and_then(Value::as_u64);
    join([
        format!("{} keys, since revision {}", number("written"), number("since")),
        told("without the journal of", names("lost")),
        told("told late:", late.map(|count| render::count(count, "record")).unwrap_or_default()),
        told("refuses what is from before", before),
        told("waits for", names("waiting")),
    ])
}

/// Who asks for what from elsewhere.
fn operator_came(entry: &Received) -> String {
    let text = |name: &str| entry.more.get(name).and_then(Value::as_str).unwrap_or_default();
    let uid = entry.more.get("uid").and_then(Value::as_u64).unwrap_or_default();
    let subject = Some(text("subject")).filter(|subject| !subject.is_empty());
    let subject = subject.map(|subject| format!(" ({subject})")).unwrap_or_default();
    format!("{} of {}{subject} asks {}, as user id {uid}", text("operator"), text("issuer"), text("asked"))
}

/// What was done to which key.
fn key_step(entry: &Received) -> String {
    let text = |name: &str| entry.more.get(name).and_then(Value::as_str).unwrap_or_default();
    let sequence = entry.more.get("sequence").and_then(Value::as_u64).unwrap_or_default();
    let (authority, key, step) = (text("authority"), short(text("key_id")), text("step"));
    let by = entry.more.get("uid").map(|uid| format!(", by user id {uid}")).unwrap_or_default();
    format!("{authority} {key} {step}, sequence {sequence}{}{by}", said(entry))
}

/// Which policy instead of which, and by whose word.
fn policy_changed(entry: &Received) -> String {
    let text = |name: &str| entry.more.get(name).and_then(Value::as_str).unwrap_or_default();
    let by = match entry.more.get("uid").and_then(Value::as_u64) {
        Some(uid) => format!("user id {uid}"),
        None => text("by").to_owned(),
    };
    format!("{} instead of {}, by {by}", short(text("new")), short(text("old")))
}

fn restored(entry: &Received) -> String {
    let number = |name: &str| entry.more.get(name).and_then(Value::as_u64).unwrap_or_default();
    let made_at = entry.more.get("made_at").and_then(seconds).map(render::time).unwrap_or_default();
    let say = entry.more.get("say").and_then(Value::as_str).unwrap_or_default();
    let (last, uid) = (number("last"), number("uid"));
    format!("record {last} is the last of a backup of {made_at} ({say}), by user id {uid}")
}

/// Why, in the operator's words, where there are any.
fn said(entry: &Received) -> String {
    let say = entry.more.get("say").and_then(Value::as_str);
    say.map(|say| format!(" ({say})")).unwrap_or_default()
}

fn seconds(value: &Value) -> Option<OffsetDateTime> {
    value.as_i64().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
}

/// Who is called what, by which rule, until when, and of which commit.
fn intent(entry: &Received) -> String {
    let text = |name: &str| entry.more.get(name).and_then(Value::as_str).unwrap_or_default();
    let svid = entry.more.get("svid");
    let of_svid = |name: &str| svid.and_then(|svid| svid.get(name));
    let name = ["serial", "jti"].into_iter().find_map(|name| Some(format!("{name} {}", of_svid(name)?.as_str()?)));
    let end = of_svid("not_after").and_then(seconds);
    join([
        text("spiffe_id").to_owned(),
        entry.more.get("rule").map(|_| format!("rule {:?}", text("rule"))).unwrap_or_default(),
        name.unwrap_or_default(),
        end.map(|end| format!("until {}", render::time(end))).unwrap_or_default(),
        job_told(entry),
        facts_told(entry),
    ])
}

/// What the job works on, and where it deploys to.
fn job_told(entry: &Received) -> String {
    let told = |(lead, name)| Some(format!("{lead} {}", claim(entry.job.as_ref()?, name)?));
    join(
        [("commit", "sha"), ("ref", "ref_path"), ("environment", "environment")]
            .map(|one| told(one).unwrap_or_default()),
    )
}

fn facts_told(entry: &Received) -> String {
    let facts = entry.facts.iter().flat_map(Answers::iter);
    facts.map(|(fact, answer)| format!("{fact} {answer}")).collect::<Vec<_>>().join(", ")
}

/// Why something ended, and by whose word.
fn cause(entry: &Received) -> String {
    let text = |name: &str| entry.more.get(name).and_then(Value::as_str);
    let why = text("why").unwrap_or_default();
    match (entry.more.get("uid").and_then(Value::as_u64), text("say"), text("by")) {
        (Some(uid), Some(say), _) => format!("{why} ({say}), by user id {uid}"),
        (_, _, Some(by)) => format!("{why}, by {by}"),
        (_, _, None) => why.to_owned(),
    }
}

fn join<const N: usize>(parts: [String; N]) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

/// Whose a path is, whose it was, and who says so.
fn pin_changed(entry: &Received) -> String {
    let id = |name: &str| entry.more.get(name).and_then(Value::as_u64);
    let path = entry.more.get("path").and_then(Value::as_str).unwrap_or_default();
    let by: Option<PinnedBy> = serde_json::from_value(entry.more.clone().into()).ok();
    let by = by.map(|by| format!(" ({by})")).unwrap_or_default();
    match (id("old"), id("new")) {
        (None, Some(new)) => format!("{path} is project {new}{by}"),
        (Some(old), Some(new)) => format!("{path} is project {new}, was {old}{by}"),
        (Some(old), None) => format!("{path} is nobody's, was project {old}{by}"),
        (None, None) => String::new(),
    }
}

/// Whose endpoint is asked, and who says so.
fn federation_set(entry: &Received) -> String {
    let text = |name: &str| entry.more.get(name).and_then(Value::as_str).unwrap_or_default();
    let uid = entry.more.get("uid").and_then(Value::as_u64).unwrap_or_default();
    format!("{} by {}{}, by user id {uid}", text("trust_domain"), text("source"), said(entry))
}

/// Whose bundle is held now, from where, and who says so.
fn bundle_changed(entry: &Received) -> String {
    let text = |name: &str| entry.more.get(name).and_then(Value::as_str).unwrap_or_default();
    let (whose, source) = (text("trust_domain"), text("source"));
    let held = entry.more.get("new").map(|new| {
        let many = |kind: &str| new.get(kind).and_then(Value::as_array).map_or(0, Vec::len);
        let digest = new.get("digest").and_then(Value::as_str).unwrap_or_default();
        format!("{} X.509, {} JWT, SHA-256 {}", many("x509_authorities"), many("jwt_authorities"), short(digest))
    });
    let by = entry.more.get("uid").map(|uid| format!(", by user id {uid}")).unwrap_or_default();
    let say = Some(text("say")).filter(|say| !say.is_empty()).map(|say| format!(" ({say})")).unwrap_or_default();
    format!("{whose}, {source}: {}{say}{by}", held.unwrap_or_else(|| "none any more".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(entry: Value) -> String {
        what(&serde_json::from_value(entry).unwrap())
    }

    #[test]
    fn each_kind_tells_what_matters_of_it() {
        let key = json!({
            "kind": "authority", "authority": "x509-intermediate", "key_id": "af5fdb1199", "step": "succeed",
            "generation": 2, "sequence": 7,
        });
        assert_eq!(told(key), "x509-intermediate af5fdb11 succeed, sequence 7");
        assert_eq!(told(json!({ "kind": "started", "version": "0.1.0" })), "0.1.0");
        assert_eq!(told(json!({ "kind": "refused", "code": "token_replayed" })), "token_replayed");
        let [old, new] = ["c3b11b436baffe6400", "10e6b70fd17be47c00"];
        let changed = json!({ "kind": "sealing_key_changed", "old": old, "new": new, "place": "vault" });
        assert_eq!(told(changed), "10e6b70fd17be47c, wrapped by \"vault\", was c3b11b436baffe64");
        let pin = json!({ "kind": "pin_changed", "path": "acme/api", "old": 1, "new": 2, "how": "operator", "uid": 7 });
        assert_eq!(told(pin), "acme/api is project 2, was 1 (uid 7)");
        let ended = json!({ "kind": "session_ended", "session": "5e55", "why": "job_finished", "by": "issuer" });
        assert_eq!(told(ended), "job_finished, by issuer: 5e55");
        let revoked = json!({
            "kind": "session_ended", "session": "5e55", "why": "revoked", "by": "operator", "uid": 7, "say": "a drill",
        });
        assert_eq!(told(revoked), "revoked (a drill), by user id 7: 5e55");
        let mut policy = json!({ "kind": "policy_changed", "old": "7d491b79aa", "new": "9eb280bfaa", "by": "signal" });
        assert_eq!(told(policy.clone()), "9eb280bf instead of 7d491b79, by signal");
        policy["uid"] = 7.into();
        assert_eq!(told(policy), "9eb280bf instead of 7d491b79, by user id 7");
        assert_eq!(told(json!({ "kind": "of tomorrow" })), "");
    }

    #[test]
    fn a_reconciliation_tells_what_was_written_and_whose_journals_are_gone() {
        let mut entry = json!({ "kind": "store_reconciled", "since": 41, "written": 3, "kept": [], "waiting": ["c"] });
        assert_eq!(told(entry.clone()), "3 keys, since revision 41, waits for c");
        (entry["waiting"], entry["lost"], entry["told_late"]) = (json!([]), json!(["b"]), 1.into());
        entry["refused_before"] = 1_700_000_000.into();
        assert_eq!(
            told(entry),
            "3 keys, since revision 41, without the journal of b, told late: 1 record, refuses what is from before \
             2023-11-14T22:13:20Z"
        );
    }

    #[test]
    fn an_intent_tells_who_is_called_what_by_which_rule_until_when_and_of_which_commit() {
        let intent = json!({
            "kind": "intent", "request_id": "r1", "rule": "deploys", "spiffe_id": "spiffe://ci/acme",
            "svid": { "type": "x509", "serial": "4a", "not_after": 1_700_000_000 },
            "job": {
                "issuer": "corp", "jti": "j", "sub": "s", "project_id": 1, "project_path": "acme/api",
                "pipeline_id": 2, "job_id": 3, "sha": "c0ffee", "ref_path": "refs/heads/main",
                "environment": "production", "user_login": "ada",
            },
            "facts": { "job.state": { "is": "running" } },
        });
        let facts = told(intent.clone());
        assert!(
            facts.starts_with(
                "spiffe://ci/acme, rule \"deploys\", serial 4a, until 2023-11-14T22:13:20Z, commit c0ffee, ref \
                 refs/heads/main, environment production, job.state "
            ),
            "{facts}"
        );
        let entry: Received = serde_json::from_value(intent).unwrap();
        assert_eq!(user(&entry.job.unwrap(), "erased").as_deref(), Some("ada"));
    }
}

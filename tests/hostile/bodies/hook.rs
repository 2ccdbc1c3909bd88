//! A delivery of GitLab's webhooks: a line each with its secret, id, time and signature, and its body. As it came it opens
//! no hook; signed by us it opens ours, and ends the jobs that its body names and no other.

use super::Seed;
use super::law::{Cost, can_be_shown, member};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lanyard::crypto::{Random, SharedSecret};
use lanyard::hooks::{Delivery, Hook, HookError, Hooks, News, Scope, Signed, SigningToken};
use serde_json::{Value, json};
use std::sync::LazyLock;
use time::OffsetDateTime;
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-11-21 12:00 UTC);

/// What GitLab and we know: made when the process starts, so that no bytes from outside can have it.
static SECRET: LazyLock<[u8; 32]> = LazyLock::new(|| Random::system().bytes());

/// Hooks with one proof, with the other, with both, and with none.
static HOOKS: LazyLock<[Hooks; 4]> = LazyLock::new(|| {
    [(true, false), (false, true), (true, true), (false, false)].map(|(has_secret, is_signed)| {
        let secret = has_secret.then(|| SharedSecret::new(SECRET.to_vec()));
        let token = || SigningToken::parse(&format!("whsec_{}", STANDARD.encode(*SECRET))).unwrap();
        let signing_token = is_signed.then(token);
        Hooks(vec![Hook { scope: Scope::Project(4711), secret, signing_token, canceling: false }])
    })
});

/// As GitLab tells of a job, a pipeline and a deployment.
pub fn seeds() -> Vec<Seed> {
    let bodies = [
        json!({"object_kind": "build", "build_id": 1977, "build_status": "success", "project_id": 4711}),
        json!({"object_kind": "pipeline", "object_attributes": {"id": 2366, "status": "running"}, "project": {"id": 4711},
               "builds": [{"id": 1, "status": "failed"}, {"id": 2, "status": "canceling"}, {"id": 3, "status": "running"}]}),
        json!({"object_kind": "pipeline", "object_attributes": {"status": "canceled"}, "project": {"id": 4711},
               "builds": [{"id": 1, "status": "created"}, {"id": 2, "status": "running"}]}),
        json!({"object_kind": "deployment", "status": "failed", "deployable_id": 7, "project": {"id": 4711}}),
    ];
    let head = format!("what-only-we-know\n9e9fa1f4-6c2f\n{}\nv1,AAAA v1,BBBB\n", NOW.unix_timestamp());
    let name = |(at, body): (usize, &Value)| {
        Seed::new(format!("{at}-{}", body["object_kind"].as_str().unwrap()), format!("{head}{body}"))
    };
    bodies.iter().enumerate().map(name).collect()
}

/// See the file's words.
pub fn body(bytes: &[u8]) -> bool {
    let mut lines = bytes.splitn(5, |byte| *byte == b'\n');
    let [secret, id, timestamp, signature, body] = std::array::from_fn(|_| lines.next().unwrap_or_default());
    let is_news = tells_what_stands_there(body);
    let [Ok(id), Ok(timestamp), Ok(signature)] = [id, timestamp, signature].map(str::from_utf8) else { return false };
    let came = Delivery { secret: Some(secret), signed: Some(Signed { id, timestamp, signature }), body };
    for hooks in &*HOOKS {
        let opened = Cost::SMALL.of(bytes.len(), || hooks.opened_by(&came, NOW).map(|_| ()));
        assert_eq!(opened, Err(HookError::NotGenuine));
    }
    is_news && opens_when_signed(&came)
}

/// With our signature it is taken in its time, and what differs from what we signed never.
fn opens_when_signed(came: &Delivery<'_>) -> bool {
    let Signed { id, timestamp, .. } = came.signed.unwrap();
    let tag = SharedSecret::new(SECRET.to_vec()).tag(&[id.as_bytes(), b".", timestamp.as_bytes(), b".", came.body]);
    let signature = format!("v1,{}", STANDARD.encode(tag));
    let signed = Some(Signed { id, timestamp, signature: &signature });
    let ours = Delivery { secret: Some(&*SECRET), signed, ..*came };
    let [by_secret, by_signature, by_both, by_none] = &*HOOKS;
    let opens = |hooks: &Hooks, delivery: &Delivery<'_>| hooks.opened_by(delivery, NOW).map(|_| ());
    assert_eq!(opens(by_secret, &ours), Ok(()));
    assert_eq!(opens(by_none, &ours), Err(HookError::NotGenuine));
    let outcome = opens(by_both, &ours);
    assert_eq!(outcome, opens(by_signature, &ours));
    let away = timestamp.parse::<i64>().ok().map(|at| i128::from(at) - i128::from(NOW.unix_timestamp()));
    let in_time = away.is_some_and(|away| (-300..=300).contains(&away));
    assert_eq!(outcome.is_ok(), in_time && (1..=128).contains(&id.len()), "{outcome:?}");
    let longer = [came.body, b" "].concat();
    for other in [
        Delivery { body: &longer, ..ours },
        Delivery { secret: came.secret, ..ours },
        Delivery { signed: came.signed, ..ours },
    ] {
        assert_eq!(opens(by_both, &other), Err(HookError::NotGenuine));
    }
    outcome.is_ok()
}

/// Which jobs are over, by the body; says whether any is.
fn tells_what_stands_there(body: &[u8]) -> bool {
    let [late, early] = [false, true].map(|canceling| Cost::SMALL.of(body.len(), || News::read(body, canceling)));
    let over = match (late, early) {
        (Ok(late), Ok(early)) => [late, early].map(|news| match news {
            News::Over { project_id, jobs, status } => Some((project_id, jobs, status)),
            News::Changed { .. } | News::Nothing => None,
        }),
        (Err(late), Err(early)) => {
            assert_eq!(late, early);
            can_be_shown(&late);
            return false;
        }
        odd => unreachable!("one of two readings fails: {odd:?}"),
    };
    let [late, early] = over;
    for (project_id, jobs, _) in late.iter().chain(&early) {
        let told = early.as_ref().unwrap();
        assert!(*project_id == told.0 && jobs.iter().all(|job| told.1.contains(job)), "canceling takes none away");
    }
    // The other reader minds numbers and surrogates in members that ours reads past.
    if let (Some(over), Ok(said)) = (&early, serde_json::from_slice(body)) {
        names_them(over, &said);
    }
    late.is_some()
}

/// Read again by a reader that knows no events.
fn names_them((project_id, jobs, status): &(u64, Vec<u64>, String), said: &Value) {
    let is = |status: &Value, some: &[&str]| some.iter().any(|one| status == one);
    let ends = |status: &Value| is(status, &["success", "failed", "canceled", "canceling"]);
    let (project, overall, named) = match said["object_kind"].as_str() {
        Some("build") if ends(&said["build_status"]) => {
            (&said["project_id"], &said["build_status"], vec![&said["build_id"]])
        }
        Some("deployment") if ends(&said["status"]) => {
            (member(&said["project"], "id", 0), &said["status"], vec![&said["deployable_id"]])
        }
        Some("pipeline") => {
            let overall = member(&said["object_attributes"], "status", 0);
            let builds = said["builds"].as_array().unwrap().iter();
            let ran = |status: &Value| ends(status) || (ends(overall) && is(status, &["running"]));
            let ended = builds.filter(|build| ran(member(build, "status", 1)));
            let mut ended: Vec<_> = ended.map(|build| member(build, "id", 0)).collect();
            ended.sort_by_key(|id| id.as_u64());
            ended.dedup();
            (member(&said["project"], "id", 0), overall, ended)
        }
        other => unreachable!("{other:?} ends nothing"),
    };
    assert_eq!((project, overall), (&json!(project_id), &json!(status)));
    assert_eq!(named, jobs.iter().map(|job| json!(job)).collect::<Vec<_>>().iter().collect::<Vec<_>>());
}

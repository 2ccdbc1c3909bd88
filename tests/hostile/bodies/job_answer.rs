//! What GitLab's jobs API answers: it says something of a job only if it agrees with the job's token.

use super::law::{Cost, member};
use super::{Seed, journal, place, token};
use lanyard::audit::Ledger;
use lanyard::clock::ManualClock;
use lanyard::config::{KnownIssuer, load_policy};
use lanyard::directory::AccountPins;
use lanyard::discovery::{Fetch, Fetching};
use lanyard::facts::{Facts, GitlabApi, LetIn, Limits, Place, World};
use lanyard::people::People;
use lanyard::policy::{Answer, Rule, Seen};
use lanyard::store::{IndexKind, Store};
use lanyard::telemetry::Metrics;
use lanyard::token::{Claims, IssuerKind, IssuerName};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use time::macros::datetime;
use tokio::runtime::{Builder, Runtime};

const POLICY: &str = r#"
[[rule]]
name = "a"
id = "/{project_path}/-/a"
when.issuer = "corp"
need."job.state" = "running"
"#;

static RULE: LazyLock<Arc<Rule>> = LazyLock::new(|| {
    let (name, url) = (IssuerName("corp".into()), "https://gitlab.example.com".to_owned());
    let issuers = [KnownIssuer { name, kind: IssuerKind::GitLab, url, facts: GitlabApi::FACTS.to_vec(), groups: None }];
    let files = vec![(PathBuf::from("policy.toml"), POLICY.into())];
    let policy =
        place::with(&files, |folder| load_policy(&folder.join("policy.toml"), &issuers, Duration::from_secs(900)));
    Arc::clone(&policy.unwrap().rules()[0])
});

/// Of nobody: no user is led to an account here.
static PINS: LazyLock<AccountPins> = LazyLock::new(|| {
    place::with(&Vec::new(), |folder| {
        let store: Arc<dyn Store> = journal::open(folder, IndexKind::Memory).unwrap();
        AccountPins::new(Arc::clone(&store), Ledger::new(store), People::default())
    })
});

/// Answers whatever is asked.
#[derive(Debug)]
struct Says(Vec<u8>);

impl Fetch for Says {
    fn get<'a>(&'a self, _url: &'a str, _ca_pem: Option<&'a [u8]>) -> Fetching<'a> {
        let answer = self.0.clone();
        Box::pin(async move { Ok(answer) })
    }
}

fn told(claims: &Claims, name: &str) -> Option<String> {
    claims.view(name).map(|value| value.to_string())
}

/// As GitLab answers for the jobs of some samples.
pub fn seeds() -> Vec<Seed> {
    let answer = |claims: &Claims| {
        let id = |name: &str| told(claims, name).and_then(|text| text.parse::<u64>().ok());
        json!({
            "id": claims.job_id, "status": "running", "ref": told(claims, "ref"),
            "tag": told(claims, "ref_type").as_deref() == Some("tag"),
            "pipeline": {"id": claims.pipeline_id, "sha": told(claims, "sha").unwrap_or_default()},
            "user": id("user_id").map(|id| json!({"id": id, "state": "active"})),
            "runner": id("runner_id").map(|id| json!({"id": id})),
        })
    };
    let samples = token::verified().iter().enumerate();
    samples.map(|(at, one)| Seed::new(format!("job-{at}"), answer(one.claims()).to_string())).collect()
}

/// See the file's words.
pub fn body(bytes: &[u8]) -> bool {
    // Both are made in a place of their own, so before this one.
    let (rule, pins) = (&*RULE, &*PINS);
    place::with(&vec![(PathBuf::from("token"), b"glpat-hostile".to_vec())], |folder| {
        let all = token::verified().iter().map(|one| speaks_of_its_own_job((rule, pins), one.claims(), bytes, folder));
        all.filter(|agrees| *agrees).count() > 0
    })
}

fn speaks_of_its_own_job(
    (rule, pins): (&Arc<Rule>, &AccountPins),
    claims: &Claims,
    bytes: &[u8],
    folder: &Path,
) -> bool {
    thread_local!(static RUNTIME: Runtime = Builder::new_current_thread().build().unwrap());
    let (issuer, url) = (IssuerName("corp".into()), "https://gitlab.example.com/api/v4".to_owned());
    let place = Place { url, let_in: LetIn::GitLab, token_file: folder.join("token"), ca_pem: None };
    let api = GitlabApi { issuer, place, limits: Limits::default() };
    let clock = Arc::new(ManualClock::at(datetime!(2026-11-21 12:00 UTC)));
    let fetch: Arc<dyn Fetch> = Arc::new(Says(bytes.to_vec()));
    let facts = Facts::new(&[Arc::new(api)], World { clock, fetch, metrics: Metrics::new(), pins: pins.clone() });
    let asking = || RUNTIME.with(|runtime| runtime.block_on(facts.ask(rule, claims)));
    let answers = Cost::SMALL.of(bytes.len(), asking);
    let answer = answers.of("job.state").unwrap().clone();
    let passes = Arc::clone(rule).hear(answers).is_ok();
    match answer {
        Answer::Is(Seen::Text(state)) => {
            assert!(passes == (state == "running") && state.chars().count() <= 200);
            // The other reader minds numbers and surrogates in members that ours reads past.
            if let Ok(job) = serde_json::from_slice(bytes) {
                agrees(&job, claims, &state);
            }
            true
        }
        Answer::Is(other) => unreachable!("a state is a text: {other:?}"),
        Answer::No(why) | Answer::Unavailable { why, .. } => {
            assert!(!passes && why.len() <= 4096, "{} bytes of words", why.len());
            false
        }
    }
}

/// Read again by a reader that knows no jobs.
fn agrees(job: &Value, claims: &Claims, state: &str) {
    let [pipeline, runner, user] =
        [("pipeline", 1), ("runner", 3), ("user", 6)].map(|(name, at)| member(job, name, at));
    let reference = member(job, "ref", 2);
    let source = told(claims, "pipeline_source");
    let of_request = source.as_deref() == Some("merge_request_event")
        && reference.as_str().is_some_and(|reference| reference.starts_with("refs/merge-requests/"));
    let ids = [
        ("job_id", member(job, "id", 0)),
        ("pipeline_id", member(pipeline, "id", 0)),
        ("runner_id", member(runner, "id", 0)),
        ("user_id", member(user, "id", 0)),
    ];
    for (claim, said) in ids {
        assert!(
            told(claims, claim).is_none_or(|id| said.as_u64().is_some_and(|said| said.to_string() == id)),
            "{claim}"
        );
    }
    for (claim, said) in [("sha", member(pipeline, "sha", 1)), ("ref", reference)] {
        let is_exempt = claim == "ref" && of_request;
        assert!(is_exempt || told(claims, claim).is_none_or(|text| said == text.as_str()), "{claim}");
    }
    let kind = told(claims, "ref_type");
    assert!(kind.is_none_or(|kind| *member(job, "tag", 5) == (kind == "tag")));
    assert!(user.is_null() || member(user, "state", 1) == "active");
    assert!(member(job, "status", 4).as_str().unwrap().starts_with(state));
}

//! What an exchange costs that rests on facts, and what one costs that rests on none beside systems that say nothing: one
//! process, one thread that asks, and all three roads in turns, so that what disturbs one disturbs all.

use crate::harness::{Agent, Harness, csr, request, start};
use crate::{PAIRS, print_ratios};
use lanyard::discovery::{Answered, Answering, Fetch, FetchError, Fetching, Secret};
use lanyard::issuance::{Bearer, Csr, Request, Wanted};
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// About half a second.
const EXCHANGES: usize = 2000;

/// Two systems, whose answers are the same for all jobs of a person on a commit, so that all but the first find them known.
const SYSTEMS: &str = r#"
[issuer.gerrit]
url = "https://gerrit.example.com"
user = "lanyard"
token_file = "api-token"
project = [{ project_id = 4711, name = "acme/api", branch = "main" }]
[issuer.okta]
url = "https://acme.okta.com"
provider = "saml"
token_file = "api-token"
"#;
const RULE: &str = r#"
[[rule]]
name = "every project, its pipelines"
id = "/{project_path}/-/pipelines/{pipeline_id}"
ttl = "15m"
when.issuer = "corp"
"#;
const NEED: &str = "[rule.need]\n\"directory.group\" = \"release\"\n\"gerrit.status\" = \"merged\"\n";

/// Answers as both do, or never.
#[derive(Debug)]
struct Systems {
    answers: bool,
}

impl Fetch for Systems {
    fn get<'a>(&'a self, url: &'a str, _ca_pem: Option<&'a [u8]>) -> Fetching<'a> {
        Box::pin(async move { Err(FetchError::NotHttps { url: url.to_owned() }) })
    }

    fn ask<'a>(&'a self, url: &'a str, _ca_pem: Option<&'a [u8]>, _secret: Secret<'a>) -> Answering<'a> {
        Box::pin(async move {
            if !self.answers {
                std::future::pending::<()>().await;
            }
            let body = match url {
                _ if url.starts_with("https://gerrit") => format!(")]}}'\n{}", json!([change(url)])),
                _ if url.contains("/groups") => json!([{"profile": {"name": "release"}}]).to_string(),
                _ => json!({"id": "00u1", "status": "ACTIVE", "profile": {"login": "ada"}}).to_string(),
            };
            Ok(Answered::of(body.into_bytes()))
        })
    }
}

/// The change of the commit that is asked for.
fn change(url: &str) -> Value {
    let sha = url.split_once("commit:").unwrap().1.split('+').next().unwrap();
    json!({
        "project": "acme/api", "branch": "main", "change_id": "I1", "_number": 7, "status": "MERGED", "owner": {"_account_id": 1},
        "current_revision": sha,
        "revisions": {sha: {"_number": 1, "created": "2026-11-02 08:00:00.000000000", "uploader": {"_account_id": 1}}},
        "labels": {"Code-Review": {"all": [{"_account_id": 2, "value": 2, "date": "2026-11-02 09:00:00.000000000"}]}},
        "submit_requirements": [],
    })
}

/// A road, and what it is asked.
struct Road {
    harness: Harness,
    runtime: Runtime,
}

impl Road {
    fn of(policy: &str, line: &'static str, answers: bool) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let fetch = Arc::new(Systems { answers });
        Self { harness: runtime.block_on(Harness::asking_of(line, fetch, policy)), runtime }
    }

    /// Of new jobs, whose keys and tokens are made before.
    fn requests(&self) -> Vec<Request> {
        let agent = Agent::new();
        let one = |_| {
            let mut claims = self.harness.issuer.claims(start());
            let identities = json!([{"provider": "saml", "extern_uid": "00u1"}]);
            claims.insert("user_identities".to_owned(), identities);
            let wanted = Wanted::X509 { csr: Csr::Der(csr().into()), profile: None };
            request(Bearer::Token(self.harness.issuer.mint(&claims)), wanted, Some(agent.public()))
        };
        (0..EXCHANGES).map(one).collect()
    }

    /// What each of so many costs this process.
    fn measure(&self) -> Duration {
        let (requests, issuance) = (self.requests(), self.harness.issuance());
        let before = processor_time();
        self.runtime.block_on(async {
            for request in requests {
                issuance.issue(request).await.unwrap();
            }
        });
        processor_time().saturating_sub(before) / u32::try_from(EXCHANGES).unwrap()
    }
}

/// `two_cached_facts` and `silent_systems`, each beside an exchange where none is configured.
pub(crate) fn measure() {
    let plain = Road::of(RULE, "", true);
    let beside = Road::of(RULE, SYSTEMS, false);
    let needing = Road::of(&format!("{RULE}{NEED}"), SYSTEMS, true);
    let (mut two, mut silent) = (Vec::new(), Vec::new());
    for pair in 0..=PAIRS {
        eprintln!("pair {pair} of {PAIRS}: {EXCHANGES} tokens of new jobs for each of three roads");
        let [first, second, third] = [&plain, &beside, &needing].map(Road::measure);
        // The first warms all three up.
        if pair > 0 {
            silent.push(second.as_secs_f64() / first.as_secs_f64());
            two.push(third.as_secs_f64() / first.as_secs_f64());
        }
    }
    print_ratios("two_cached_facts", two);
    print_ratios("silent_systems", silent);
}

/// Of all this process's threads; see [`crate::thread_time`].
fn processor_time() -> Duration {
    let threads = fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path().join("schedstat"));
    threads.map(|file| crate::time_in(&file)).sum()
}

//! What the body of a delivery says, as far as it concerns the end of jobs or approvals (GitLab's job, pipeline, deployment
//! and merge request events).

use serde::Deserialize;
use std::collections::BTreeSet;

/// What a delivery says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum News {
    /// These jobs of a project are over.
    Over {
        /// The project that the jobs run in.
        project_id: u64,
        /// Which jobs.
        jobs: Vec<u64>,
        /// The state that GitLab names.
        status: String,
    },
    /// What was known of approvals in a project may be so no longer.
    Changed {
        /// Which project.
        project_id: u64,
    },
    /// Nothing that ends a job, or that we ask about.
    Nothing,
}

/// Why a body says nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NewsError {
    /// Not JSON, or not what GitLab sends for its kind of event.
    #[error("the body is no event of GitLab's: {0}")]
    Malformed(String),
}

/// The states of a job, pipeline or deployment that none comes after. A skipped or manual job has not run: it has no token
/// yet, and keeps its number when somebody plays it later.
const FINAL: [&str; 3] = ["success", "failed", "canceled"];
/// What a job of a final pipeline may still be told as, for a moment.
const UNTIL_A_MOMENT_AGO: [&str; 2] = ["running", "canceling"];
/// A pipeline has no more jobs than some hundred, even where it is generated.
const JOBS_MAX: usize = 5000;
/// On its way to the end: the job's `after_script` may still run.
const CANCELING: &str = "canceling";

#[derive(Deserialize)]
struct Kind {
    object_kind: String,
}

#[derive(Deserialize)]
struct Job {
    build_id: u64,
    build_status: String,
    project_id: u64,
}

#[derive(Deserialize)]
struct Pipeline {
    object_attributes: Attributes,
    project: Project,
    builds: Vec<Build>,
}

#[derive(Deserialize)]
struct Attributes {
    status: String,
}

#[derive(Deserialize)]
struct Project {
    id: u64,
}

#[derive(Deserialize)]
struct Build {
    id: u64,
    status: String,
}

#[derive(Deserialize)]
struct OfProject {
    project: Project,
}

#[derive(Deserialize)]
struct Deployment {
    status: String,
    /// The job that deploys.
    deployable_id: Option<u64>,
    project: Project,
}

impl News {
    /// Reads a body. `canceling` says whether a job that is being cancelled counts as over.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn read(body: &[u8], canceling: bool) -> Result<Self, NewsError> {
        let over = |status: &str| FINAL.contains(&status) || (canceling && status == CANCELING);
        let news = |project_id, jobs: Vec<u64>, status| {
            if jobs.is_empty() { Self::Nothing } else { Self::Over { project_id, jobs, status } }
        };
        Ok(match read::<Kind>(body)?.object_kind.as_str() {
            "build" => {
                let job: Job = read(body)?;
                let jobs = over(&job.build_status).then_some(job.build_id).into_iter().collect();
                news(job.project_id, jobs, job.build_status)
            }
            "pipeline" => {
                let Pipeline { object_attributes: Attributes { status }, project, builds } = read(body)?;
                if builds.len() > JOBS_MAX {
                    return Err(NewsError::Malformed(format!("it has more than {JOBS_MAX} jobs")));
                }
                let all = over(&status);
                let ended = |one: &str| over(one) || (all && UNTIL_A_MOMENT_AGO.contains(&one));
                let jobs: BTreeSet<u64> =
                    builds.into_iter().filter(|build| ended(&build.status)).map(|build| build.id).collect();
                news(project.id, jobs.into_iter().collect(), status)
            }
            "deployment" => {
                let deployment: Deployment = read(body)?;
                let project_id = deployment.project.id;
                match deployment.deployable_id.filter(|_| over(&deployment.status)) {
                    Some(job) => news(project_id, vec![job], deployment.status),
                    None => Self::Changed { project_id },
                }
            }
            // One "approved" is sent while others are still missing: what counts is asked.
            "merge_request" => Self::Changed { project_id: read::<OfProject>(body)?.project.id },
            _other => Self::Nothing,
        })
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, NewsError> {
    // The library's words quote no value of a known type but strings, and those of these events are short names.
    serde_json::from_slice(body).map_err(|error| NewsError::Malformed(error.to_string().chars().take(200).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn job(status: &str) -> Value {
        json!({"object_kind": "build", "build_id": 1977, "build_status": status, "project_id": 4711, "pipeline_id": 2366,
               "build_failure_reason": "unknown_failure", "user": {"id": 51}, "commit": {"id": 2366}})
    }

    fn pipeline(status: &str) -> Value {
        json!({"object_kind": "pipeline", "object_attributes": {"id": 2366, "status": status}, "project": {"id": 4711},
               "builds": [{"id": 1, "status": "success"}, {"id": 2, "status": "running"}, {"id": 3, "status": "manual"}]})
    }

    fn read(body: &Value) -> News {
        News::read(body.to_string().as_bytes(), false).unwrap()
    }

    fn ended(body: &Value) -> Vec<u64> {
        match read(body) {
            News::Over { project_id: 4711, jobs, .. } => jobs,
            News::Over { .. } | News::Changed { .. } | News::Nothing => Vec::new(),
        }
    }

    #[test]
    fn a_job_is_over_in_its_final_states_only() {
        for status in ["success", "failed", "canceled"] {
            assert_eq!(ended(&job(status)), [1977], "{status}");
        }
        let others = ["created", "pending", "running", "canceling", "manual", "scheduled", "skipped", "of_tomorrow"];
        for status in others {
            assert_eq!(read(&job(status)), News::Nothing, "{status}");
        }
    }

    #[test]
    fn a_job_that_is_being_cancelled_is_over_where_that_is_asked_for() {
        let body = job("canceling").to_string();
        assert!(matches!(News::read(body.as_bytes(), true), Ok(News::Over { .. })));
    }

    #[test]
    fn a_pipeline_ends_the_jobs_that_ended_and_a_final_one_those_that_ran_but_none_that_can_still_be_played() {
        assert_eq!(ended(&pipeline("running")), [1]);
        assert_eq!(ended(&pipeline("failed")), [1, 2]);
    }

    #[test]
    fn a_pipeline_of_more_jobs_than_there_are_is_none() {
        let builds: Vec<Value> = (0..=JOBS_MAX).map(|id| json!({"id": id, "status": "success"})).collect();
        let mut body = pipeline("success");
        body["builds"] = builds.into();
        assert!(matches!(News::read(body.to_string().as_bytes(), false), Err(NewsError::Malformed(_))));
    }

    #[test]
    fn a_deployment_ends_the_job_that_deployed() {
        let mut body = json!({"object_kind": "deployment", "status": "success", "deployable_id": 7,
                              "project": {"id": 4711}});
        assert_eq!(ended(&body), [7]);
        body["status"] = "running".into();
        assert_eq!(read(&body), News::Changed { project_id: 4711 });
        body["status"] = "failed".into();
        body["deployable_id"] = Value::Null;
        assert_eq!(read(&body), News::Changed { project_id: 4711 });
    }

    #[test]
    fn whatever_happens_to_a_merge_request_may_change_its_approvals_and_says_nothing_of_them() {
        for action in ["approved", "approval", "unapproved", "unapproval", "update", "merge"] {
            let body = json!({"object_kind": "merge_request", "project": {"id": 4711}, "object_attributes": {"action": action}});
            assert_eq!(read(&body), News::Changed { project_id: 4711 }, "{action}");
        }
    }

    #[test]
    fn what_is_no_event_is_refused_and_other_events_say_nothing() {
        assert_eq!(read(&json!({"object_kind": "push"})), News::Nothing);
        let mut text_id = job("success");
        text_id["build_id"] = "1977".into();
        for odd in [
            "",
            "x",
            "[]",
            "{}",
            r#"{"object_kind":"build"}"#,
            r#"{"object_kind":"merge_request"}"#,
            &text_id.to_string(),
        ] {
            assert!(matches!(News::read(odd.as_bytes(), false), Err(NewsError::Malformed(_))), "{odd}");
        }
    }
}

//! What meshes read out of an ID: no template lets one project, or a namespace of a mesh, pass for another.

use crate::support::harness::{Agent, Harness, POLICY, start};
use lanyard::identity::{FillError, IdTemplate, SpiffeId, TemplateError, TrustDomain};
use proptest::prelude::*;
use regex::Regex;
use std::sync::LazyLock;

const BY_PATH: &str = "/{project_path}/-/pipelines/{pipeline_id}";
const BY_NUMBER: &str = "/projects/{project_id}/-/pipelines/{pipeline_id}";
const FOR_LINKERD: [&str; 2] = ["/{project_path}", "/projects/{project_id}"];
const FOR_ISTIO: &str = "/ns/ci/sa/p{project_id}.pl{pipeline_id}";

/// One job, as far as IDs can tell.
#[derive(Clone, Debug)]
struct Job {
    path: String,
    project: u64,
    pipeline: u64,
}

fn fill(template: &str, job: &Job) -> Result<SpiffeId, FillError> {
    let trust_domain = TrustDomain::parse("ci.example.org").unwrap();
    IdTemplate::parse(template).unwrap().fill(&trust_domain, |claim| {
        Some(match claim {
            "project_path" => job.path.clone(),
            "project_id" => job.project.to_string(),
            "pipeline_id" => job.pipeline.to_string(),
            _ => return None,
        })
    })
}

/// Paths that are near each other, and words that meshes read.
fn jobs() -> impl Strategy<Value = Job> {
    let segment = prop_oneof!["[a-zA-Z0-9_.-]{1,4}", "ns|sa|NS|Sa|api|api-v2|acme|-|4|42|projects|pipelines|ci"];
    let path = prop::collection::vec(segment, 1..5).prop_map(|segments| segments.join("/"));
    let id = prop_oneof![1_u64..130, 1_u64..10_000_000_000_000_000_000];
    (path, id.clone(), id).prop_map(|(path, project, pipeline)| Job { path, project, pipeline })
}

/// How Istio writes policies on a namespace and on its service accounts, over whole principals.
struct Istio([Regex; 2]);

impl Istio {
    fn policies(namespace: &str) -> Self {
        let namespaces = format!("^(?:.*/ns/{namespace}/.*)$");
        let accounts = format!("^(?:spiffe://.+/ns/{namespace}/(.+/|)sa/.+(/.+)?)$");
        Self([namespaces, accounts].map(|pattern| Regex::new(&pattern).unwrap()))
    }

    fn admits(&self, id: &SpiffeId) -> bool {
        let Self([namespaces, accounts]) = self;
        namespaces.is_match(id.as_str().strip_prefix("spiffe://").unwrap()) || accounts.is_match(id.as_str())
    }
}

static ANY: LazyLock<Istio> = LazyLock::new(|| Istio::policies("[^/]+"));
static OURS: LazyLock<Istio> = LazyLock::new(|| Istio::policies("ci"));
static DEFAULT: LazyLock<Istio> = LazyLock::new(|| Istio::policies("default"));

proptest! {
    /// Shows: MESH-B2.
    #[test]
    fn no_policy_on_a_namespace_of_istio_admits_an_id_by_path_or_number(job in jobs()) {
        for template in [BY_PATH, BY_NUMBER, FOR_LINKERD[0], FOR_LINKERD[1]] {
            if let Ok(id) = fill(template, &job) {
                prop_assert!(!ANY.admits(&id), "{id}");
            }
        }
    }

    /// Shows: MESH-B3.
    #[test]
    fn an_id_for_istio_has_five_parts_and_the_operator_s_namespace(job in jobs()) {
        let id = fill(FOR_ISTIO, &job).unwrap();
        let parts: Vec<&str> = id.as_str().strip_prefix("spiffe://").unwrap().split('/').collect();
        let account = format!("p{}.pl{}", job.project, job.pipeline);
        prop_assert_eq!(parts, ["ci.example.org", "ns", "ci", "sa", account.as_str()]);
        prop_assert!(OURS.admits(&id) && !DEFAULT.admits(&id));
    }

    /// Shows: MESH-B4.
    #[test]
    fn an_id_for_linkerd_is_the_same_in_every_pipeline(job in jobs(), pipeline in 1_u64..1000) {
        for template in FOR_LINKERD {
            prop_assert_eq!(fill(template, &job), fill(template, &Job { pipeline, ..job.clone() }));
        }
    }

    /// Shows: ID-17, MESH-B5.
    #[test]
    fn a_project_s_prefix_is_no_other_project_s(mine in jobs(), other in jobs(), nested in any::<bool>()) {
        // A group may stand where a project stood, and hold projects.
        let path = if nested { format!("{}/{}", mine.path, other.path) } else { other.path.clone() };
        let other = Job { path, ..other };
        if mine.path != other.path && let Ok(id) = fill(BY_PATH, &other) {
            let prefix = format!("/{}/-/", mine.path);
            prop_assert!(!id.path().starts_with(&prefix), "{id}");
        }
        if mine.project != other.project {
            let id = fill(BY_NUMBER, &other).unwrap();
            let prefix = format!("/projects/{}/", mine.project);
            prop_assert!(!id.path().starts_with(&prefix), "{id}");
            let id = fill(FOR_ISTIO, &other).unwrap();
            let prefix = format!("/ns/ci/sa/p{}.", mine.project);
            prop_assert!(!id.path().starts_with(&prefix), "{id}");
        }
    }

    /// Shows: ID-17, MESH-B1.
    #[test]
    fn a_filled_template_is_a_legal_id_or_refused(path in ".{0,80}", job in jobs()) {
        for template in [BY_PATH, BY_NUMBER, FOR_LINKERD[0], FOR_ISTIO] {
            if let Ok(id) = fill(template, &Job { path: path.clone(), ..job.clone() }) {
                prop_assert!(id.as_str().len() <= 2048 && !id.path().ends_with('/'));
                let legal = |segment: &str| {
                    !matches!(segment, "" | "." | "..")
                        && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
                };
                prop_assert!(id.path().split('/').skip(1).all(legal), "{id}");
            }
        }
    }
}

/// Shows: MESH-B3.
#[test]
fn the_namespace_of_an_id_for_istio_is_the_operator_s_and_nobody_else_s() {
    for template in
        ["/ns/*/sa/p{project_id}", "/ns/{project_id}/sa/x", "/ns/ci-{project_id}/sa/x", "/ns/{namespace_path}/sa/x"]
    {
        let refused = IdTemplate::parse(template).unwrap_err();
        let expected = matches!(
            refused,
            TemplateError::MeshWord | TemplateError::Literal { .. } | TemplateError::PathNotEnded { .. }
        );
        assert!(expected, "{template}: {refused:?}");
    }
}

/// Shows: MESH-B2.
#[tokio::test]
async fn a_group_called_like_a_word_of_istio_s_is_refused_by_the_road_and_recorded() {
    let harness = Harness::new().await;
    for path in ["ns/istio-system/api", "acme/SA/api"] {
        let mut claims = harness.issuer.claims(start());
        let namespace = path.rsplit_once('/').unwrap().0;
        claims.insert("sub".to_owned(), format!("project_path:{path}:ref_type:branch:ref:main").into());
        for (name, value) in [
            ("project_path", path),
            ("job_project_path", path),
            ("namespace_path", namespace),
            ("job_namespace_path", namespace),
        ] {
            claims.insert(name.to_owned(), value.into());
        }
        let refused = harness.exchange(&harness.issuer.mint(&claims), &Agent::new()).await.unwrap_err();
        assert_eq!(refused.code(), "id_does_not_fit", "{refused}");
        assert!(refused.to_string().contains("numeric layout"), "{refused}");
    }
    let journal = harness.journal();
    assert!(journal.contains("id_does_not_fit") && journal.contains("ns/istio-system/api"), "{journal}");
}

/// Shows: MESH-B4.
#[tokio::test]
async fn two_pipelines_of_a_project_share_linkerd_s_id_and_the_journal_tells_them_apart() {
    let policy = POLICY.replace("/{project_path}/-/pipelines/{pipeline_id}", FOR_LINKERD[0]);
    let harness = Harness::with(&policy, "memory").await;
    let mut ids = Vec::new();
    for pipeline in ["574", "575"] {
        let token = harness.issuer.token_with(start(), "pipeline_id", pipeline);
        ids.push(harness.exchange(&token, &Agent::new()).await.unwrap().spiffe_id().clone());
    }
    assert_eq!(ids[0].as_str(), "spiffe://ci.example.org/acme/payments/api");
    assert_eq!(ids[0], ids[1]);
    let journal = harness.journal();
    assert!(journal.contains("\"pipeline_id\":574") && journal.contains("\"pipeline_id\":575"));
}

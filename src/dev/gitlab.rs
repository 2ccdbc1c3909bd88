//! The stand-in GitLab's door: discovery and key set over HTTPS, on loopback, as GitLab answers them.

use super::keys::GitlabKeys;
use super::{DevError, DevFolder, jobs};
use crate::clock::Clock;
use crate::telemetry::Shutdown;
use crate::tls::{DoorCa, DoorCertificate, IssuerDoor};
use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::{Router, routing::get};
use http::{HeaderMap, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How long GitLab lets clients keep its keys.
const CACHE_KEYS: &str = "max-age=86400, public, must-revalidate";

/// A stand-in GitLab that is ready to serve.
#[derive(Debug)]
pub(super) struct Gitlab {
    listener: TcpListener,
    door: IssuerDoor,
    pages: Router,
}

impl Gitlab {
    /// Serves on `listener` what `issuer_url` names, with a TLS certificate of the folder's authority.
    ///
    /// # Errors
    /// `Tls`.
    pub(super) fn open(
        authority: DoorCa,
        keys: &GitlabKeys,
        (issuer_url, listener): (&str, TcpListener),
        clock: &dyn Clock,
    ) -> Result<Self, DevError> {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let door = IssuerDoor::new(Arc::new(DoorCertificate::from_ca(authority, names, clock.now())?))?;
        let pages = Router::new()
            .route("/.well-known/openid-configuration", get(page(&discovery(issuer_url))))
            .route("/oauth/discovery/keys", get(page(&keys.jwks())));
        Ok(Self { listener, door, pages })
    }

    /// Shows the folder's jobs too, to whoever has its API's token.
    pub(super) fn showing_jobs(self, folder: &Arc<DevFolder>, token: String) -> Self {
        let (folder, token) = (Arc::clone(folder), Arc::<str>::from(token));
        let show = move |Path((project, job)): Path<(u64, u64)>, headers: HeaderMap| {
            let known = headers.get("private-token").is_some_and(|given| given.as_bytes() == token.as_bytes());
            let file = known.then(|| jobs::file_of(&folder, project, job));
            async move { shown(file).await }
        };
        Self { pages: self.pages.route("/api/v4/projects/{project}/jobs/{job}", get(show)), ..self }
    }

    /// Serves until shutdown; connections end with it.
    pub(super) async fn serve(self, shutdown: Shutdown) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = shutdown.wait() => return,
                accepted = self.listener.accept() => accepted,
                Some(_ended) = connections.join_next() => continue,
            };
            match accepted {
                Ok((tcp, _peer)) => {
                    connections.spawn(answer(tcp, self.door.clone(), self.pages.clone()));
                }
                Err(error) => tracing::debug!(%error, "the stand-in GitLab could not take a connection"),
            }
        }
    }
}

async fn answer(tcp: TcpStream, door: IssuerDoor, pages: Router) {
    match door.shake(tcp).await {
        Ok(shaken) => {
            let served = Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(shaken.stream), TowerToHyperService::new(pages))
                .await;
            if let Err(error) = served {
                tracing::debug!(error, "a connection to the stand-in GitLab broke off");
            }
        }
        Err(error) => tracing::debug!(%error, "a handshake with the stand-in GitLab broke off"),
    }
}

/// A job's file, as GitLab would answer; none is for whoever may not ask.
async fn shown(file: Option<PathBuf>) -> (StatusCode, [(http::HeaderName, &'static str); 1], Vec<u8>) {
    let (status, body) = match file {
        None => (StatusCode::UNAUTHORIZED, br#"{"message":"401 Unauthorized"}"#.to_vec()),
        Some(file) => match tokio::fs::read(&file).await {
            Ok(job) => (StatusCode::OK, job),
            Err(_absent) => (StatusCode::NOT_FOUND, br#"{"message":"404 Not found"}"#.to_vec()),
        },
    };
    (status, [(CONTENT_TYPE, "application/json")], body)
}

fn page(
    document: &Value,
) -> impl Fn() -> std::future::Ready<([(http::HeaderName, &'static str); 2], String)> + Clone + use<> {
    let text = document.to_string();
    move || std::future::ready(([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, CACHE_KEYS)], text.clone()))
}

/// What GitLab publishes of itself; `claims_supported` lists the login claims, not the CI ones.
fn discovery(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/oauth/authorize"),
        "token_endpoint": format!("{issuer}/oauth/token"),
        "userinfo_endpoint": format!("{issuer}/oauth/userinfo"),
        "jwks_uri": format!("{issuer}/oauth/discovery/keys"),
        "scopes_supported": ["openid", "profile", "email"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "claim_types_supported": ["normal"],
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "sub_legacy", "auth_time", "name", "nickname", "email"],
    })
}

#[cfg(test)]
mod tests {
    use super::super::job::Mint;
    use super::super::keys::{CA_PEM, tls_authority};
    use super::*;
    use crate::clock::{ManualClock, SystemClock};
    use crate::crypto::Random;
    use crate::directory::tests::Scene as Pins;
    use crate::discovery::{Fetch, HttpsFetch};
    use crate::facts::{self, Facts, GitlabApi, LetIn, Limits, Place, api_of};
    use crate::people::People;
    use crate::policy::{Need, Wanted};
    use crate::telemetry::Metrics;
    use crate::token::{IssuerName, UnverifiedToken};
    use std::fs;
    use std::time::Duration;

    #[tokio::test]
    async fn a_need_can_be_tried_on_a_job_of_the_stand_in() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Arc::new(DevFolder::claim(&parent.path().join("dev")).unwrap());
        let (random, now) = (Random::system(), SystemClock.now());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        folder.write("gitlab-issuer", url.as_bytes()).unwrap();
        let (authority, keys) = (tls_authority(&folder, &random, now).unwrap(), GitlabKeys::of(&folder).unwrap());
        let api_token = jobs::api_token(&folder, &random).unwrap();
        let gitlab = Gitlab::open(authority, &keys, (&url, listener), &SystemClock).unwrap();
        let gitlab = gitlab.showing_jobs(&folder, api_token);

        let token = Mint::of(&folder, now).unwrap().token(&[], &random, now).unwrap();
        let claims = UnverifiedToken::parse(&token).unwrap().unproven(IssuerName("dev".into()), None).unwrap();
        let (issuer, token_file) = (claims.issuer.clone(), folder.place(jobs::API_TOKEN));
        let ca_pem = folder.read(CA_PEM).unwrap();
        let place = Place { url: api_of(&url), let_in: LetIn::GitLab, token_file, ca_pem };
        let api = GitlabApi { issuer, place, limits: Limits::default() };
        let fetch: Arc<dyn Fetch> = Arc::new(HttpsFetch::new(None).unwrap());
        let clock = Arc::new(ManualClock::at(now));
        let world = facts::World {
            clock: Arc::<ManualClock>::clone(&clock),
            fetch,
            metrics: Metrics::new(),
            pins: Pins::new().pins(People::default()),
        };
        let facts = Facts::new(&[Arc::new(api)], world);
        let mut rule = crate::policy::tests::a_rule();
        rule.needs = vec![Need::Fact { name: "job.state", wanted: Wanted::OneOf(vec!["running".to_owned()]) }];
        let ask = async || {
            clock.advance(Duration::from_secs(5));
            facts.ask(&rule, &claims).await.of("job.state").unwrap().to_string()
        };
        let tried = async {
            assert_eq!(ask().await, "is running");
            let file = jobs::file_of(&folder, claims.project_id, claims.job_id);
            let job = fs::read_to_string(&file).unwrap();
            fs::write(&file, job.replace("running", "success")).unwrap();
            assert_eq!(ask().await, "is success");
            fs::remove_file(&file).unwrap();
            assert!(ask().await.contains("no such job"));
            folder.write(jobs::API_TOKEN, b"another").unwrap();
            assert!(ask().await.contains("401"));
        };
        let (_trigger, shutdown) = Shutdown::pair();
        tokio::select! {
            () = gitlab.serve(shutdown) => panic!("it serves until it is stopped"),
            () = tried => {}
        }
    }
}

//! The stand-in GitLab's door: discovery and key set over HTTPS, on loopback, as GitLab answers them.

use super::DevError;
use super::keys::GitlabKeys;
use crate::clock::Clock;
use crate::telemetry::Shutdown;
use crate::tls::{DoorCa, DoorCertificate, IssuerDoor};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::{Router, routing::get};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
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

//! The plain port for Prometheus, where an operator asks for one: `/metrics` and nothing else. No secret is on it, and no
//! identity.

use super::limits::{REST_AFTER_ERROR, SCRAPE_WITHIN, SCRAPES_MAX};
use crate::telemetry::{AgentMetrics, Shutdown};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The port, bound.
#[derive(Debug)]
pub(super) struct MetricsPort {
    listener: TcpListener,
    routes: Router,
}

impl MetricsPort {
    /// Binds it. Needs a runtime around it.
    ///
    /// # Errors
    /// When the address is not to be had.
    pub(super) fn bind(address: SocketAddr, metrics: AgentMetrics) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let routes = Router::new().route("/metrics", get(page)).with_state(metrics);
        Ok(Self { listener: TcpListener::from_std(listener)?, routes })
    }

    /// Serves until shutdown.
    pub(super) async fn serve(self, shutdown: Shutdown) -> &'static str {
        let mut scrapes = JoinSet::new();
        loop {
            let has_room = scrapes.len() < SCRAPES_MAX;
            tokio::select! {
                () = shutdown.wait() => return "the metrics port",
                Some(_ended) = scrapes.join_next() => {}
                accepted = self.listener.accept(), if has_room => match accepted {
                    Ok((stream, _from)) => drop(scrapes.spawn(scraped(stream, self.routes.clone()))),
                    Err(error) => {
                        tracing::warn!(%error, "a connection to the metrics port could not be accepted");
                        tokio::time::sleep(REST_AFTER_ERROR).await;
                    }
                },
            }
        }
    }
}

/// One request, in time.
async fn scraped(stream: TcpStream, routes: Router) {
    let mut http1 = http1::Builder::new();
    let served = http1.keep_alive(false).serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    match tokio::time::timeout(SCRAPE_WITHIN, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to the metrics port broke off"),
        Err(_slow) => tracing::debug!("a connection to the metrics port was too slow"),
    }
}

async fn page(State(metrics): State<AgentMetrics>) -> Response {
    // OpenMetrics 1.0, section "Content-Type".
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], metrics.render()).into_response()
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn whoever_is_silent_keeps_a_place_and_the_next_is_answered_when_one_is_free() {
        let port = MetricsPort::bind((Ipv4Addr::LOCALHOST, 0).into(), AgentMetrics::default()).unwrap();
        let (address, (stop, shutdown)) = (port.listener.local_addr().unwrap(), Shutdown::pair());
        let mut silent = Vec::new();
        for _ in 0..SCRAPES_MAX {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let scrape = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            let mut page = String::new();
            stream.read_to_string(&mut page).await.unwrap();
            page
        };
        let (mut scrape, mut serving) = (Box::pin(scrape), Box::pin(port.serve(shutdown)));
        tokio::select! {
            _ = &mut serving => panic!("it ended"),
            page = &mut scrape => panic!("answered beside {SCRAPES_MAX}: {page}"),
            () = tokio::time::sleep(Duration::from_millis(300)) => silent.clear(),
        }
        tokio::select! {
            _ = &mut serving => panic!("it ended"),
            page = &mut scrape => assert!(page.ends_with("# EOF\n") && page.contains("lanyard_agent_"), "{page}"),
        }
        drop(stop);
    }
}

//! Who comes in at a TLS port: the peer, or whom a balancer of ours introduces. Places are counted by that.

use crate::api::limits::INTRODUCED_WITHIN;
use crate::api::{Crowd, Visitor};
use crate::telemetry::Metrics;
use crate::wire::{Introduction, Proxies};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpStream;

/// The way in; clones are the same.
#[derive(Clone, Debug)]
pub(in crate::server) struct Entrance {
    crowd: Crowd,
    proxies: Proxies,
    pub(super) metrics: Metrics,
}

/// Whoever has connected, and a place.
#[derive(Debug)]
pub(super) struct Entrant {
    from: IpAddr,
    visitor: Arc<Visitor>,
    /// Where it is a balancer, whose client has yet to come in.
    to_be_introduced_at: Option<Entrance>,
}

/// Somebody who is known by address, in a place.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) address: IpAddr,
    pub(super) visitor: Arc<Visitor>,
}

impl Entrance {
    /// To places of this crowd, for the peers themselves and for whom these balancers bring.
    pub(in crate::server) const fn new(crowd: Crowd, proxies: Proxies, metrics: Metrics) -> Self {
        Self { crowd, proxies, metrics }
    }

    /// A place for whoever has connected, if there is one; a balancer has it until its client has one.
    pub(super) fn enter(&self, from: SocketAddr) -> Option<Entrant> {
        let from = from.ip().to_canonical();
        let visitor = self.place(from)?;
        Some(Entrant { from, visitor, to_be_introduced_at: self.proxies.include(from).then(|| self.clone()) })
    }

    fn place(&self, address: IpAddr) -> Option<Arc<Visitor>> {
        let visitor = self.crowd.enter(address);
        if visitor.is_none() {
            self.metrics.connection_refused("too_many");
        }
        visitor
    }
}

impl Entrant {
    /// Who it is, after the header where one is due; nobody where there is none, or no place.
    pub(super) async fn known(self, tcp: &mut TcpStream) -> Option<Client> {
        let Self { from, visitor, to_be_introduced_at: entrance } = self;
        let Some(entrance) = entrance else { return Some(Client { address: from, visitor }) };
        match Introduction::read(tcp, INTRODUCED_WITHIN).await {
            Ok(Introduction { client: None, .. }) => Some(Client { address: from, visitor }),
            Ok(Introduction { client: Some(address), .. }) => {
                drop(visitor);
                entrance.place(address).map(|visitor| Client { address, visitor })
            }
            Err(error) => {
                entrance.metrics.connection_refused("proxy_header");
                tracing::debug!(client = %from, %error, "a balancer introduces nobody");
                None
            }
        }
    }
}

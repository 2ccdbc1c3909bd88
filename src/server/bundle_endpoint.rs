//! The bundle endpoint: its port for anybody (`https_web`), and where switched on one with an SVID of ours (`https_spiffe`).

use super::door::open_files;
use super::endpoint_svid::EndpointSvid;
use super::{BundlePort, ServerError};
use crate::api::{BundleDoor, Desk};
use crate::clock::Clock;
use crate::config::ServerSettings;
use crate::telemetry::{Metrics, Port, Shutdown};
use crate::tls::{self, DoorCertificate};
use crate::wire::Proxies;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Both profiles, bound.
#[derive(Debug)]
pub(super) struct BundleEndpoint {
    web: Vec<BundlePort>,
    spiffe: Vec<BundlePort>,
    /// Where it is another than the server's.
    certificate: Option<Arc<DoorCertificate>>,
    svid: Option<EndpointSvid>,
}

impl BundleEndpoint {
    /// Binds what the settings ask for; without a certificate of its own the port shows the server's.
    pub(super) async fn bind(
        settings: &ServerSettings,
        (servers, svid): (&Arc<DoorCertificate>, Option<EndpointSvid>),
        desk: &Arc<Desk>,
        metrics: &Metrics,
    ) -> Result<Self, ServerError> {
        let certificate = settings.doors.bundle_certificate.as_ref().map(open_files).transpose()?.map(Arc::new);
        let (mut web, mut spiffe) = (Vec::new(), Vec::new());
        let entrance = (settings.doors.proxies.clone(), metrics.clone());
        for address in &settings.doors.bundle {
            let shown = Arc::<DoorCertificate>::clone(certificate.as_ref().unwrap_or(servers));
            web.push(port(*address, tls::BundleDoor::new(shown)?, BundleDoor::new(desk), &entrance).await?);
        }
        for (address, svid) in settings.doors.bundle_spiffe.iter().zip(std::iter::repeat(&svid)) {
            let Some(svid) = svid else { continue };
            let door = tls::BundleDoor::new(svid.shown())?;
            spiffe.push(port(*address, door, BundleDoor::of_spiffe(desk), &entrance).await?);
        }
        Ok(Self { web, spiffe, certificate, svid })
    }

    /// Where anybody asks.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        addresses(&self.web)
    }

    /// Where those ask who know us by our SVID.
    pub(super) fn spiffe_addresses(&self) -> Vec<SocketAddr> {
        addresses(&self.spiffe)
    }

    /// Starts its ports and what keeps their certificates fresh.
    pub(super) fn start(
        self,
        (doors, closing): (&mut JoinSet<()>, &Shutdown),
        (keepers, ended): (&mut JoinSet<()>, &Shutdown),
        (clock, metrics): (&Arc<dyn Clock>, &Metrics),
    ) {
        for port in self.web.into_iter().chain(self.spiffe) {
            doors.spawn(port.run(closing.clone()));
        }
        if let Some(certificate) = self.certificate {
            keepers.spawn(certificate.run(Arc::clone(clock), (Port::Bundle, metrics.clone()), ended.clone()));
        }
        if let Some(svid) = self.svid {
            keepers.spawn(svid.run(Arc::clone(clock), ended.clone()));
        }
    }
}

async fn port(
    address: SocketAddr,
    tls: tls::BundleDoor,
    door: BundleDoor,
    entrance: &(Proxies, Metrics),
) -> Result<BundlePort, ServerError> {
    let bound = BundlePort::bind(address, tls, door, entrance.clone()).await;
    bound.map_err(|source| ServerError::Address { address, source })
}

fn addresses(ports: &[BundlePort]) -> Vec<SocketAddr> {
    ports.iter().filter_map(|port| port.address().ok()).collect()
}

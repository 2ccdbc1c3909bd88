//! Whether the certificate that lies ready for a port can be shown there.

use super::numbers::Metrics;
use super::page::Page;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// Whether the certificate that lies ready for a port can be shown there.
#[derive(Debug)]
pub(super) struct Doors {
    unusable: Family<Of, Gauge>,
}

/// A port that shows a certificate.
#[derive(Clone, Copy, Debug)]
pub enum Port {
    /// Of the bundle endpoint, where its certificate is another than the server's.
    Bundle,
    /// Of agents and jobs.
    Issuer,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Of {
    port: &'static str,
}

impl Doors {
    pub(super) fn on(page: &mut Page) -> Self {
        let unusable = "1 while a port's newest certificate cannot be used, and the former one is shown";
        Self { unusable: page.number("certificate_unusable", unusable) }
    }
}

impl Metrics {
    /// What a port shows is the newest that there is.
    pub fn certificate_is_shown(&self, port: Port) {
        self.0.doors.unusable.get_or_create(&port.into()).set(0);
    }

    /// A newer one is there, and cannot be shown.
    pub fn certificate_is_unusable(&self, port: Port) {
        self.0.doors.unusable.get_or_create(&port.into()).set(1);
    }
}

impl From<Port> for Of {
    fn from(port: Port) -> Self {
        let port = match port {
            Port::Bundle => "bundle",
            Port::Issuer => "issuer",
        };
        Self { port }
    }
}

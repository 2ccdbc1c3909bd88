//! Spans that are over, until they are delivered. The road never waits for them: what finds no place is dropped, and counted.

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use prometheus_client::metrics::counter::Counter;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::sync::mpsc;

/// A thousand requests, some 4 MB.
const WAITING_MAX: usize = 8192;

/// Of this process, as its spans are.
static DROPPED: LazyLock<Counter> = LazyLock::new(Counter::default);
static SENT: LazyLock<Counter> = LazyLock::new(Counter::default);

/// The count of those that were lost, for a metric.
pub(in crate::telemetry) fn spans_dropped() -> Counter {
    DROPPED.clone()
}

/// The count of those that a collector has taken, for a metric.
pub(in crate::telemetry) fn spans_sent() -> Counter {
    SENT.clone()
}

/// Where spans go when they are over.
#[derive(Debug)]
pub(super) struct Queue(mpsc::Sender<SpanData>);

impl Queue {
    pub(super) fn pair() -> (Self, mpsc::Receiver<SpanData>) {
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        (Self(queue), waiting)
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.0.try_send(span).is_err() {
            DROPPED.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

//! Brings spans to a collector over OTLP, in batches. That it is slow or away costs spans, and nobody's time.

use super::queue::{Queue, spans_dropped, spans_sent};
use crate::telemetry::chain;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, RetryPolicy, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, SpanData, SpanExporter as _};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

/// As the OpenTelemetry specification has it.
const BATCH_MAX: usize = 512;
/// One call for all spans of a request, and for those of its neighbours.
const GATHER_FOR: Duration = Duration::from_millis(200);
/// What a collector may take for a batch. Meanwhile a queue of spans waits, which has an end.
const DELIVERED_WITHIN: Duration = Duration::from_secs(5);

/// Why no traces can be made.
#[derive(Debug, thiserror::Error)]
#[error("traces cannot be sent to {endpoint}")]
pub struct TracesError {
    endpoint: String,
    source: ExporterBuildError,
}

/// Makes traces of spans.
#[derive(Debug)]
pub struct Tracing(SdkTracerProvider);

impl Tracing {
    pub(in crate::telemetry) fn tracer(&self) -> SdkTracer {
        self.0.tracer(env!("CARGO_PKG_NAME"))
    }
}

/// Brings spans to the collector.
#[derive(Debug)]
pub struct Delivery {
    exporter: opentelemetry_otlp::SpanExporter,
    waiting: mpsc::Receiver<SpanData>,
    is_failing: bool,
}

impl Delivery {
    /// What makes traces, and what delivers them to the collector at `http://host:port`, or where the channel leads.
    ///
    /// # Errors
    /// When that is no address.
    pub fn to(endpoint: &str, channel: Option<Channel>) -> Result<(Tracing, Self), TracesError> {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(DELIVERED_WITHIN)
            // What waits for a second try would fill the queue just as well.
            .with_retry_policy(RetryPolicy::disabled());
        let exporter = match channel {
            Some(channel) => exporter.with_channel(channel),
            None => exporter,
        };
        let mut exporter = exporter.build().map_err(|source| TracesError { endpoint: endpoint.to_owned(), source })?;
        let service = [("service.name", env!("CARGO_PKG_NAME")), ("service.version", env!("CARGO_PKG_VERSION"))];
        let service = service.map(|(name, value)| KeyValue::new(name, value));
        let resource = Resource::builder_empty().with_attributes(service).build();
        exporter.set_resource(&resource);
        let (queue, waiting) = Queue::pair();
        let made = SdkTracerProvider::builder()
            .with_resource(resource)
            // A caller that keeps no trace of its own wants none of ours.
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
            .with_span_processor(queue)
            .build();
        Ok((Tracing(made), Self { exporter, waiting, is_failing: false }))
    }

    /// Delivers for as long as it is polled.
    pub async fn run(&mut self) -> Infallible {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            if self.waiting.recv_many(&mut batch, 1).await == 0 {
                return std::future::pending().await; // nobody makes spans any more
            }
            sleep(GATHER_FOR).await;
            self.take(&mut batch);
            while !batch.is_empty() {
                self.deliver(std::mem::take(&mut batch)).await;
                self.take(&mut batch);
            }
        }
    }

    /// Delivers what waits, at the end of the process.
    pub async fn finish(mut self) {
        let mut batch = Vec::new();
        self.take(&mut batch);
        if !batch.is_empty() {
            self.deliver(batch).await;
        }
    }

    fn take(&mut self, batch: &mut Vec<SpanData>) {
        while batch.len() < BATCH_MAX {
            let Ok(span) = self.waiting.try_recv() else { return };
            batch.push(span);
        }
    }

    async fn deliver(&mut self, batch: Vec<SpanData>) {
        let spans = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let why = match timeout(DELIVERED_WITHIN, self.exporter.export(batch)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(chain(&error)),
            Err(_elapsed) => Some(format!("no answer within {} s", DELIVERED_WITHIN.as_secs())),
        };
        let count = if why.is_none() { spans_sent() } else { spans_dropped() };
        count.inc_by(spans);
        match (&why, self.is_failing) {
            (Some(why), false) => tracing::warn!(why, "traces cannot be delivered; they are dropped until they can"),
            (None, true) => tracing::info!("traces are delivered again"),
            (Some(_), true) | (None, false) => {}
        }
        self.is_failing = why.is_some();
    }
}

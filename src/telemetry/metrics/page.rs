//! The page that a scraper reads.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};
use std::fmt::Debug;
use std::hash::Hash;

#[derive(Debug)]
pub(super) struct Page(Registry);

impl Default for Page {
    fn default() -> Self {
        Self(Registry::with_prefix("lanyard"))
    }
}

impl Page {
    /// A new number, at zero.
    pub(super) fn number<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        self.register(name, help, M::default())
    }

    /// How long something took.
    pub(super) fn seconds(&mut self, name: &str, help: &str) -> Histogram {
        self.register(name, help, seconds())
    }

    /// The same for each of several.
    pub(super) fn seconds_each<L>(&mut self, name: &str, help: &str) -> Family<L, Histogram, fn() -> Histogram>
    where
        L: Clone + Debug + EncodeLabelSet + Eq + Hash + Send + Sync + 'static,
    {
        self.register(name, help, Family::new_with_constructor(seconds))
    }

    /// A number that is kept elsewhere.
    pub(super) fn register<M: Metric + Clone>(&mut self, name: &str, help: &str, number: M) -> M {
        self.0.register(name, help, number.clone());
        number
    }

    /// In the `OpenMetrics` 1.0 text format.
    pub(super) fn render(&self) -> String {
        let mut page = String::new();
        // Writing to a string cannot fail; a metric that cannot say itself leaves its page unfinished.
        if text::encode(&mut page, &self.0).is_err() {
            tracing::error!("the metrics page could not be completed");
        }
        page
    }
}

/// From 0.1 ms, below the cheapest exchange, to 6.5 s, short of the deadline.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 17))
}

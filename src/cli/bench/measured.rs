//! What a load showed: how long answers took, and which calls got none.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::JoinError;

/// Whatever takes longer than ten minutes counts as that.
const LONGEST_MICROS: u64 = 600_000_000;
/// Three digits of each latency are kept.
const DIGITS: u8 = 3;

/// How a call's task ended: how long it took, and how it was answered.
type Ended = Result<(Duration, Result<(), String>), JoinError>;

/// A load's calls.
#[derive(Debug)]
pub(super) struct Measured {
    /// Of calls that were answered, in microseconds.
    latencies: Histogram<u64>,
    /// Of the others, by code.
    refused: BTreeMap<String, u64>,
    /// From the first call to the last answer.
    pub(super) took: Duration,
}

/// A load in numbers.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    /// Which.
    pub(super) load: String,
    /// Calls that were answered.
    pub(super) answered: u64,
    /// The others, by code.
    pub(super) refused: BTreeMap<String, u64>,
    /// Answers in a second.
    pub(super) per_second: u64,
    /// In microseconds.
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
    pub(super) p999: u64,
    pub(super) max: u64,
    /// By how much the server's memory grew for each, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server_kib_each: Option<u64>,
}

impl Default for Measured {
    #[expect(clippy::expect_used, reason = "bounds and digits are constants that the library takes")]
    fn default() -> Self {
        let latencies = Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS).expect("1 ≤ bound / 2, digits ≤ 5");
        Self { latencies, refused: BTreeMap::new(), took: Duration::ZERO }
    }
}

impl Measured {
    /// One call that has ended.
    pub(super) fn take(&mut self, latency: Duration, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.latencies.saturating_record(micros(latency).max(1)),
            Err(code) => *self.refused.entry(code).or_default() += 1,
        }
    }

    /// One that ran as a task.
    pub(super) fn take_ended(&mut self, ended: Option<Ended>) {
        match ended {
            Some(Ok((latency, outcome))) => self.take(latency, outcome),
            Some(Err(_panicked)) => self.take(Duration::ZERO, Err("broken".to_owned())),
            None => {}
        }
    }

    /// Another caller's.
    pub(super) fn add(&mut self, other: Self) {
        // Both have the same bounds.
        self.latencies.add(other.latencies).unwrap_or_default();
        for (code, count) in other.refused {
            *self.refused.entry(code).or_default() += count;
        }
    }

    /// What this share of the answered calls took at most.
    pub(super) fn latency(&self, share: f64) -> Duration {
        Duration::from_micros(self.latencies.value_at_quantile(share))
    }

    /// In numbers.
    pub(super) fn row(&self, load: String) -> Row {
        let at = |share| micros(self.latency(share));
        let answered = self.latencies.len();
        let per_second = answered.saturating_mul(1_000_000).checked_div(micros(self.took)).unwrap_or_default();
        let (p50, p90, p99, p999, max) = (at(0.5), at(0.9), at(0.99), at(0.999), at(1.0));
        Row {
            load,
            answered,
            refused: self.refused.clone(),
            per_second,
            p50,
            p90,
            p99,
            p999,
            max,
            server_kib_each: None,
        }
    }
}

impl Row {
    /// How the columns of a table are called.
    pub(super) const HEAD: [&'static str; 9] =
        ["load", "answered", "refused", "per second", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"];

    /// As a row of a table.
    pub(super) fn cells(&self) -> Vec<String> {
        let refused: Vec<_> = self.refused.iter().map(|(code, count)| format!("{count} {code}")).collect();
        let refused = if refused.is_empty() { "0".to_owned() } else { refused.join(", ") };
        let load = self.server_kib_each.map(|kib| format!("{}, {kib} KiB each", self.load));
        let mut cells = vec![
            load.unwrap_or_else(|| self.load.clone()),
            self.answered.to_string(),
            refused,
            self.per_second.to_string(),
        ];
        cells.extend([self.p50, self.p90, self.p99, self.p999, self.max].map(millis));
        cells
    }
}

/// Milliseconds as people read them.
fn millis(micros: u64) -> String {
    format!("{}.{:02}", micros / 1000, micros % 1000 / 10)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

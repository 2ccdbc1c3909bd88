//! What is written down, and whether it can be.

use super::numbers::{Metrics, signed};
use super::page::Page;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// What is written down, and whether it can be.
#[derive(Debug)]
pub(super) struct Records {
    journal_position: Gauge,
    indexes_set_aside: Counter,
    disk_full: Gauge,
    clock_wrong: Gauge,
    checkpoints_failing: Gauge,
    replica_behind: Gauge<f64, AtomicU64>,
    replica_revision: Gauge,
    replica_leads: Gauge,
    replicas_differ: Gauge,
    replica_clock_apart: Gauge,
    replica_went_back: Gauge,
}

impl Records {
    pub(super) fn on(page: &mut Page) -> Self {
        Self {
            journal_position: page.number("journal_position", "The journal's newest record"),
            indexes_set_aside: page
                .number("indexes_set_aside", "Damaged indexes that were moved away and made anew at start"),
            disk_full: page.number("disk_full", "1 while the journal's disk is full and no identity is given"),
            clock_wrong: page.number("clock_wrong", "1 while the clock cannot be believed and no identity is given"),
            checkpoints_failing: page.number(
                "checkpoints_failing",
                "1 while a signed checkpoint of the journal cannot be written to where it should go",
            ),
            replica_behind: page.number(
                "replica_behind_seconds",
                "For so long it has not been known whether this replica shows all that others wrote; 0 without others",
            ),
            replica_revision: page
                .number("replica_revision", "The revision of the replicas' store that this one shows"),
            replica_leads: page.number("replica_leads", "1 where this replica does what one is enough for"),
            replicas_differ: page.number("replicas_differ", "1 while replicas decide by different rules"),
            replica_clock_apart: page.number(
                "replica_clock_apart",
                "1 while this replica's clock is apart from that of most others and it writes nothing",
            ),
            replica_went_back: page.number(
                "replica_went_back",
                "1 while this replica writes nothing, because etcd was restored and has lost what was written since",
            ),
        }
    }
}

impl Metrics {
    /// The journal's newest record.
    pub fn journal_is_at(&self, position: u64) {
        self.0.records.journal_position.set(signed(position));
    }

    /// A damaged index was moved away and made anew.
    pub fn index_set_aside(&self) {
        self.0.records.indexes_set_aside.inc();
    }

    /// How far this replica is behind the others.
    pub fn replica_is(&self, behind: Duration, revision: u64, leads: bool) {
        let Records { replica_behind, replica_revision, replica_leads, .. } = &self.0.records;
        replica_behind.set(behind.as_secs_f64());
        replica_revision.set(signed(revision));
        replica_leads.set(leads.into());
    }

    /// Whether replicas decide by different rules.
    pub fn replicas_differ(&self, differ: bool) {
        self.0.records.replicas_differ.set(differ.into());
    }

    /// Whether this replica's clock is apart from the others'.
    pub fn replica_clock_is_apart(&self, apart: bool) {
        self.0.records.replica_clock_apart.set(apart.into());
    }

    /// Whether etcd was restored, and this replica writes nothing.
    pub fn replica_store_went_back(&self, went_back: bool) {
        self.0.records.replica_went_back.set(went_back.into());
    }

    /// Whether the journal's disk is full.
    pub fn disk_is_full(&self, full: bool) {
        self.0.records.disk_full.set(full.into());
    }

    /// Whether the clock cannot be believed.
    pub fn clock_is_wrong(&self, wrong: bool) {
        self.0.records.clock_wrong.set(wrong.into());
    }

    /// Whether a signed checkpoint could not be written to where it should go.
    pub fn checkpoints_are_failing(&self, failing: bool) {
        self.0.records.checkpoints_failing.set(failing.into());
    }
}

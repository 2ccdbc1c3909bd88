//! The numbers of an agent that operators watch. Label sets are closed: codes, never an identity.

use super::page::Page;
use crate::telemetry::panics::panics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use std::sync::Arc;

/// The numbers of an agent; clones count together.
#[derive(Clone, Debug)]
pub struct AgentMetrics(Arc<Numbers>);

#[derive(Debug)]
struct Numbers {
    page: Page,
    responses: Counter,
    refusals: Counter,
    sockets_put_back: Counter,
    turned_away: Family<Code, Counter>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Code {
    code: &'static str,
}

impl Default for AgentMetrics {
    fn default() -> Self {
        let mut page = Page::default();
        page.register("panics", "Panics of this process", panics());
        let refused = "Responses that a proxy refused (NACK): it keeps the secrets that it has";
        Self(Arc::new(Numbers {
            responses: page.number("agent_sds_responses", "Responses with secrets that proxies were sent"),
            refusals: page.number("agent_sds_refusals", refused),
            sockets_put_back: page
                .number("agent_sds_socket_put_back", "How often the proxies' socket was deleted, and put back"),
            turned_away: page.number("agent_turned_away", "Calls of processes that were turned away, by code"),
            page,
        }))
    }
}

impl AgentMetrics {
    /// A proxy was sent secrets.
    pub fn secrets_sent(&self) {
        self.0.responses.inc();
    }

    /// And refused them.
    pub fn secrets_refused(&self) {
        self.0.refusals.inc();
    }

    /// The proxies' socket has its name again, which somebody had deleted.
    pub fn socket_put_back(&self) {
        self.0.sockets_put_back.inc();
    }

    /// A process is not one that is served, for the reason of this code.
    pub fn turned_away(&self, code: &'static str) {
        self.0.turned_away.get_or_create(&Code { code }).inc();
    }

    /// All numbers in the `OpenMetrics` 1.0 text format.
    pub fn render(&self) -> String {
        self.0.page.render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_reads_refusals_of_proxies_and_who_was_turned_away() {
        let metrics = AgentMetrics::default();
        metrics.secrets_sent();
        metrics.secrets_sent();
        metrics.secrets_refused();
        metrics.turned_away("caller_not_admitted");
        let page = metrics.render();
        for line in [
            "lanyard_agent_sds_responses_total 2",
            "lanyard_agent_sds_refusals_total 1",
            r#"lanyard_agent_turned_away_total{code="caller_not_admitted"} 1"#,
        ] {
            assert!(page.lines().any(|found| found == line), "{line}: {page}");
        }
    }
}

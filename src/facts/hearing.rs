//! Asks for all that a rule needs at the same time, and never longer than one deadline.

use super::gitlab_job::GitlabJob;
use super::{Asking, FactSource, GitlabApi};
use crate::clock::Clock;
use crate::discovery::Fetch;
use crate::policy::{Answer, Answers, Denial, HeardRule, Rule};
use crate::telemetry::Metrics;
use crate::token::{Claims, IssuerName};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::{poll_fn, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Semaphore;

/// An agent waits ten seconds for its answer, and an issuer's keys may have taken five of them.
const WITHIN: Duration = Duration::from_secs(3);
/// How many requests wait for other systems at once: a sixth of what one issuer may have on the road, so that a silent
/// system leaves the rest of it to those who need nothing.
pub(super) const WAITING_MAX: usize = 128;

/// All systems that can be asked.
#[derive(Debug)]
pub struct Facts {
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    sources: BTreeMap<(IssuerName, &'static str), Arc<dyn FactSource>>,
    waiting: Semaphore,
}

impl Facts {
    /// The facts that these systems know; each is asked with `fetch`.
    pub fn new(apis: Vec<GitlabApi>, fetch: &Arc<dyn Fetch>, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        let mut sources = BTreeMap::new();
        for api in apis {
            let issuer = api.issuer.clone();
            let jobs: Arc<dyn FactSource> = Arc::new(GitlabJob::new(api, Arc::clone(fetch), Arc::clone(&clock)));
            sources.extend(GitlabApi::FACTS.map(|fact| ((issuer.clone(), fact), Arc::clone(&jobs))));
        }
        Self { clock, metrics, sources, waiting: Semaphore::new(WAITING_MAX) }
    }

    /// What other systems say of what the rule needs. One that needs nothing is heard at once, without waiting.
    ///
    /// # Errors
    /// `NeedFailed`, `FactUnavailable`.
    pub async fn hear(&self, rule: Arc<Rule>, claims: &Claims) -> Result<HeardRule, Denial> {
        // Boxed: the road of those who need nothing must not carry what asking takes.
        let facts = if rule.needs.is_empty() { Answers::NONE } else { Box::pin(self.ask(&rule, claims)).await };
        rule.hear(facts)
    }

    /// What they say to what the rule needs, whatever that is; for those who explain.
    pub async fn ask(&self, rule: &Rule, claims: &Claims) -> Answers {
        let Ok(_place) = self.waiting.try_acquire() else {
            let crowded = |fact| (Cow::Borrowed(fact), unavailable("too many requests wait for other systems"));
            return rule.facts().into_iter().map(crowded).collect();
        };
        let began = self.clock.now();
        let mut deadline = self.clock.wait_until(began + WITHIN);
        let mut open: Vec<_> = rule.facts().into_iter().map(|fact| (fact, self.begin(fact, claims))).collect();
        let mut heard = Vec::with_capacity(open.len());
        poll_fn(|context| {
            heard.extend(listen(&mut open, context));
            let is_over = open.is_empty() || deadline.as_mut().poll(context).is_ready();
            if is_over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let late = format!("no answer within {} s", WITHIN.as_secs());
        heard.extend(open.into_iter().map(|(fact, _dropped)| (fact, unavailable(&late))));
        let took = Duration::try_from(self.clock.now() - began).unwrap_or(Duration::ZERO);
        self.metrics.facts_heard(took);
        for (fact, answer) in &heard {
            self.metrics.fact_heard(fact, answer.kind());
        }
        heard.into_iter().map(|(fact, answer)| (Cow::Borrowed(fact), answer)).collect()
    }

    fn begin<'a>(&'a self, fact: &'static str, claims: &'a Claims) -> Asking<'a> {
        match self.sources.get(&(claims.issuer.clone(), fact)) {
            Some(source) => source.ask(fact, claims),
            // No policy loads that needs one; a session's issuer may have lost its own at a restart.
            None => Box::pin(ready(unavailable("no source is configured for the job's issuer"))),
        }
    }
}

/// Takes out those that have answered.
fn listen(open: &mut Vec<(&'static str, Asking<'_>)>, context: &mut Context<'_>) -> Vec<(&'static str, Answer)> {
    let mut heard = Vec::new();
    open.retain_mut(|(fact, asking)| match asking.as_mut().poll(context) {
        Poll::Ready(answer) => {
            heard.push((*fact, answer));
            false
        }
        Poll::Pending => true,
    });
    heard
}

fn unavailable(why: &str) -> Answer {
    Answer::Unavailable { why: why.to_owned(), retry_after: None }
}

//! Asks for all that a rule needs at the same time, and never longer than one deadline.

use super::{Asking, Configured, Limits, Source, Told, World};
use crate::clock::Clock;
use crate::policy::{Answer, Answers, Denial, HeardRule, Rule, Seen};
use crate::telemetry::Metrics;
use crate::token::{Claims, IssuerName};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::{poll_fn, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Longer than any source takes, so that each can say for itself that it was late: this is for those who waited for a
/// question that somebody else gave up.
const WITHIN: Duration = Limits::WITHIN_MAX.saturating_add(Duration::from_millis(500));

/// All systems that can be asked.
#[derive(Debug)]
pub struct Facts {
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    sources: BTreeMap<(IssuerName, &'static str), Arc<dyn Source>>,
}

impl Facts {
    /// The facts that these systems know.
    pub fn new(systems: &[Arc<dyn Configured>], world: World) -> Self {
        let mut sources = BTreeMap::new();
        for system in systems {
            for (fact, source) in system.open(&world) {
                let of = |issuer: &IssuerName| ((issuer.clone(), fact), Arc::clone(&source));
                sources.extend(system.issuers().iter().map(of));
            }
        }
        Self { clock: world.clock, metrics: world.metrics, sources }
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
        let late = format!("no answer within {} s", WITHIN.as_secs_f32());
        heard.extend(open.into_iter().map(|(fact, _dropped)| (fact, unavailable(&late).into())));
        let took = Duration::try_from(self.clock.now() - began).unwrap_or(Duration::ZERO);
        self.metrics.facts_heard(took);
        for (fact, told) in &heard {
            self.metrics.fact_heard(fact, told.answer.kind());
        }
        heard.into_iter().flat_map(|(fact, told)| all_of(fact, told)).collect()
    }

    /// Something happened in a project of an issuer: what was said of it is asked again when it is needed.
    pub fn forget(&self, issuer: &IssuerName, project_id: u64) {
        for ((of, _fact), source) in &self.sources {
            if of == issuer {
                source.forget(project_id);
            }
        }
    }

    fn begin<'a>(&'a self, fact: &'static str, claims: &'a Claims) -> Asking<'a> {
        match self.sources.get(&(claims.issuer.clone(), fact)) {
            Some(source) => source.ask(fact, claims),
            // No policy loads that needs one; a session's issuer may have lost its own at a restart.
            None => Box::pin(ready(unavailable("no source is configured for the job's issuer").into())),
        }
    }
}

/// Takes out those that have answered.
fn listen(open: &mut Vec<(&'static str, Asking<'_>)>, context: &mut Context<'_>) -> Vec<(&'static str, Told)> {
    let mut heard = Vec::new();
    open.retain_mut(|(fact, asking)| match asking.as_mut().poll(context) {
        Poll::Ready(told) => {
            heard.push((*fact, told));
            false
        }
        Poll::Pending => true,
    });
    heard
}

/// A fact, what was seen beside it, and how many seconds ago, where it was not now.
fn all_of(fact: &'static str, told: Told) -> impl Iterator<Item = (Cow<'static, str>, Answer)> {
    let Told { answer, beside, age } = told;
    let beside = beside.into_iter().map(|(name, seen)| (Cow::Borrowed(name), Answer::Is(seen)));
    let age = age.map(|age| (Cow::Owned(format!("{fact}.age_seconds")), Answer::Is(Seen::Count(age.as_secs()))));
    beside.chain(age).chain([(Cow::Borrowed(fact), answer)])
}

fn unavailable(why: &str) -> Answer {
    Answer::Unavailable { why: why.to_owned(), retry_after: None }
}

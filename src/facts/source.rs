//! A system that can be asked: what it must say of itself, and which facts this version can ask for at all.
//!
//! A new one is a file that implements [`FactSource`] and [`Configured`], a line in [`SOURCES`] and one in the table of
//! `config/sources.rs`. Time, repetition and silence are the [`super::asker`]'s.

use super::GitlabApi;
use crate::clock::Clock;
use crate::directory::AccountPins;
use crate::discovery::Fetch;
use crate::policy::{Answer, Seen};
use crate::telemetry::Metrics;
use crate::token::{Claims, IssuerName};
use std::fmt::Debug;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// The facts that have a source, each with what an issuer's configuration must hold for it.
pub const SOURCES: [(&str, &str); 6] = [
    ("approvals.deployment", GITLAB),
    ("approvals.merge_request", GITLAB),
    ("directory.enabled", DIRECTORY),
    ("directory.group", DIRECTORY),
    ("gerrit.status", "an [issuer.gerrit] with url, user and token_file"),
    ("job.state", GITLAB),
];
const DIRECTORY: &str =
    "a place in the issuers of [directory], or an [issuer.okta] with url, provider and token_file or key_file";
const GITLAB: &str = "an [issuer.api] with a token_file";

/// What one system knows, and how to ask it.
pub(super) trait FactSource: Debug + Send + Sync + 'static {
    /// What a question is about: equal ones share an answer.
    type About: Clone + Debug + Eq + Hash + Send + Sync;
    /// What the system says of it; that it knows no such thing is an answer too.
    type Known: Debug + Send + Sync;

    /// What there is to ask about a job; or why there is nothing.
    fn about(&self, claims: &Claims) -> Result<Self::About, Answer>;

    /// Asks the system. Dropped once it has taken too long.
    fn look(&self, about: &Self::About) -> impl Future<Output = Result<Self::Known, Silence>> + Send;

    /// What that means for one of its facts.
    fn tell(&self, fact: &'static str, known: &Self::Known, claims: &Claims) -> Answer;

    /// What else was seen, for the journal.
    fn beside(&self, _known: &Self::Known) -> Vec<(&'static str, Seen)> {
        Vec::new()
    }

    /// Whether the system answered anything since then: a question that takes too long is then one that is too long.
    fn has_answered_since(&self, _then: OffsetDateTime) -> bool {
        false
    }

    /// Whether what happens in a project may change the answer.
    fn is_of_project(&self, _about: &Self::About, _project_id: u64) -> bool {
        false
    }
}

/// Why a system said nothing of use.
#[derive(Clone, Debug)]
pub(super) enum Silence {
    /// It does not answer, or wants to be left alone: whatever else it were asked, it would say no more.
    Down {
        /// Why.
        why: String,
        /// How long it wants to be left alone, where it said so.
        wait: Option<Duration>,
    },
    /// It answers, but not this question.
    Unclear(String),
}

impl Silence {
    pub(super) fn down(why: impl Into<String>) -> Self {
        Self::Down { why: why.into(), wait: None }
    }
}

/// How long a system is waited for, and how long its answers count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The longest wait for one answer.
    pub within: Duration,
    /// The age of an answer at most, where it is not as each fact's own source has it.
    pub cache_for: Option<Duration>,
}

impl Limits {
    /// An agent waits ten seconds for its answer, and an issuer's keys may have taken five of them.
    pub const WITHIN_MAX: Duration = Duration::from_secs(3);
    /// What ended that long ago may still be taken to go on.
    pub const CACHE_FOR_MAX: Duration = Duration::from_secs(600);
}

impl Default for Limits {
    fn default() -> Self {
        Self { within: Self::WITHIN_MAX, cache_for: None }
    }
}

/// A system as it is configured.
pub trait Configured: Debug + Send + Sync {
    /// About whose jobs it is asked.
    fn issuers(&self) -> &[IssuerName];

    /// What it can be asked for.
    fn facts(&self) -> &'static [&'static str];

    /// What lets an issuer's own GitLab be asked, where it is that.
    fn gitlab(&self) -> Option<&GitlabApi> {
        None
    }

    /// It, ready to be asked: each of its parts with the facts that it is asked for.
    fn open(&self, world: &World) -> Vec<(&'static str, Arc<dyn Source>)>;
}

/// What the world gives to sources.
#[derive(Clone, Debug)]
pub struct World {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// How their APIs are asked.
    pub fetch: Arc<dyn Fetch>,
    /// What operators watch.
    pub metrics: Metrics,
    /// Which account was whose.
    pub pins: AccountPins,
}

/// An answer to come.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Told> + Send + 'a>>;

/// A system, asked with care.
pub trait Source: Debug + Send + Sync + 'static {
    /// What it says of one of its facts, at once or within its limit.
    fn ask<'a>(&'a self, fact: &'static str, claims: &'a Claims) -> Asking<'a>;

    /// Something happened in a project: what was said of it counts no more.
    fn forget(&self, project_id: u64);
}

/// What was said of a fact.
#[derive(Clone, Debug)]
pub struct Told {
    /// What it is.
    pub answer: Answer,
    /// What else was seen, for the journal.
    pub beside: Vec<(&'static str, Seen)>,
    /// How old it is, where it was known already.
    pub age: Option<Duration>,
}

impl From<Answer> for Told {
    fn from(answer: Answer) -> Self {
        Self { answer, beside: Vec::new(), age: None }
    }
}

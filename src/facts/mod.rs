//! What other systems say of a job: asked for the rule that speaks, when it needs it, and again at each renewal.
//!
//! ```text
//!   Rule, Claims ─▶ Facts::hear ─┬─▶ Asker ─▶ FactSource (one file a system) ─▶ Answer ─┬─▶ Rule::hear ─▶ HeardRule,
//!                                └─▶ …all at once, within one deadline ─────────────────┘   or a Denial
//!   Asker: what is known and fresh │ a place to wait │ one question for all who wait │ breaker │ limit
//! ```
//! A source says what a fact is, that it is not this job's to have, or that it cannot be asked; what a rule makes of that
//! is policy's. **Invariants**: a rule that needs nothing waits for nobody; no address and no secret comes from a token.

mod source;
mod breaker;
mod flights;
mod asker;
mod api;
mod gitlab_job;
mod approvals;
mod gitlab_deployment;
mod gitlab_review;
mod gitlab;
mod gitlab_users;
mod active_directory;
mod gerrit_change;
mod gerrit_merge;
mod gerrit_review;
mod gerrit;
mod okta_access;
mod okta;
mod hearing;

pub use active_directory::ActiveDirectory;
pub use api::{LetIn, Place, TOKEN_HEADER};
pub use gerrit::{GerritApi, GerritProject};
pub use gitlab::{GitlabApi, api_of};
pub use hearing::Facts;
pub use okta::OktaApi;
pub use okta_access::{NoOktaKey, OktaClient};
pub use source::{Asking, Configured, Limits, SOURCES, Source, Told, World};

use api::Api;
use source::{FactSource, Silence};

#[cfg(test)]
mod tests;

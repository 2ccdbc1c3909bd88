//! What other systems say of a job: asked for the rule that speaks, when it needs it, and again at each renewal.
//!
//! ```text
//!   Rule, Claims ─▶ Facts::hear ─┬─▶ FactSource (one file a system) ─▶ Answer ─┬─▶ Rule::hear ─▶ HeardRule, or a Denial
//!                                └─▶ …all at once, within one deadline ────────┘
//! ```
//! A source says what a fact is, that it is not this job's to have, or that it cannot be asked; what a rule makes of that
//! is policy's. **Invariants**: a rule that needs nothing waits for nobody; no address and no secret comes from a token.

mod source;
mod flights;
mod gitlab_job;
mod hearing;

pub use gitlab_job::{GitlabApi, TOKEN_HEADER, api_of};
pub use hearing::Facts;
pub use source::{Asking, FactSource, SOURCES};

#[cfg(test)]
mod tests;

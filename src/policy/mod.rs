//! What may the bearer be.
//!
//! ```text
//!   Claims ─▶ Policy::choose ─▶ Rule ─▶ Rule::hear (facts) ─▶ HeardRule::grant (wish) ─▶ Grant, or a Denial
//!       └──▶ Policy::walk: the same tests, each with what it wanted and got
//! ```
//! A rule's conditions are typed tests, no expression language: so each can be explained, checked at load and
//! compared with another rule's. Not here: reading policy files (`config`), asking other systems (`facts`).

mod glob;
mod condition;
mod compare;
mod terms;
mod need;
mod facts;
mod claim_template;
mod extra_claims;
mod rule;
mod denial;
mod build;
mod index;
mod decide;
mod heard;
mod explain;
mod segments;
mod id_set;
mod naming;
mod shared_prefix;
mod shared_ids;
mod reach;
mod laxer;
mod ruling;
mod case;
mod replay;

pub use case::{Case, Expected, Judged};
pub use claim_template::{ClaimFillError, ClaimTemplate, ClaimTemplateError};
pub use condition::{Condition, Test, Truth};
pub use decide::{Grant, PathPin, Policy, Wish};
pub use denial::Denial;
pub use explain::{RuleWalk, TermWalk, Verdict, Walk};
pub use extra_claims::{AwsTemplate, ExtraClaimError, ExtraClaims, ExtraFillError};
pub use facts::{Answer, Answers, HeardRule, Outcome, Seen, Unmet};
pub use glob::Glob;
pub use heard::{Heard, NeedWalk};
pub use id_set::{IdPart, IdSet};
pub use laxer::{Laxer, Shown, ShownIn};
pub use need::{FactKind, KNOWN_FACTS, Need, SHOWN_FACTS, Wanted};
pub use reach::{Contradiction, Covered, find_covered};
pub use replay::{Before, Change, Group, Replay, Told};
pub use rule::{Gives, Kind, ProfileTemplate, RefusalRule, Rule};
pub use ruling::Ruling;
pub use shared_ids::{Clash, SharedId, find_shared_claims, find_shared_in_aws};
pub use terms::{Once, Terms};

#[cfg(test)]
pub(crate) mod tests;

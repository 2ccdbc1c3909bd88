//! What GitLab says of a job unasked: is this delivery genuine, and which jobs does it end?
//!
//! ```text
//!   delivery ─▶ proof (whose secret opens it) ─▶ Hook ─▶ news (what its body says) ─▶ scope (may it say that)
//! ```
//! A hook is a hint: it comes late, twice, out of order or never, and can only end. All of it is a function of its
//! arguments; ending what lives is `session`'s, and the way in is `api`'s. `installed` says how a webhook must stand in
//! GitLab for all this; putting it there is `cli`'s.

mod hook;
mod news;
mod proof;
mod installed;

pub use hook::{Hook, Hooks, Scope, is_under};
pub use installed::{NoText, Shown, Step, Wanted};
pub use news::{News, NewsError};
pub use proof::{Delivery, DeliveryIds, HookError, Signed, SigningToken, SigningTokenError};

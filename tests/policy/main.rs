//! The language of rules, held against what people read of it: the broken policies with what is said of them, the
//! examples of `docs/policy.md`, and what each example says to every sample of GitLab's tokens.
//!
//! After a change of wording, of an example or of a verdict: `LANYARD_GOLDEN=write cargo test --test policy`, and read
//! what changed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test a wrong value is the failure")]

#[path = "../support/golden.rs"]
mod golden;
mod page;
mod problems;
mod verdicts;

use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

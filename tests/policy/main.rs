//! The language of rules, held against what people read of it: the broken policies with what is said of them, the
//! examples of `docs/policy.md`, what each example says to every sample of GitLab's tokens, and laws that hold for thousands
//! of policies of chance.
//!
//! After a change of wording, of an example or of a verdict: `LANYARD_GOLDEN=write cargo test --test policy`, and read
//! what changed.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test a wrong value is the failure"
)]
#![expect(clippy::print_stdout, reason = "what was tried is told, so that somebody can see a generator go blind")]

#[path = "../support/golden.rs"]
mod golden;
#[path = "../support/proportion.rs"]
mod proportion;
#[path = "../support/mod.rs"]
mod support;

mod by_chance;
mod integrations;
mod issuers;
mod meshes;
mod page;
mod problems;
mod verdicts;

use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

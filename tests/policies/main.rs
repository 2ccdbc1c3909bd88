//! Laws of policies, held against thousands of policies of chance: an understanding of rules that is written apart from the
//! server's own says which policies may load, and what those that load may give.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a law that cannot be put to the test has failed")]
#![expect(clippy::print_stdout, reason = "what was tried is told, so that somebody can see a generator go blind")]

#[path = "../support/mod.rs"]
mod support;

mod chance;
mod checker;
mod globs;
mod laws;
mod model;
mod plants;
mod road;
mod templates;
mod tries;
mod world;

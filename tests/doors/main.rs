//! The doors, against clients we did not write.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, starts its own tasks and says what it lacks"
)]

mod clients;
mod endings;
mod helper;
#[path = "../support/installed.rs"]
mod installed;
mod issuer;
mod running;
mod sessions;
mod streams;

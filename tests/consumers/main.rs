//! What becomes of an ended identity at the services that took it: real ones, each with its own configuration.
//!
//! `docs/consumers.md` shows the configurations and has a row for each consumer. Both are what is tried here: configurations
//! are read out of the page, and rows are held against what was found (`LANYARD_GOLDEN=write` renews them).
//! `tests/run` installs the servers; without them these tests fail, since nothing else can stand in.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a consumer that cannot be tried ends the test"
)]
#![expect(clippy::disallowed_methods, reason = "servers outside need real time and the real environment")]
#![expect(clippy::print_stdout, reason = "what a helper has measured is told to whoever asks for it")]

#[path = "../support/issuer.rs"]
#[expect(dead_code, reason = "each test program uses its own part")]
mod issuer;
#[path = "../support/foreign.rs"]
#[expect(dead_code, reason = "each test program uses its own part")]
mod foreign;
#[path = "../support/installed.rs"]
mod installed;
#[path = "../support/of_bundle.rs"]
mod of_bundle;
#[path = "../process/place.rs"]
#[expect(dead_code, reason = "each test program uses its own part")]
mod place;
#[path = "../process/callers.rs"]
#[expect(dead_code, reason = "each test program uses its own part")]
mod callers;
#[path = "../process/gitlab.rs"]
mod gitlab;
#[path = "../process/server.rs"]
#[expect(dead_code, reason = "each test program uses its own part")]
mod server;

mod authority;
mod client;
mod consumer;
mod dialogue;
mod page;
mod relay;
mod row;
mod sides;
mod trial;
mod verdict;
mod visitors;
mod world;

mod envoy;
mod envoy_keys;
mod foreign_roots;
mod go;
mod haproxy;
mod history;
mod java;
mod lists_by_sds;
mod mesh;
mod nginx;
mod openssl;
mod pod;
mod postgresql;
mod prompt;
mod recipes;
mod runner;
mod rotations;

//! Several servers on one real etcd: what one does is in force on all, and nothing is done twice.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "what cannot go on here ends the test, and says so"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a process outside needs real time, real tasks and the real environment"
)]
#![expect(clippy::print_stdout, reason = "what a storm has measured is told to whoever asks for it")]

#[path = "../process/apart.rs"]
#[expect(dead_code, reason = "each test program uses its own part")]
mod apart;
#[path = "../process/callers.rs"]
#[expect(dead_code, reason = "each test program uses its own part")]
mod callers;
#[path = "../support/etcd.rs"]
#[expect(dead_code, reason = "each test program uses its own part")]
mod etcd;
#[path = "../support/https.rs"]
#[expect(dead_code, reason = "each test program uses its own part")]
mod https;
#[path = "../support/issuer.rs"]
mod issuer;
#[path = "../support/mute.rs"]
#[expect(dead_code, reason = "each test program uses its own part")]
mod mute;
#[path = "../process/place.rs"]
#[expect(dead_code, reason = "each test program uses its own part")]
mod place;
#[path = "../process/server.rs"]
#[expect(dead_code, reason = "each test program uses its own part")]
mod server;

#[path = "../process/journal.rs"]
mod journal;

mod replica;
mod agent;
mod lab;
mod fleet;
mod load;
mod lost;

mod chaos;
mod full;
mod moved;
mod quorum;
mod race;
mod silent;
mod together;

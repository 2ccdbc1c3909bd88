//! The real binary: started, loaded, killed, damaged, restarted, and compared with what it promised.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "what cannot go on here ends the test, and says so"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a process outside needs real time, real tasks and the real environment"
)]

#[path = "../support/issuer.rs"]
mod issuer;
#[path = "../support/golden.rs"]
mod golden;
#[path = "../support/console.rs"]
mod console;

mod apart;
mod gitlab;
mod place;
mod server;
mod callers;
mod journal;
mod wire;
mod hostile_load;

mod agent_files;
mod agent_limits;
mod backups;
mod bad_backups;
mod crashes;
mod damage;
mod evidence;
mod folders;
mod full_disk;
mod gitlab_hooks;
mod hostile;
mod init;
mod lifecycle;
mod limits;
mod memory;
mod policies;
mod procedures;
mod race;
mod secrets;

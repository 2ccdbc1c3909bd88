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

#[path = "../support/golden.rs"]
mod golden;
#[path = "../support/alone.rs"]
#[expect(dead_code, reason = "each test program uses its own part")]
mod alone;
#[path = "../support/https.rs"]
mod https;
#[path = "../support/installed.rs"]
mod installed;
#[path = "../support/issuer.rs"]
mod issuer;
#[path = "../support/vault/mod.rs"]
#[expect(dead_code, reason = "each test program uses its own part")]
mod vault;
#[path = "../support/console.rs"]
mod console;

mod apart;
mod gitlab;
mod place;
mod python;
mod server;
mod callers;
mod collector;
mod dev_env;
mod own_server;
mod journal;
mod wire;
mod hostile_load;

mod agent_files;
mod agent_limits;
mod away;
mod backups;
mod bad_backups;
mod balanced;
mod bench;
mod certificates;
mod chart;
mod clouds;
mod crashes;
mod damage;
mod doctor;
mod evidence;
mod exec;
mod fleet;
mod folders;
mod full_disk;
mod gitlab_hooks;
mod hostile;
mod image;
mod init;
mod instructions;
mod key_crashes;
mod keys_watched;
mod lifecycle;
mod limits;
mod lost;
mod memory;
mod operating;
mod pipelines;
mod policies;
mod procedures;
mod quickstart;
mod race;
mod roles_anywhere;
mod sealing;
mod secrets;
mod standing;
mod traces;
mod units;
mod real_vault;
mod vault_page;
mod watching;

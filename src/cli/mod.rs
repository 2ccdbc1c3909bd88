//! One file a noun; the only place that prints.
//!
//! ```text
//!   command: what can be typed ─▶ one file a noun: asks, decides the exit code ─▶ render: what a person reads
//! ```
//! Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 not reachable.

mod command;
mod render;
mod failure;
mod remote;
mod admin;
mod daemon;
mod dev;
mod doctor;
mod new_files;
mod init;
mod server;
mod agent;
mod snippet;
mod login;
mod mesh;
mod credentials;
mod exec;
mod unserved;
mod svid;
mod walk;
mod whom;
mod operator;
mod orphans;
mod explain;
mod cases;
mod replay;
mod policy;
mod reload;
mod selector;
mod session;
mod rekeying;
mod authority;
mod backup;
mod bench;
mod ban;
mod pin;
mod directory;
mod config;
mod gitlab_api;
mod gitlab;
mod foreign_bundles;
mod bundle;
mod verify;
mod archive;
mod audit;
mod health;
mod store;

pub use command::Cli;
pub use render::complain;

#[cfg(test)]
mod tests;

//! Promises to users, told as stories: the whole CA in one process, on a clock that the test moves.
#![expect(clippy::disallowed_methods, reason = "racers are tasks")]
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

#[path = "../support/golden.rs"]
mod golden;
#[path = "../support/mod.rs"]
mod support;

mod addresses;
mod auditors;
mod advisories;
mod applying;
mod behind;
mod bundle_port;
mod clock;
mod config_maps;
mod crl;
mod crowded;
mod custody;
mod doors;
mod endpoints;
mod ends;
mod go_spiffe;
mod hooks;
mod job_ends;
mod explained;
mod federating;
mod foreign;
mod foreign_tokens;
mod kept;
mod keys;
mod lines;
mod many_peers;
mod many_rules;
mod needs;
mod operators;
mod panics;
mod people;
mod pins;
mod published_elsewhere;
mod published_in_clusters;
mod races;
mod recalled;
mod reload;
mod remote_operators;
mod certified_operators;
mod renewal;
mod road;
mod sessions;
mod shared_keys;
mod shares;
mod spent;
mod thieves;
mod under_cert_manager;
mod under_vault;

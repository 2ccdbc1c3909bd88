//! Where keys live outside the keyring: a token of a security module, a Vault; and what happens when they do not answer.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::disallowed_methods, reason = "whoever is asked outside answers in real time, and by its environment")]

#[path = "../support/mod.rs"]
mod support;

mod ca;
mod tokens;

mod making;
mod sealing;
mod softhsm;
mod transit;
mod tree;
mod vault_client;

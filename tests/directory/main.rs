//! A real Active Directory domain controller (Samba) and what it says of the accounts behind jobs.
#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and a domain controller is a process in real time"
)]

#[path = "../support/mod.rs"]
mod support;

mod domain;
mod scene;

mod samba;
mod samba_among_many;

//! Lanyard: every CI job gets a cryptographic identity that a service mesh understands.
//!
//! The rooms stand in reading order, which is also import order: a room uses only rooms above it.
//! Start with `issuance/flow.rs`, the one road from a CI token to an SVID.

// ground: knows nothing of Lanyard
pub mod clock;
pub mod backoff;
pub mod stamp;
pub mod telemetry;
pub mod crypto;
pub mod store;

// nouns: pure values
pub mod identity;
pub mod bundle;
pub mod svid;
pub mod tls;

// rules: pure decisions
pub mod token;
pub mod policy;
pub mod consumer;
pub mod mesh;
pub mod hooks;

// keepers: state and the outside world
pub mod discovery;
pub mod vault;
pub mod people;
pub mod audit;
pub mod directory;
pub mod facts;
pub mod custody;
pub mod federation;
pub mod upstream;
pub mod authority;
pub mod publish;
pub mod session;
pub mod backup;

// the flow
pub mod issuance;

// doors
pub mod wire;
pub mod api;
pub mod agent;

// roots: where parts are joined
pub mod config;
pub mod server;
pub mod dev;
pub mod cli;

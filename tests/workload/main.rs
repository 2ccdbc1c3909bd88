//! The Workload API and the files as workloads meet them: the real server and the real agent, nothing fake between.
#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, waits for real sockets and says what it lacks"
)]

#[path = "../support/mod.rs"]
mod support;

mod cgroups;
mod raw;
mod readers;
mod rotation;
mod stand_in;

mod abroad;
mod across;
mod bundles;
mod callers;
mod clouds_page;
mod crls;
mod definition;
mod documents;
mod endings;
mod endpoint;
mod federation;
mod files;
mod host;
mod host_process;
mod host_secrets;
mod jwt;
mod jwt_authn;
mod linkerd;
mod long_job;
mod many_streams;
mod oidc;
mod runners;
mod sds;
mod sds_crls;
mod socket;
mod sources;
mod turned_away;
mod upstream;
mod x509;

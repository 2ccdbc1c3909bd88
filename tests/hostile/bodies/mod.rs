//! What holds for whatever bytes come: one file a reader, driven by the properties of this test and by `tests/fuzz`.
//!
//! A body takes bytes, gives them to the program's own reader, asserts the laws, and says whether they were accepted.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::string_slice,
    clippy::unreachable,
    reason = "a law that does not hold ends the run"
)]

pub mod backup;
pub mod bundle;
pub mod cgroup;
pub mod config;
pub mod csr;
pub mod discovery;
pub mod foreign;
pub mod form;
pub mod frames;
pub mod header_block;
pub mod hook;
pub mod identity;
pub mod index;
pub mod introduction;
pub mod job_answer;
pub mod journal;
pub mod jwks;
pub mod jwt_svid;
pub mod law;
pub mod place;
pub mod policy;
pub mod signed;
pub mod token;

/// A reader and its laws.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As its folder of regressions and its fuzzer are called.
    pub name: &'static str,
    /// Reads and judges; says whether the bytes were accepted.
    pub body: fn(&[u8]) -> bool,
    /// Valid documents, to begin with.
    pub seeds: fn() -> Vec<Seed>,
}

/// A document that is accepted, made by this process.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Which.
    pub name: String,
    /// The document.
    pub bytes: Vec<u8>,
}

impl Seed {
    /// Names a document.
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), bytes: bytes.into() }
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        /// All of them.
        pub const TARGETS: &[Target] =
            &[$(Target { name: stringify!($name), body: $name::body, seeds: $name::seeds }),*];
    };
}

targets! {
    backup bundle cgroup config csr discovery foreign form frames header_block hook identity index introduction job_answer journal jwks jwt_svid
    policy token
}

//! Text to checked settings; the only reader of files and environment.
//!
//! ```text
//!   file ─▶ section: typed reading, nothing forgotten ─▶ server, agent, policy: settings ─▶ rooms
//!                        └─▶ problem: what is wrong, on which line, what would do
//! ```
//! All problems of a file are reported at once. Rooms never see a raw value and never import config.

mod problem;
mod quantity;
mod environment;
mod words;
mod reader;
mod pieces;
mod section;
mod ca_file;
mod hook;
mod gerrit;
mod okta;
mod operators;
mod sources;
mod issuer;
mod conditions;
mod need;
mod accept;
mod claim_model;
mod dangers;
mod scope;
mod limits;
mod long_ids;
mod svids;
mod shared;
mod untold;
mod rule;
mod policy;
mod policy_source;
mod cases;
mod keys;
mod leaf;
mod people;
mod doors;
mod federation;
mod crl;
mod vault;
mod directory;
mod publish;
mod places;
mod sealing;
mod checkpoints;
mod etcd;
mod consumer;
mod claims;
mod spread;
mod telemetry;
mod upstream;
mod server;
mod agent;
mod starter;
mod host;
mod sds;
mod whose;
mod whereabouts;

pub use agent::load_agent;
pub use cases::{cases_file, load_cases};
pub use checkpoints::JournalCheckpoints;
pub use doors::{DoorFiles, DoorSettings, DoorsSettings};
pub use environment::{Environment, MapEnvironment, SystemEnvironment};
pub use etcd::EtcdPlace;
pub use issuer::KnownIssuer;
pub use keys::{KeySettings, Lifetimes};
pub use operators::OperatorSettings;
pub use policy::{CheckedPolicy, check_policy, load_policy};
pub use policy_source::PolicySource;
pub use problem::Problem;
pub(crate) use quantity::parse_duration;
pub use server::{ServerSettings, StoreKind, load_server};
pub use starter::Starter;
pub use telemetry::{Collector, TelemetrySettings, load_log_filter};
pub use whereabouts::{Partly, Whereabouts, check_data_dir, load_health, load_whereabouts};
pub use whose::{AnySettings, Whose, load_any};

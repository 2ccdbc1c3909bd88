//! Builds the CA from settings, starts its tasks, stops them in order.

mod error;
mod data_folder;
mod witness;
mod upstream;
mod foreign_keys;
mod places;
mod ground;
mod build;
mod stopped;
mod accept;
mod door;
mod endpoint_svid;
mod bundle_endpoint;
mod policy_keeper;
mod log_keeper;
mod meters;
mod federating;
mod publishing;
mod replicas;
mod accounts;
mod run;

pub use accept::{AdminPort, AdminSocket, BundlePort, HealthPort, IssuerPort, TlsPort};
pub use build::{Parts, World, build};
pub use door::make_door_ca;
pub use endpoint_svid::EndpointSvidError;
pub use error::ServerError;
pub use ground::JOURNAL_KEY_FILE;
pub use log_keeper::LogKeeper;
pub use places::open_places;
pub use run::Server;
pub use stopped::{Reconcile, Reconciling, Stopped, reconcile};

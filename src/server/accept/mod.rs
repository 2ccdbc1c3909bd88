//! Who may come in, and how a connection is served: the only part of the server that knows HTTP.

mod crew;
mod listen;
mod entrance;
mod together;
mod traffic;
mod connection;
mod issuer_port;
mod tls_port;
mod health_port;
mod admin_socket;

pub(in crate::server) use crew::Crew;
pub(in crate::server) use entrance::Entrance;

pub use admin_socket::AdminSocket;
pub use health_port::HealthPort;
pub use issuer_port::IssuerPort;
pub use tls_port::{AdminPort, BundlePort, TlsPort};

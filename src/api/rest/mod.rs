//! The REST routes.

mod answer;
mod body;
mod bundle;
mod cached;
mod crl;
mod discovery;
mod explain;
mod hooks;
pub(super) mod health;
mod oauth;
mod routes;
mod svid;

pub use body::{BodyError, Form, read_object};
pub(super) use routes::{public_routes, routes, spiffe_routes};

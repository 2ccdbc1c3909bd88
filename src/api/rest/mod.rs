//! The REST routes.

mod answer;
mod body;
mod bundle;
mod explain;
pub(super) mod health;
mod oauth;
mod routes;
mod svid;

pub(super) use routes::routes;

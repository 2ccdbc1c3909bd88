//! The gRPC services.

mod admin;
mod events;
mod issuer;

pub(super) use admin::Admin;
pub(super) use issuer::Issuer;

//! The gRPC services.

mod admin;
mod events;
mod issuer;
mod pins;

pub(super) use admin::Admin;
pub(super) use issuer::Issuer;

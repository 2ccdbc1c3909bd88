//! The gRPC services.

mod admin;
mod admin_sessions;
mod events;
mod issuer;
mod pins;
mod reason;

pub(super) use admin::Admin;
pub(super) use issuer::Issuer;

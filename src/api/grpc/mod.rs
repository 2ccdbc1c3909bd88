//! The gRPC services.

mod admin;
mod admin_sessions;
mod authorities;
mod events;
mod issuer;
mod pins;

pub(super) use admin::Admin;
pub(super) use issuer::Issuer;

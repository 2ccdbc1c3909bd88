//! The gRPC services.

mod admin;
mod admin_sessions;
mod authorities;
mod crl_parts;
mod events;
mod issuer;
mod people;
mod pins;

pub(super) use admin::Admin;
pub(super) use issuer::Issuer;

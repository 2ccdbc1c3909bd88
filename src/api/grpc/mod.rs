//! The gRPC services.

mod admin;
mod admin_sessions;
mod authorities;
mod backups;
mod bundles;
mod crl_parts;
mod events;
mod foreign_news;
mod issuer;
mod orphans;
mod people;
mod pins;
mod accounts;
mod reason;

pub(super) use admin::Admin;
pub(super) use issuer::Issuer;

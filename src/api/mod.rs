//! The server's doors: decode, call the road, encode; and how a no looks outside.
//!
//! ```text
//!   IssuerDoors ─▶ grpc (Issuer) ─┐                 AdminDoor ─▶ grpc (Admin)
//!               └▶ rest (/v1/…) ──┴▶ Desk ─▶ issuance           HealthDoor ─▶ probes, metrics
//!                  BundleDoor (/, /crl) ──┘
//! ```
//! Sizes, times and the number of requests at once are limited here, before anything is believed.
//! Not here: who listens where (`server`), what is granted (`issuance`).

pub mod limits;
mod crowd;
mod refused;
mod status;
mod lent;
mod reloads;
mod desk;
mod grpc;
mod rest;
mod doors;
mod operators;

pub use crowd::{Caller, Crowd, Guest, Held, Visitor};
pub use desk::Desk;
pub use doors::{AdminDoor, Answers, Body, BundleDoor, Endless, HealthDoor, IssuerDoors, Operator, RemoteAdminDoor};
pub use operators::{OperatorCertificates, OperatorIssuer, Operators, OperatorsFrom};
pub use refused::{AUDIENCE_METADATA, CODE_METADATA, REQUEST_ID_METADATA, refusal_in};
pub use reloads::{NotReloaded, Reload, Reloaded, Reloads};
pub use rest::{BodyError, Form, read_object};

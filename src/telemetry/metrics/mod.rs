//! The numbers that operators watch, one file a concern.

mod answers;
mod decisions;
mod numbers;
mod page;
mod records;
mod revocation;
mod sessions;
mod trust;

pub use numbers::{Door, Metrics};

//! What Lanyard makes, held against the standards by reading it from outside.

mod bundle;
mod certificates;
mod tokens;

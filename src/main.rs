//! The commands come last.

fn main() {}

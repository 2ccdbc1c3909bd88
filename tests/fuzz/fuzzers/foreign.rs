//! Led by coverage through `foreign`; what must hold stands in `tests/hostile/bodies/foreign.rs`.
#![no_main]

lanyard_fuzz::fuzzer!(foreign);

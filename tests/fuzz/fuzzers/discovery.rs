//! Led by coverage through `discovery`; what must hold stands in `tests/hostile/bodies/discovery.rs`.
#![no_main]

lanyard_fuzz::fuzzer!(discovery);

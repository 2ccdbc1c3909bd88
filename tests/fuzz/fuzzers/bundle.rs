//! Led by coverage through `bundle`; what must hold stands in `tests/hostile/bodies/bundle.rs`.
#![no_main]

lanyard_fuzz::fuzzer!(bundle);

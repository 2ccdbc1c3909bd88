//! Led by coverage through `jwks`; what must hold stands in `tests/hostile/bodies/jwks.rs`.
#![no_main]

lanyard_fuzz::fuzzer!(jwks);

//! Led by coverage through `token`; what must hold stands in `tests/hostile/bodies/token.rs`.
#![no_main]

lanyard_fuzz::fuzzer!(token);

//! Led by coverage through `identity`; what must hold stands in `tests/hostile/bodies/identity.rs`.
#![no_main]

lanyard_fuzz::fuzzer!(identity);

//! Led by coverage through `policy`; what must hold stands in `tests/hostile/bodies/policy.rs`.
#![no_main]

lanyard_fuzz::fuzzer!(policy);

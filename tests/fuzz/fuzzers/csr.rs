//! Led by coverage through `csr`; what must hold stands in `tests/hostile/bodies/csr.rs`.
#![no_main]

lanyard_fuzz::fuzzer!(csr);

//! Led by coverage through `config`; what must hold stands in `tests/hostile/bodies/config.rs`.
#![no_main]

lanyard_fuzz::fuzzer!(config);

//! Led by coverage through `index`; what must hold stands in `tests/hostile/bodies/index.rs`.
#![no_main]

lanyard_fuzz::fuzzer!(index);

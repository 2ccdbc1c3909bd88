//! Led by coverage through `introduction`; what must hold stands in `tests/hostile/bodies/introduction.rs`.
#![no_main]

lanyard_fuzz::fuzzer!(introduction);

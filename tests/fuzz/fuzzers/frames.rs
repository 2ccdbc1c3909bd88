//! Led by coverage through `frames`; what must hold stands in `tests/hostile/bodies/frames.rs`.
#![no_main]

lanyard_fuzz::fuzzer!(frames);

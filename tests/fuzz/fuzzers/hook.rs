//! Led by coverage through `hook`; what must hold stands in `tests/hostile/bodies/hook.rs`.
#![no_main]

lanyard_fuzz::fuzzer!(hook);

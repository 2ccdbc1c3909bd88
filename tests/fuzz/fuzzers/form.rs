//! Led by coverage through `form`; what must hold stands in `tests/hostile/bodies/form.rs`.
#![no_main]

lanyard_fuzz::fuzzer!(form);

//! Led by coverage through `journal`; what must hold stands in `tests/hostile/bodies/journal.rs`.
#![no_main]

lanyard_fuzz::fuzzer!(journal);

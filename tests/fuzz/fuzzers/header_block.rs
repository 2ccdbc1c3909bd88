//! Led by coverage through `header_block`; what must hold stands in `tests/hostile/bodies/header_block.rs`.
#![no_main]

lanyard_fuzz::fuzzer!(header_block);

//! Led by coverage through `backup`; what must hold stands in `tests/hostile/bodies/backup.rs`.
#![no_main]

lanyard_fuzz::fuzzer!(backup);

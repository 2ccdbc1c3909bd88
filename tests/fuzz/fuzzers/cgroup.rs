//! Led by coverage through `cgroup`; what must hold stands in `tests/hostile/bodies/cgroup.rs`.
#![no_main]

lanyard_fuzz::fuzzer!(cgroup);

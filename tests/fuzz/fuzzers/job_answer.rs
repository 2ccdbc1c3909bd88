//! Led by coverage through `job_answer`; what must hold stands in `tests/hostile/bodies/job_answer.rs`.
#![no_main]

lanyard_fuzz::fuzzer!(job_answer);

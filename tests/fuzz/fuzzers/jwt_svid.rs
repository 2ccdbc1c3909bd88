//! Led by coverage through `jwt_svid`; what must hold stands in `tests/hostile/bodies/jwt_svid.rs`.
#![no_main]

lanyard_fuzz::fuzzer!(jwt_svid);

//! Random histories of keys and of those who hold them: crashes between any two lines, commits that are lost, clocks that
//! jump, holders that are slow, silent or gone, publishers that are kept away, places where somebody puts an older bundle back,
//! readers that come rarely, revocation lists that fail, operators of all moods, keys that are wanted later, two leaders. Every invariant is checked after each step, above all: nobody who reports or is confirmed, and is within the
//! refresh hint, meets an SVID that it cannot verify.
//!
//! `LANYARD_ROTATION_SEED` and `LANYARD_ROTATION_STEPS` choose others; a failing history names both.

mod chance;
mod histories;
mod invariants;
mod leaders;
mod operators;
mod parties;
mod projection;
mod publishers;
mod rotator;
mod upstream;
mod world;

use super::{AuthorityKind, KeyPlan};
use std::time::Duration;

const HOUR: i64 = 3600;
const TTL: i64 = 900;
const JWT_TTL: i64 = 300;
const HINT: i64 = 300;
/// A life of keys in a day: each history sees several.
const PLAN: KeyPlan = KeyPlan {
    root: Duration::from_secs(20 * 3600),
    intermediate: Duration::from_secs(2 * 3600),
    jwt: Duration::from_secs(12 * 3600),
    propagation: Duration::from_secs(1800),
    ..KeyPlan::DEFAULT
};
const PUBLISHED: [AuthorityKind; 3] = [AuthorityKind::X509Root, AuthorityKind::Jwt, AuthorityKind::JwtRs256];

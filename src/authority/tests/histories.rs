//! The histories themselves, and some that are told from end to end.

use super::leaders::NewRoots;
use super::world::World;
use super::{HOUR, PLAN};
use crate::authority::gate::Known;
use crate::authority::rotation::Rotation;
use crate::authority::{AuthorityKind, AuthorityState, KeyPlan, Step, StepKind};
use std::collections::BTreeMap;
use std::time::Duration;

const STEPS: u64 = 160_000;
/// Each history begins anew after so many.
const HISTORY: u64 = 800;
/// What must have happened in a run of the usual length, or it proves little.
const HAPPENS: [&str; 38] = [
    "RS256 keys that came later",
    "RS256 keys that took over",
    "activate",
    "asked above in vain",
    "bundles put back",
    "bundles written",
    "bundles written again",
    "certified above",
    "dead agents",
    "gone on at the deadline",
    "gone on without some",
    "intermediates that took over",
    "jumps",
    "lost commits",
    "lost races",
    "moves",
    "places away",
    "prepare",
    "publishers down",
    "quick agents",
    "rare reads",
    "reads of key sets",
    "refused as in use",
    "refused as unsafe",
    "remove",
    "revoke",
    "rollback",
    "rollbacks through one that was there",
    "roots through one that waited",
    "sets that failed",
    "silent agents",
    "slow agents",
    "slow publishers",
    "starts",
    "stuck agents",
    "succeed",
    "switched above",
    "taint",
];

/// A world of our own roots, in which nothing but the usual is configured.
fn plain() -> World {
    let mut worlds = (7..999).map(|seed| World::new(seed, Vec::new()));
    worlds.find(|world| world.upstream.is_none() && world.plan == PLAN).unwrap()
}

/// A number from outside.
#[expect(clippy::disallowed_methods, reason = "what a test run is asked for is no setting of the product")]
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Shows: FED-2, FED-3, TDB-27.
#[test]
fn over_random_histories_nobody_who_is_up_to_date_meets_an_svid_that_it_cannot_verify() {
    let (first, steps) =
        (asked("LANYARD_ROTATION_SEED").unwrap_or(7), asked("LANYARD_ROTATION_STEPS").unwrap_or(STEPS));
    let (mut spare, mut done) = (Vec::new(), BTreeMap::<String, u64>::new());
    for seed in first..first + steps.div_ceil(HISTORY) {
        let mut world = World::new(seed, spare);
        for step in 0..HISTORY.min(steps) {
            world.happen();
            let again = || format!("LANYARD_ROTATION_SEED={seed} LANYARD_ROTATION_STEPS={}", step + 1);
            world.check().unwrap_or_else(|broken| panic!("{}\n{broken}; again: {}", world.tale(), again()));
        }
        for (what, count) in std::mem::take(&mut world.done) {
            *done.entry(what).or_default() += count;
        }
        spare = world.into_spare();
    }
    let never: Vec<_> = HAPPENS.iter().filter(|what| !done.contains_key(**what)).collect();
    assert!(steps < STEPS || never.is_empty(), "never happened: {never:?}");
}

/// With each key by a number in place of its id.
fn nameless(tale: &str) -> String {
    let mut ids = Vec::new();
    let number = |found: &regex::Captures<'_>| {
        let id = found[0].to_owned();
        let known = ids.iter().position(|one| *one == id);
        let number = known.unwrap_or_else(|| {
            ids.push(id);
            ids.len() - 1
        });
        format!("key {number}")
    };
    regex::Regex::new("[0-9a-f]{64}").unwrap().replace_all(tale, number).into_owned()
}

/// A failing history is told again by its seed, so nothing in it may hang on the keys, which are others each time.
#[test]
fn a_seed_tells_the_same_tale_twice() {
    for seed in 7..11 {
        let tell = || {
            let mut world = World::new(seed, Vec::new());
            for _ in 0..HISTORY {
                world.happen();
            }
            (nameless(&world.tale()), world.now, world.done)
        };
        assert_eq!(tell(), tell(), "LANYARD_ROTATION_SEED={seed}");
    }
}

/// Shows: X509-21.
#[test]
fn near_the_end_of_a_root_no_intermediate_is_made_that_would_not_live_longer() {
    let mut world = plain();
    let (plan, start) = (KeyPlan { automatic: false, ..PLAN }, world.wall());
    let mut keyring = world.kept.clone();
    let root_ends = start + Duration::from_secs(9000);
    for authority in keyring.authorities.iter_mut().filter(|authority| authority.kind == AuthorityKind::X509Root) {
        authority.not_after = root_ends;
    }
    for (seconds, is_due) in
        [(1700, None), (1900, Some("prepare")), (3500, None), (3700, Some("activate")), (6000, None)]
    {
        world.now = start.unix_timestamp() + seconds;
        let (known, now) = (Known::nobody(start), world.wall());
        let due = Rotation { keyring: &keyring, plan: &plan, known: &known, above: None, now }.due();
        assert_eq!(due.as_ref().map(|step| step.kind.as_str()), is_due, "{due:?} after {seconds} s");
        let Some(step) = due else { continue };
        let made = world.made(&keyring, None, &step);
        keyring = keyring.after(&step, made, now);
        assert_eq!(keyring.of_kind(AuthorityKind::X509Intermediate).last().unwrap().not_after, root_ends);
    }
}

/// Shows: X509-21.
#[test]
fn where_no_root_can_be_made_everything_else_changes_until_the_last_root_ends() {
    let mut world = plain();
    let (start, root) = (world.now, world.kept.active(AuthorityKind::X509Root).unwrap().key_id());
    (world.new_roots, world.clocks_jump) = (NewRoots::Refused, false);
    while world.now < start + 19 * HOUR {
        world.pass(300);
        for leader in 0..world.leaders.len() {
            world.visit(leader, None);
        }
        world.check().unwrap_or_else(|broken| panic!("{}\n{broken}", world.tale()));
        let memory = &world.leaders[0].memory;
        assert_eq!(memory.active(AuthorityKind::X509Root).unwrap().key_id(), root);
        let intermediate = memory.active(AuthorityKind::X509Intermediate).unwrap();
        assert!(intermediate.not_after > world.wall(), "{}", world.tale());
    }
    assert!(world.leaders[0].memory.active(AuthorityKind::Jwt).unwrap().generation > 1, "{}", world.tale());
}

/// A root that is spent leaves although the place of roots makes no other, whatever else is due before that.
#[test]
fn what_cannot_be_done_is_in_no_other_step_s_way() {
    let mut world = plain();
    let prepare = Step::planned(StepKind::Prepare { under: None }, AuthorityKind::X509Root);
    let known = Known::nobody(world.wall());
    let mut keyring = world.kept.clone();
    for kind in [AuthorityKind::X509Root, AuthorityKind::X509Intermediate] {
        let step = Step::planned(StepKind::Succeed, kind);
        let made = world.made(&keyring, None, &step);
        keyring = keyring.after(&step, made, world.wall());
    }
    let spent =
        keyring.of_kind(AuthorityKind::X509Root).find(|root| root.state == AuthorityState::Old).unwrap().key_id();
    world.now += 11 * HOUR;
    let rotation = Rotation { keyring: &keyring, plan: &PLAN, known: &known, above: None, now: world.wall() };
    assert_eq!(rotation.due(), Some(prepare.clone()));
    assert_eq!(rotation.due_beside(&[prepare]).unwrap().kind, StepKind::Remove(spent));
}

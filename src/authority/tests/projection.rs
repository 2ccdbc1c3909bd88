//! What is told of a rotation before it begins is what the gates say as it goes.

use crate::authority::order::Live;
use crate::authority::rotation::Rotation;
use crate::authority::{AuthorityKind, AuthorityState, Gate, Holder, HolderKind, KeyPlan, Keyring, Known, Milestone};
use crate::authority::{KeyringFile, Step, StepKind, making::Making, rotator::first_keys};
use crate::crypto::{Random, SealingKey};
use crate::identity::TrustDomain;
use std::collections::BTreeMap;
use std::time::Duration;
use time::OffsetDateTime;

const MINUTE: Duration = Duration::from_secs(60);
const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn known() -> Known {
    let (name, wrote_at) = ("payments mesh".to_owned(), BTreeMap::new());
    let holder = Holder { name, kind: HolderKind::Declared, holds: None, heard_at: None, wrote_at };
    Known { holders: vec![holder], longest_ttl: 15 * MINUTE, ..Known::nobody(START) }
}

fn projected(keyring: &Keyring, now: OffsetDateTime) -> Vec<Milestone> {
    let (plan, known) = (KeyPlan::DEFAULT, known());
    let rotation = Rotation { keyring, plan: &plan, known: &known, above: None, now };
    rotation.projection(AuthorityKind::X509Root, &Live::new())
}

fn steps(rows: &[Milestone]) -> Vec<(&str, OffsetDateTime)> {
    rows.iter().map(|row| (row.step.as_str(), row.earliest)).collect()
}

#[tokio::test]
async fn a_whole_rotation_is_told_before_its_first_step_and_comes_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyringFile::new(folder.path().join("keyring.json"), SealingKey::from_bytes(&[7; 32]).unwrap());
    let (plan, random) = (KeyPlan::DEFAULT, Random::system());
    let making = |now| Making { file: &file, plan: &plan, above: None, random: &random, now };
    let empty = Keyring::empty(TrustDomain::parse("ci.test").unwrap());
    let mut keyring = first_keys(empty, &making(START)).await.unwrap();

    let rows = projected(&keyring, START);
    // 30 min that a mesh takes, and the longest SVID; then that SVID again; an intermediate's day, with a minute
    // for clocks at both ends.
    let activate = START + 45 * MINUTE;
    let all = [
        ("prepare", START),
        ("activate", activate),
        ("renewed", activate + 15 * MINUTE),
        ("remove", activate + plan.intermediate + 2 * MINUTE),
    ];
    assert_eq!(steps(&rows), all);
    assert_eq!(rows[1].waits_for, ["payments mesh"]);
    assert!(rows[1].breaks_sooner.as_ref().unwrap().contains("has not read the bundle"));

    let prepare = Step::planned(StepKind::Prepare { under: None }, AuthorityKind::X509Root);
    keyring = making(START).take(&mut keyring, &prepare, None).await.unwrap();
    let roots = keyring.of_kind(AuthorityKind::X509Root);
    let next = roots.filter(|one| one.state == AuthorityState::Prepared).last().unwrap().key_id();
    let below = Step::planned(StepKind::Prepare { under: Some(next) }, AuthorityKind::X509Intermediate);
    keyring = making(START).take(&mut keyring, &below, None).await.unwrap();
    let later = START + 10 * MINUTE;
    assert_eq!(steps(&projected(&keyring, later)), all[1..], "it is the same while it goes");
    let next = keyring.of_kind(AuthorityKind::X509Root).find(|one| one.state == AuthorityState::Prepared).unwrap();
    assert_eq!(Gate::of(next, &plan, &known(), later).opens_at, activate, "and the gate says so, too");
}

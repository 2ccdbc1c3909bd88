//! Hostile input, wherever something is read: no panic, no growth, and the laws of each reader hold.
//!
//! Two ways to the same bodies: properties here (valid documents, mutated as `mutation` knows), and fuzzers led by coverage
//! in `tests/fuzz`. What either finds becomes a file in `tests/vectors/hostile/<target>/`, replayed by both.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a reader that does not keep its laws ends the test")]

pub mod bodies;
mod mutation;
#[path = "../support/proportion.rs"]
mod proportion;

use bodies::{TARGETS, Target};
use mutation::{edits, mutations};
use proportion::trying;
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};
use std::fs;
use std::path::PathBuf;

fn target(name: &str) -> Target {
    *TARGETS.iter().find(|target| target.name == name).unwrap()
}

/// Gives a reader mutations of its valid documents.
fn meets_mutations(name: &str, cases: u32) {
    let Target { body, seeds, .. } = target(name);
    let seeds = seeds();
    let documents: Vec<Vec<u8>> = seeds.into_iter().map(|seed| seed.bytes).collect();
    let inputs = match name {
        "index" | "journal" => edits().boxed(),
        _ => mutations(documents).boxed(),
    };
    // Before the reader has it: one that ends the whole process, by a stack that is full, leaves it there.
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("hostile-{name}"));
    let outcome = TestRunner::new(trying(cases)).run(&inputs, |input| {
        fs::write(&file, &input).unwrap();
        body(&input);
        Ok(())
    });
    match outcome {
        Ok(()) => fs::remove_file(&file).unwrap(),
        Err(TestError::Fail(why, input)) => {
            fs::write(&file, input).unwrap();
            panic!(
                "{name}: {why}\nthe input is in {}; give it a name in tests/vectors/hostile/{name}/",
                file.display()
            );
        }
        Err(TestError::Abort(why)) => panic!("{name}: {why}"),
    }
}

macro_rules! properties {
    ($($story:ident: $name:literal, $cases:literal;)*) => {
        $(#[test] fn $story() { meets_mutations($name, $cases); })*

        #[test]
        fn every_target_has_a_property() {
            let named = [$($name),*];
            assert!(TARGETS.iter().all(|target| named.contains(&target.name)) && named.len() == TARGETS.len());
        }
    };
}

properties! {
    a_backup_holds_nothing_but_files_of_a_backup: "backup", 2000;
    a_bundle_is_read_and_written_alike: "bundle", 2000;
    a_cgroup_is_one_that_the_kernel_named: "cgroup", 4000;
    a_configuration_loads_whole_or_tells_its_lines: "config", 600;
    a_request_is_signed_by_its_own_key: "csr", 2000;
    a_discovery_document_names_one_https_url: "discovery", 2000;
    a_pasted_bundle_is_taken_whole_or_not_at_all: "foreign", 2000;
    a_form_is_decoded_once: "form", 2000;
    frames_leave_as_they_came: "frames", 800;
    only_the_authority_of_a_header_block_differs: "header_block", 800;
    only_a_genuine_delivery_opens_a_hook_and_only_the_jobs_it_names_are_over: "hook", 2000;
    an_identity_is_its_own_text: "identity", 4000;
    a_changed_index_is_healed_and_never_believed: "index", 20;
    an_answer_about_a_job_counts_only_if_it_agrees_with_the_token: "job_answer", 800;
    a_changed_journal_is_not_believed: "journal", 1000;
    a_key_set_holds_what_it_lists: "jwks", 2000;
    an_introduction_is_read_alike_however_it_comes: "introduction", 4000;
    a_jwt_svid_is_valid_only_if_we_signed_it: "jwt_svid", 1000;
    a_policy_grants_well_formed_ids_only: "policy", 600;
    a_token_is_believed_only_if_its_issuer_signed_it: "token", 1000;
}

#[test]
fn every_valid_document_is_accepted() {
    for Target { name, body, seeds } in TARGETS {
        let seeds = seeds();
        assert!(!seeds.is_empty());
        for seed in seeds {
            assert!(body(&seed.bytes), "{name}: {}", seed.name);
        }
    }
}

#[test]
fn what_was_once_found_stays_mended() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/hostile"));
    let mut replayed = 0;
    for place in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        let name = place.file_name().into_string().unwrap();
        let known = TARGETS.iter().find(|target| target.name == name);
        let target = known.unwrap_or_else(|| panic!("{name}: no target has this name, so nobody would replay it"));
        for file in fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path()) {
            eprintln!("{}", file.display());
            (target.body)(&fs::read(file).unwrap());
            replayed += 1;
        }
    }
    assert!(replayed > 0);
}

#[test]
fn the_fuzzers_lock_names_every_crate_of_ours() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let (manifest, lock) = (read("Cargo.toml"), read("tests/fuzz/Cargo.lock"));
    let section =
        |name: &str| manifest.split(&format!("\n[{name}]\n")).nth(1).unwrap().split("\n[").next().unwrap().to_owned();
    let ours = lock.split("[[package]]").find(|package| package.contains("\nname = \"lanyard\"\n")).unwrap();
    for line in section("dependencies").lines().filter(|line| !line.is_empty()) {
        let name = line.split(" = ").next().unwrap();
        let named = ours.contains(&format!("\"{name}\"")) || ours.contains(&format!("\"{name} "));
        assert!(named, "{name} is missing: run cargo metadata --manifest-path tests/fuzz/Cargo.toml");
    }
}

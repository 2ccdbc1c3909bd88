//! The page that people read: every requirement with the test that shows it.

use super::requirements::{Requirement, Requirements};
use super::shows::{Shown, Test};
use super::vectors;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The test that runs all vectors.
const VECTORS_TEST: &str = "every_vector_of_the_standards_gets_its_verdict";

/// How many vectors of a requirement are named.
const NAMED_MAX: usize = 6;

const OPENING: &str = "\
# Conformance

What the SPIFFE standards ask, what real clients and meshes break without, and what we chose where the standards are
silent; and the test that shows each. This page is made from `tests/vectors/requirements.toml` and from the tests themselves, which
name in their comments what they show; `tests/conformance/` makes it, and fails when a requirement has neither a test
nor a reason, or when this page says something else. To make it anew:
`LANYARD_GOLDEN=write cargo test --test conformance`.

MUST, SHOULD and MAY are the standards' words. INT is asked by no standard, but some client breaks without it. POL is
our own choice. The last column says who notices in practice when it is not kept; where it is empty, only our test
does.
";

/// The whole page.
pub(super) fn render(requirements: &Requirements, shown: &Shown) -> String {
    let mut page = OPENING.to_owned();
    counts(&mut page, requirements, shown);
    for section in &requirements.sections {
        write!(page, "\n## {}\n\n", section.title).unwrap();
        page.push_str("| | level | what is asked | shown by | enforced by |\n|---|---|---|---|---|\n");
        for one in &section.requirements {
            let Requirement { id, level, asks, clients, .. } = one;
            writeln!(page, "| {id} | {level} | {asks} | {} | {clients} |", proof(one, shown)).unwrap();
        }
    }
    kinds_of_vectors(&mut page);
    page
}

const VECTORS: &str = "
## Vectors

Every vector of `tests/vectors/spiffe.json` is run with the tests, which print how each kind fared and fail where one has
no verdict or another than it should have. Where a standard leaves a choice (open), ours is that of the strictest client,
but for extended key usage, which may be absent in a certificate of others.
`tests/vectors/gitlab-claims.json` is run the same way: every sample is read as what it is, every malformed token refused.

| kind | vectors | to accept | to refuse | open | judged by |
|---|---|---|---|---|---|
";

fn kinds_of_vectors(page: &mut String) {
    page.push_str(VECTORS);
    for (kind, vectors) in vectors::kinds() {
        let [accept, reject, policy] = ["accept", "reject", "policy"]
            .map(|verdict| vectors.iter().filter(|vector| vector["verdict"] == verdict).count());
        let judge = vectors::judged_by(&kind);
        writeln!(page, "| {kind} | {} | {accept} | {reject} | {policy} | {judge} |", vectors.len()).unwrap();
    }
}

fn counts(page: &mut String, requirements: &Requirements, shown: &Shown) {
    let (mut by_test, mut by_design) = (0, 0);
    let mut waiting: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for one in requirements.all() {
        match (&one.waits, shown.shows(&one.id)) {
            (_, true) => by_test += 1,
            (Some(waits), false) => waiting.entry(waits).or_default().push(&one.id),
            (None, false) => by_design += 1,
        }
    }
    let later: usize = waiting.values().map(Vec::len).sum();
    writeln!(
        page,
        "\n**{} requirements: {by_test} shown by {} tests, {by_design} by a fact that no test can show, \
         {later} wait for later work.**\n",
        requirements.all().count(),
        shown.tests()
    )
    .unwrap();
    page.push_str("| later work | what waits for it |\n|---|---|\n");
    for (work, ids) in waiting {
        writeln!(page, "| {work} | {} |", ids.join(", ")).unwrap();
    }
}

/// The tests, and what is still to come.
fn proof(one: &Requirement, shown: &Shown) -> String {
    let tests = shown.tests_of(&one.id);
    let mut proof: Vec<String> = tests.iter().map(link).collect();
    proof.extend(shown.vectors.get(&one.id).map(|vectors| names(vectors)));
    proof.extend(one.by.clone());
    if let Some(waits) = &one.waits {
        let rest = if shown.shows(&one.id) { "the rest " } else { "" };
        proof.push(format!("*{rest}waits for {waits}*"));
    }
    proof.join(", ")
}

/// The vectors by name, the first few of them.
fn names(vectors: &[String]) -> String {
    let few: Vec<_> = vectors.iter().take(NAMED_MAX).map(String::as_str).collect();
    let more = vectors.len() - few.len();
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("[{VECTORS_TEST}](../tests/conformance/main.rs) ({}{rest})", few.join(" "))
}

fn link(test: &Test) -> String {
    format!("[{}](../{})", test.name, test.path)
}

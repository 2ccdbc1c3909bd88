//! The page that people read: every requirement with the test that shows it.

use super::requirements::{Requirement, Requirements};
use super::shows::{Shown, Test};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const OPENING: &str = "\
# Conformance

What the SPIFFE standards ask, what real clients break without, and what we chose where the standards are silent; and
the test that shows each. This page is made from `tests/vectors/requirements.toml` and from the tests themselves, which
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
    page
}

fn counts(page: &mut String, requirements: &Requirements, shown: &Shown) {
    let (mut by_test, mut by_design) = (0, 0);
    let mut waiting: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for one in requirements.all() {
        let tested = !shown.tests_of(&one.id).is_empty();
        match (&one.waits, tested) {
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
    proof.extend(one.by.clone());
    if let Some(waits) = &one.waits {
        let rest = if tests.is_empty() { "" } else { "the rest " };
        proof.push(format!("*{rest}waits for {waits}*"));
    }
    proof.join(", ")
}

fn link(test: &Test) -> String {
    format!("[{}](../{})", test.name, test.path)
}

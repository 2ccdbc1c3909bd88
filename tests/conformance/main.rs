//! What the SPIFFE standards ask, held against the tests that show it; and every vector and sample, with its verdict.
//!
//! A test names what it shows in the last lines of its doc comment, `Shows: ID-1, ID-4.`; a vector has it in its file.
//! From these and `tests/vectors/requirements.toml` comes `docs/conformance.md`. After a change:
//! `LANYARD_GOLDEN=write cargo test --test conformance`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a wrong value is the failure"
)]

mod gitlab;
mod issued;
mod page;
mod requirements;
mod shows;
mod vectors;
#[path = "../support/golden.rs"]
mod golden;
#[path = "../judges/recipe.rs"]
mod recipe;
#[path = "../support/mod.rs"]
mod support;

use gitlab::GitLab;
use requirements::Requirements;
use shows::Shown;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

/// Where the page is written to.
const PAGE: &str = "docs/conformance.md";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_requirement_is_shown_by_a_test_or_says_what_it_waits_for() {
    let requirements = Requirements::load(root());
    let shown = Shown::find(root());
    assert_eq!(requirements.all().count(), 255, "211 of the standards and 44 of meshes");
    let mut complaints = shown.complaints.clone();
    complaints.extend(requirements.complaints(&shown));
    assert!(complaints.is_empty(), "{} complaint(s):\n{}\n", complaints.len(), complaints.join("\n"));
}

#[test]
fn the_page_says_what_the_tests_say() {
    let page = page::render(&Requirements::load(root()), &Shown::find(root()));
    golden::hold(&root().join(PAGE), &page);
}

#[test]
fn every_vector_of_the_standards_gets_its_verdict() {
    let tallies = vectors::judge_all();
    let vectors: usize = tallies.iter().map(vectors::Tally::vectors).sum();
    tell(&format!("{vectors} SPIFFE vectors\n"));
    for tally in &tallies {
        tell(&format!("  {tally}\n"));
    }
    let complaints: Vec<_> = tallies.into_iter().flat_map(|tally| tally.complaints).collect();
    assert!(complaints.is_empty(), "{} complaint(s):\n{}\n", complaints.len(), complaints.join("\n"));
    assert_eq!(vectors, 263);
}

#[tokio::test]
async fn every_sample_of_gitlab_is_read_as_what_it_is_and_every_malformed_one_is_refused() {
    let gitlab = GitLab::new();
    let mut complaints: Vec<String> = gitlab.samples().iter().filter_map(|sample| gitlab.misread(sample)).collect();
    let read = gitlab.samples().len() - complaints.len();
    let mut codes: BTreeMap<String, usize> = BTreeMap::new();
    for vector in gitlab.malformed() {
        match gitlab.refusal(vector).await {
            Some(code) => *codes.entry(code).or_default() += 1,
            None => complaints.push(format!("{}: not refused: {}", vector["name"], vector["why"])),
        }
    }
    let refused: usize = codes.values().sum();
    tell(&format!("{} GitLab samples: {read} read as what they are\n", gitlab.samples().len()));
    tell(&format!("{} malformed GitLab tokens: {refused} refused\n", gitlab.malformed().len()));
    for (code, count) in &codes {
        tell(&format!("  {code:<28} {count:>3}\n"));
    }
    assert!(complaints.is_empty(), "{} complaint(s):\n{}\n", complaints.len(), complaints.join("\n"));
    assert_eq!((read, refused), (42, 38));
}

/// Says it where it is seen also when the test passes: what the test program writes itself is not held back.
fn tell(what: &str) {
    std::io::stderr().write_all(what.as_bytes()).unwrap();
}

// What follows makes sure that the judge can fail.

fn shown_by(text: &str) -> Shown {
    let mut shown = Shown::default();
    shown.read("tests/x/main.rs", text);
    shown
}

#[test]
fn a_line_above_a_test_names_it_however_the_test_is_written() {
    for test in [
        "/// Shows: ID-1, X509-2.\n#[test]\nfn a() {}\n",
        "/// Words.\n///\n/// Shows: ID-1,\n/// X509-2.\n#[tokio::test(start_paused = true)]\nasync fn a() {}\n",
        "proptest! {\n    /// Shows: ID-1, X509-2.\n    #[test]\n    #[expect(\n        x,\n    )]\n    fn a(x in 0..1) {}\n}\n",
    ] {
        let shown = shown_by(test);
        assert_eq!(shown.complaints, [""; 0], "{test}");
        assert_eq!((shown.tests_of("ID-1").len(), shown.tests_of("X509-2")[0].name.as_str()), (1, "a"), "{test}");
    }
}

#[test]
fn a_line_that_names_no_running_test_is_noticed() {
    for (odd, says) in [
        ("/// Shows: ID-1.\nfn a() {}\n", "stands above no test"),
        ("/// Shows: ID-1.\n\nstruct A;\n", "stands above no test"),
        ("/// Shows: ID-1.\n#[test]\n#[ignore = \"long\"]\nfn a() {}\n", "is ignored"),
        ("/// Shows: ID-1\n#[test]\nfn a() {}\n", "ends with a full stop"),
        ("/// Shows: ID-1, id2.\n#[test]\nfn a() {}\n", "`id2`"),
    ] {
        let complaints = shown_by(odd).complaints;
        assert_eq!(complaints.len(), 1, "{odd}: {complaints:?}");
        assert!(complaints[0].contains(says), "{odd}: {complaints:?}");
    }
}

#[test]
fn a_requirement_that_nobody_shows_and_a_test_that_shows_what_nobody_asks_are_noticed() {
    let table = r#"
        [[section]]
        title = "Made up"
        requirements = [
            { id = "ID-1", level = "MUST", clients = "go-spiffe", asks = "this" },
            { id = "ID-2", level = "MAY", clients = "", asks = "that", waits = "federation" },
            { id = "ID-3", level = "OUGHT", clients = "nobody", asks = "more", by = "thought" },
        ]"#;
    let requirements = Requirements::parse(table);
    let said = requirements.complaints(&shown_by("/// Shows: ID-9.\n#[test]\nfn a() {}\n"));
    assert_eq!(
        said,
        [
            "ID-1: no test shows it, and it neither waits for anything nor says why not",
            "ID-3: the level OUGHT is none",
            "ID-3: the client nobody is none",
            "ID-9: tests/x/main.rs shows it, but it is no requirement",
        ]
    );
}

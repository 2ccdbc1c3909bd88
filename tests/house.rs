//! The manners of the code, checked: which room may look into which, who may name a foreign library, how a file begins.
//!
//! The law is the order of `pub mod` lines in `src/lib.rs`: a room uses only rooms that stand above it. The tables
//! below hold the exceptions and the rest. If a rule is wrong, change it here and say why in the same commit.

mod house {
    pub(crate) mod pages;
    pub(crate) mod rules;
    pub(crate) mod source;
}

use house::pages::{check_numbered, check_pages, check_tests};
use house::rules::{Broken, Rooms, check, check_tree};
use house::source::Source;
use std::path::{Path, PathBuf};
use std::{fs, io};

#[test]
fn every_file_keeps_the_rules_of_the_house() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rooms = Rooms::parse(&fs::read_to_string(root.join("src/lib.rs")).unwrap());
    let sources = sources_under(&root.join("src"), root).unwrap();
    assert!(sources.len() > 20, "the walk found only {} files", sources.len());
    no_complaints(&check(&rooms, &sources));
}

#[test]
fn nothing_in_the_tree_names_the_machine_it_was_written_on() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = texts_under(root).unwrap();
    assert!(files.len() > 20, "the walk found only {} files", files.len());
    no_complaints(&check_tree(root, &files));
}

#[test]
fn the_pages_point_at_what_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    no_complaints(&check_pages(&pages(root).unwrap(), |path| root.join(path).exists()));
}

#[test]
fn every_test_that_a_page_names_is_there_and_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    no_complaints(&check_tests(&pages(root).unwrap(), |path| fs::read_to_string(root.join(path)).ok()));
}

#[test]
fn each_of_the_36_advisories_has_its_row() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/security-model.md");
    no_complaints(&check_numbered("docs/security-model.md", &fs::read_to_string(page).unwrap(), 36));
}

#[test]
fn every_test_is_named_in_the_manifest_or_it_would_never_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let silent: Vec<String> = sources_under(&root.join("tests"), root)
        .unwrap()
        .into_iter()
        .filter(|source| source.path.split('/').count() == 2 || source.path.ends_with("/main.rs"))
        .map(|source| source.path)
        .filter(|path| !manifest.contains(&format!("path = \"{path}\"")))
        .collect();
    assert_eq!(silent, [""; 0]);
}

fn no_complaints(broken: &[Broken]) {
    let lines: Vec<String> = broken.iter().map(ToString::to_string).collect();
    assert!(broken.is_empty(), "{} broken rule(s):\n{}\n", broken.len(), lines.join("\n"));
}

/// Every `.rs` file below a folder, with its path from the root.
fn sources_under(folder: &Path, root: &Path) -> io::Result<Vec<Source>> {
    let files = files_under(folder)?.into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs"));
    files.map(|path| Ok(Source::new(relative(&path, root), &fs::read_to_string(&path)?))).collect()
}

/// Every page for people, with its path from the root.
fn pages(root: &Path) -> io::Result<Vec<(String, String)>> {
    let is_page = |path: &str| Path::new(path).extension().is_some_and(|kind| kind == "md");
    Ok(texts_under(root)?.into_iter().filter(|(path, _)| is_page(path)).collect())
}

/// Every text file of the repository, with its path from the root; what is built or fetched is not the repository's.
fn texts_under(root: &Path) -> io::Result<Vec<(String, String)>> {
    let mut texts = Vec::new();
    for path in files_under(root)? {
        if let Ok(text) = String::from_utf8(fs::read(&path)?) {
            texts.push((relative(&path, root), text));
        }
    }
    Ok(texts)
}

fn files_under(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type()))?;
        let foreign = path.file_name().is_some_and(|name| name == "target" || name == ".git");
        match kind? {
            kind if kind.is_dir() && !foreign => files.extend(files_under(&path)?),
            kind if kind.is_file() && !foreign => files.push(path),
            _ => {}
        }
    }
    files.sort();
    Ok(files)
}

fn relative(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

// What follows makes sure that the checker can fail.

const LIB: &str =
    "//! x\npub mod clock;\npub mod store;\npub mod token;\npub mod session;\npub mod agent;\npub mod server;\n";

/// The complaints about one made-up file.
fn complaints(path: &str, text: &str) -> Vec<String> {
    let broken = check(&Rooms::parse(LIB), &[Source::new(path.to_owned(), text)]);
    broken.iter().map(ToString::to_string).filter(|line| !line.contains("the tables of this test")).collect()
}

#[test]
fn a_file_that_keeps_every_rule_is_left_alone() {
    let text = "//! What it is.\nuse crate::store::Store;\n\nfn f() { crate::clock::tick(); }\n";
    assert_eq!(complaints("src/session/keeper.rs", text), [""; 0]);
}

#[test]
fn an_arrow_that_points_down_is_named_with_file_line_and_arrow() {
    let text = "//! x\nuse crate::clock::Clock;\nuse crate::server::Server;\n";
    let said = complaints("src/store/memory.rs", text);
    assert_eq!(said, ["src/store/memory.rs:3: store -> server: `server` stands below `store` in lib.rs"]);
}

#[test]
fn an_arrow_in_a_comment_or_a_string_is_none() {
    let text = "//! See `crate::server`.\n/* crate::server::X */\nconst A: &str = \"crate::server::X // \\\" \";\n\
                const B: &str = r#\"crate::server \" x\"#;\nconst C: char = '\"'; // crate::server\n";
    assert_eq!(complaints("src/store/memory.rs", text), [""; 0]);
    assert_eq!(complaints("src/store/memory.rs", &format!("{text}use crate::server::X;\n")).len(), 1);
}

#[test]
fn a_nested_import_and_a_detour_cannot_hide_an_arrow() {
    assert!(complaints("src/store/memory.rs", "//! x\nuse crate::{clock::A, server::B};\n")[0].contains("nested"));
    assert!(complaints("src/store/memory.rs", "//! x\nuse super::super::server::B;\n")[0].contains("detour"));
    assert!(complaints("src/store/memory.rs", "//! x\nuse crate as all;\n")[0].contains("detour"));
    assert!(complaints("src/store/memory.rs", "//! x\nuse lanyard::server::B;\n")[0].contains("detour"));
}

#[test]
fn the_agent_carries_no_ca_code() {
    let said = complaints("src/agent/run.rs", "//! x\nuse crate::token::Claims;\n");
    assert_eq!(said, ["src/agent/run.rs:2: agent -> token: a runner never carries CA code"]);
}

#[test]
fn a_decision_is_no_task_and_reads_no_clock() {
    let said = complaints("src/token/verify.rs", "//! x\nuse crate::clock::Clock;\nasync fn f() { tokio::join!() }\n");
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].contains("src/token/verify.rs:2: token -> clock"), "{said:?}");
}

#[test]
fn a_foreign_library_has_one_door() {
    let said = complaints("src/token/verify.rs", "//! x\nuse aws_lc_rs::digest;\n");
    assert_eq!(said, ["src/token/verify.rs:2: token -> aws_lc_rs: it is named only in src/crypto/"]);
    let test = "//! x\n#[cfg(test)]\nmod tests {\n    use aws_lc_rs::digest;\n}\n";
    assert_eq!(complaints("src/token/verify.rs", test), [""; 0], "a test may ask an independent judge");
    assert_eq!(complaints("src/token/verify.rs", "//! x\nuse crate::store::sled::X;\n").len(), 1, "only the arrow");
}

#[test]
fn a_file_opens_with_words_and_ends_in_time() {
    assert!(complaints("src/store/memory.rs", "use std::fs;\n")[0].contains("opening words"));
    let long = format!("//! x\n{}", "fn f() {}\n".repeat(400));
    assert!(complaints("src/store/memory.rs", &long)[0].contains("401 lines"));
    let tested = format!("//! x\n#[cfg(test)]\nmod tests {{\n{}}}\n", "fn f() {}\n".repeat(400));
    assert_eq!(complaints("src/store/memory.rs", &tested), [""; 0]);
}

#[test]
fn nothing_is_left_for_later() {
    assert!(complaints("src/store/memory.rs", "//! x\nfn f() { todo!() }\n")[0].contains("todo!"));
    assert!(complaints("src/store/memory.rs", "//! x\n// TODO: later\n")[0].contains("TODO"));
    assert_eq!(complaints("src/store/memory.rs", "//! x\n// TODO #12: later\n"), [""; 0]);
}

#[test]
fn claims_are_believed_from_a_session_only_by_the_session_room() {
    let call = "//! x\nfn f() { VerifiedClaims::kept_with_session(claims); }\n";
    assert_eq!(complaints("src/session/keeper.rs", call), [""; 0]);
    assert!(complaints("src/server/run.rs", call)[0].contains("only session/"));
    let made = "//! x\npub fn kept_with_session(claims: Claims) -> Self { Self(claims) }\n";
    assert_eq!(complaints("src/token/verify.rs", made), [""; 0]);
}

#[test]
fn a_path_of_somebodys_own_machine_is_noticed() {
    let files = |text: &str| vec![("README.md".to_owned(), text.to_owned())];
    let desk = Path::new("/desk/of/ann");
    assert_eq!(
        check_tree(desk, &files("one\nsee /desk/notes.md\n"))[0].to_string().split(": ").next(),
        Some("README.md:2")
    );
    assert_eq!(check_tree(Path::new("/tmp/clone"), &files("in /tmp/clone/x")).len(), 1);
    assert_eq!(check_tree(Path::new("/tmp/clone"), &files("in /tmp/x and /etc/y")).len(), 0);
}

#[test]
fn a_table_that_names_a_room_or_file_that_is_gone_is_noticed() {
    let broken = check(&Rooms::parse(LIB), &[]);
    assert!(
        broken.iter().any(|rule| rule.to_string().contains("agent/renewal.rs")),
        "a rule on nothing guards nothing"
    );
}

#[test]
fn a_page_that_points_at_nothing_is_noticed() {
    let page = "# f\nsee [a](b.md#c) and [d](../src/x.rs) and [e](#f)\nthe file `token/parse.rs`, the folder `policy/`, `DIR/x`\n";
    let pages = [("docs/page.md".to_owned(), page.to_owned())];
    let there = ["docs/b.md", "src/x.rs", "src/token/parse.rs"];
    let exists = |path: &str| there.contains(&path);
    assert_eq!(check_pages(&pages, exists).len(), 0);
    let said: Vec<String> = check_pages(&pages, |_| false).iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert_eq!(said[2], "docs/page.md:3: `token/parse.rs` is not there");
}

#[test]
fn a_heading_that_is_not_there_is_noticed() {
    let page = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let said = |link: &str| {
        let pages =
            [page("docs/a.md", &format!("# The `first` one\n[x]({link})\n")), page("docs/b/c.md", "## A, and b\n")];
        check_pages(&pages, |_| true).len()
    };
    assert_eq!(["#the-first-one", "b/c.md#a-and-b", "b/c.md", "https://x.test/#y"].map(said), [0; 4]);
    assert_eq!(["#a-and-b", "b/c.md#the-first-one", "b/c.md#"].map(said), [1; 3]);
}

#[test]
fn a_page_that_names_a_test_which_does_not_run_is_noticed() {
    let page = |name: &str| vec![("docs/page.md".to_owned(), format!("| 1 | [{name}](../src/x.rs) |\n"))];
    let source = "#[test]\nfn a_test() {}\n\nproptest! {\n    #[test]\n    #[expect(x,\n    )]\n    fn a_law(x in 0..1) {}\n\n\
                  #[tokio::test(a)]\nasync fn b_test() {}\n\n#[test]\n#[ignore = \"x\"]\nfn no_test() {}\n\nfn a_helper() {}\n";
    let said = |name: &str| check_tests(&page(name), |path| (path == "src/x.rs").then(|| source.to_owned())).len();
    assert_eq!(["a_test", "a_law", "b_test", "words", "two words"].map(said), [0; 5]);
    assert_eq!(["no_test", "a_helper", "gone_test", "a_tes"].map(said), [1; 4]);
    assert_eq!(check_tests(&page("a_test"), |_| None).len(), 1, "the file is gone");
}

#[test]
fn a_row_that_is_missing_doubled_or_empty_is_noticed() {
    let row = |number: &str, last: &str| format!("| {number} | a | b | c | {last} |\n");
    let (test, later) = ("[a_test](x.rs)", "not built: comes later");
    let said = |rows: &[String]| check_numbered("page.md", &rows.concat(), 2).len();
    assert_eq!(said(&[row("1", test), row("2", later), row("x", "no row")]), 0);
    assert_eq!(said(&[row("1", test)]), 1);
    assert_eq!(said(&[row("2", test)]), 1);
    assert_eq!(said(&[row("1", test), row("1", test), row("2", test)]), 1);
    assert_eq!(said(&[row("1", test), row("2", test), row("3", test)]), 1);
    assert_eq!(said(&[row("1", "nothing"), row("2", test)]), 1);
    assert_eq!(said(&["| 1 | a | [a_test](x.rs) |\n".to_owned(), row("2", test)]), 1);
}

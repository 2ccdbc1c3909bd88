//! The pages: configurations are read out of them, and each row of a table is held against what was found.

use crate::consumer::source;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};

const PAGE: &str = "docs/consumers.md";
/// All that show configurations, each under a name of its own.
const PAGES: [&str; 2] = [PAGE, "docs/meshes/envoy.md"];

/// Whole configurations of services, with names that others have too.
const RECIPES: &str = "docs/meshes/files.md";

/// A block of a page, by the file name in its first line.
pub(crate) fn block(name: &str) -> String {
    block_of(&PAGES, name)
}

/// The same of the page of recipes.
pub(crate) fn recipe(name: &str) -> String {
    block_of(&[RECIPES], name)
}

fn block_of(pages: &[&str], name: &str) -> String {
    let texts: Vec<String> = pages.iter().map(|page| fs::read_to_string(source(page)).unwrap()).collect();
    let (page, first) = (texts.join("\n"), format!("# {name}"));
    let inside = page.lines().skip_while(|line| line.trim() != first);
    let text: Vec<&str> = inside.take_while(|line| line.trim() != "```").collect();
    assert!(!text.is_empty(), "none of {pages:?} shows {name}");
    text.join("\n") + "\n"
}

/// Holds one row against the page; `LANYARD_GOLDEN=write` puts it there.
pub(crate) fn hold_row(consumer: &str, cells: &[String]) {
    let found = format!("| {consumer} | {} |", cells.join(" | "));
    let begin = format!("| {consumer} | ");
    let path = source(PAGE);
    if std::env::var("LANYARD_GOLDEN").is_ok_and(|switch| switch == "write") {
        // Each row comes from a test of its own, and these may be processes of their own.
        let lock = File::open(source("docs")).unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        let page = fs::read_to_string(&path).unwrap();
        let lines = page.lines().map(|line| if line.starts_with(&begin) { &found } else { line });
        fs::write(&path, lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
    }
    let page = fs::read_to_string(&path).unwrap();
    let told = page.lines().find(|line| line.starts_with(&begin));
    assert_eq!(told, Some(&*found), "{PAGE} is out of date; LANYARD_GOLDEN=write renews it");
}

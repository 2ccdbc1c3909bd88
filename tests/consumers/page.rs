//! `docs/consumers.md`: configurations are read out of the page, and each row of its table is held against what was found.

use crate::consumer::source;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};

const PAGE: &str = "docs/consumers.md";

/// A block of the page, by the file name in its first line.
pub(crate) fn block(name: &str) -> String {
    let page = fs::read_to_string(source(PAGE)).unwrap();
    let fenced = page.split("\n```").skip(1).step_by(2).filter_map(|rest| rest.split_once('\n'));
    let mut blocks = fenced.map(|(_language, text)| text);
    let first = format!("# {name}");
    let found = blocks.find(|text| text.lines().next() == Some(&first));
    found.unwrap_or_else(|| panic!("{PAGE} shows no {name}")).to_owned() + "\n"
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

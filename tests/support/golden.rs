//! Files that hold what a test found when a person last read it. `LANYARD_GOLDEN=write` rewrites them.

use std::fs;
use std::path::Path;

/// Whether files are rewritten instead of compared.
#[expect(clippy::disallowed_methods, reason = "the one switch of the tests that stands in the environment")]
pub(crate) fn rewrites() -> bool {
    std::env::var("LANYARD_GOLDEN").is_ok_and(|switch| switch == "write")
}

/// Holds a text against the file that was committed.
pub(crate) fn hold(file: &Path, found: &str) {
    if rewrites() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, found).unwrap();
    }
    let committed = fs::read_to_string(file).unwrap_or_default();
    let differs = committed.lines().zip(found.lines()).find(|(old, new)| old != new);
    let name = file.display();
    assert!(committed == found, "{name} is out of date, first at {differs:#?}; rewrite it with LANYARD_GOLDEN=write");
}

//! What the stand-in writes for shells.

use crate::gitlab::Gitlab;
use std::collections::BTreeMap;
use std::fs;

/// What `dev.env` sets.
pub(crate) fn variables(gitlab: &Gitlab) -> BTreeMap<String, String> {
    let text = fs::read_to_string(gitlab.file("dev.env")).unwrap();
    let variable = |line: &str| {
        let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
        Some((name.to_owned(), value.trim_matches('\'').to_owned()))
    };
    text.lines().filter_map(variable).collect()
}

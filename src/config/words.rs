//! Words for problems: what a value is, what a mistyped key meant, and no more of either than can be read.

use std::borrow::Cow;
use toml::de::DeValue;

/// Room for the longest remedy, which names all claims.
const WORDS_CHARACTERS_MAX: usize = 2000;

/// What is repeated from the file may be as long as the file, and told in each of many problems.
pub(super) fn readable(mut words: String) -> String {
    if let Some((at, _)) = words.char_indices().nth(WORDS_CHARACTERS_MAX) {
        words.truncate(at);
        words.push('…');
    }
    words
}

/// What a value is, in words.
pub(super) fn an(value: &DeValue<'_>) -> String {
    match value.type_str() {
        kind @ ("array" | "integer") => format!("an {kind}"),
        kind => format!("a {kind}"),
    }
}

/// A key as it is written in TOML.
pub(super) fn key(name: &str) -> Cow<'_, str> {
    if name.contains('.') { Cow::Owned(format!("{name:?}")) } else { Cow::Borrowed(name) }
}

/// The known key that a mistyped one most likely meant: at most two edits away.
pub(super) fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let length = key.chars().count();
    // Too long or too short a key is that many edits away, and need not be walked.
    let alike = known.iter().filter(|name| name.chars().count().abs_diff(length) <= 2);
    alike.map(|name| (edits(key, name), *name)).filter(|(edits, _)| *edits <= 2).min().map(|(_, name)| name)
}

/// The Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((j, to), above) in b.chars().enumerate().zip(row.windows(2)) {
            let [diagonal, over] = above else { continue };
            let left = next.get(j).copied().unwrap_or(usize::MAX - 1);
            next.push((diagonal + usize::from(from != to)).min(over + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

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

/// What a key that nobody knows most likely meant: one that is mistyped, or some that begin so.
pub(super) fn did_you_mean(key: &str, known: &[&'static str]) -> Option<String> {
    if let Some(nearest) = nearest(key, known) {
        return Some(format!("did you mean {nearest}?"));
    }
    let goes_on = |name: &&&str| name.strip_prefix(key).is_some_and(|rest| rest.starts_with(['_', '.']));
    let longer: Vec<&str> = known.iter().filter(goes_on).copied().collect();
    let (last, others) = longer.split_last()?;
    Some(if others.is_empty() {
        format!("did you mean {last}?")
    } else {
        format!("did you mean {} or {last}?", others.join(", "))
    })
}

/// The known key that a mistyped one most likely meant: at most two edits away.
fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_nobody_knows_is_answered_with_what_it_may_have_meant() {
        let known = ["user_id", "user_login", "ref", "ref_path", "actor.kind"];
        let meant = |key| did_you_mean(key, &known).unwrap_or_default();
        assert_eq!(meant("user_logn"), "did you mean user_login?");
        assert_eq!(meant("user"), "did you mean user_id or user_login?");
        assert_eq!(meant("actor"), "did you mean actor.kind?");
        assert_eq!(meant("us"), "");
    }
}

//! Patterns by trying every way to read them.

/// Whether a text is what the pattern says: `*` stays inside a segment, `**` does not.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    fit(pattern.as_bytes(), text.as_bytes())
}

fn fit(pattern: &[u8], text: &[u8]) -> bool {
    let Some((first, rest)) = pattern.split_first() else { return text.is_empty() };
    if *first != b'*' {
        return text.split_first().is_some_and(|(head, tail)| head == first && fit(rest, tail));
    }
    let stars = pattern.iter().take_while(|byte| **byte == b'*').count();
    let behind = pattern.get(stars..).unwrap_or_default();
    let reach = if stars > 1 { text.len() } else { text.iter().take_while(|byte| **byte != b'/').count() };
    (0..=reach).any(|taken| fit(behind, text.get(taken..).unwrap_or_default()))
}

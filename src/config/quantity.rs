//! Spans and sizes, written with their units: `"15m"`, `"1h30m"`, `"64KiB"`.

use std::time::Duration;

/// The longest span of a setting that has no closer limit of its own: longer than GitLab lets any job run.
pub(super) const SPAN_MAX: Duration = Duration::from_secs(90 * 86_400);

/// Longest unit first, so that a printed span reads naturally.
const SPANS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// The text is no quantity with a unit.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum QuantityError {
    #[error("not a span of time")]
    NotASpan,
    #[error("not a size")]
    NotASize,
}

/// Reads `15m`, `1h30m`, `500ms`, `3650d`; a bare number has no meaning.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    let mut rest = text;
    let mut total = 0_u64;
    if rest.is_empty() {
        return Err(QuantityError::NotASpan);
    }
    while !rest.is_empty() {
        let (count, unit, after) = split(rest).ok_or(QuantityError::NotASpan)?;
        let millis = SPANS.iter().find(|(name, _)| *name == unit).map(|(_, millis)| *millis);
        let part = millis.and_then(|millis| millis.checked_mul(count)).ok_or(QuantityError::NotASpan)?;
        total = total.checked_add(part).ok_or(QuantityError::NotASpan)?;
        rest = after;
    }
    Ok(Duration::from_millis(total))
}

/// Reads `64KiB`, `16MiB`, `512B`.
pub(super) fn parse_size(text: &str) -> Result<u64, QuantityError> {
    let (count, unit, after) = split(text).ok_or(QuantityError::NotASize)?;
    let bytes = SIZES.iter().find(|(name, _)| *name == unit).map(|(_, bytes)| *bytes);
    match bytes.and_then(|bytes| bytes.checked_mul(count)) {
        Some(size) if after.is_empty() => Ok(size),
        _ => Err(QuantityError::NotASize),
    }
}

/// Digits, then letters, then what is left.
fn split(text: &str) -> Option<(u64, &str, &str)> {
    let (digits, rest) = text.split_at_checked(text.find(|c: char| !c.is_ascii_digit())?)?;
    let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, after) = rest.split_at_checked(end)?;
    Some((digits.parse().ok()?, unit, after))
}

/// Writes a span the way it is read: `1h30m`.
pub(super) fn render_duration(span: Duration) -> String {
    let mut rest = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, millis) in SPANS {
        if rest >= millis {
            text.push_str(&(rest / millis).to_string());
            text.push_str(unit);
            rest %= millis;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_needs_its_unit_and_reads_back_from_its_own_text() {
        for text in ["15m", "1h30m", "500ms", "3650d", "1d2h3m4s5ms"] {
            assert_eq!(parse_duration(text).map(render_duration).as_deref(), Ok(text));
        }
        for text in ["", "15", "m", "15 m", "-1s", "1.5h", "1y", "99999999999999999d"] {
            assert_eq!(parse_duration(text), Err(QuantityError::NotASpan), "{text}");
        }
    }

    #[test]
    fn a_size_needs_its_unit() {
        assert_eq!(parse_size("64KiB"), Ok(65536));
        for text in ["", "64", "64kb", "64KiB1", "KiB", "99999999999GiB"] {
            assert_eq!(parse_size(text), Err(QuantityError::NotASize), "{text}");
        }
    }
}

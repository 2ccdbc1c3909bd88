//! Patterns for paths and refs: `*` stays inside a segment, `**` crosses slashes; everything else is itself.

use std::fmt;

/// A pattern with at least one `*`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Glob {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Part {
    /// `**`
    Anything,
    Literal(String),
    /// `*`
    WithinSegment,
}

impl Glob {
    /// Reads a pattern; any text is one.
    pub fn parse(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('*') {
            let (literal, from_star) = rest.split_at(at);
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            let after = from_star.trim_start_matches('*');
            parts.push(if from_star.len() - after.len() > 1 { Part::Anything } else { Part::WithinSegment });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Self { text: text.to_owned(), parts }
    }

    /// Whether the whole text fits. The work is bounded by pattern length times text length: `reached` marks every
    /// place in the text that the pattern so far can end at, so nothing is tried twice.
    pub fn matches(&self, text: &str) -> bool {
        let text = text.as_bytes();
        let mut reached = vec![false; text.len() + 1];
        if let Some(start) = reached.first_mut() {
            *start = true;
        }
        for part in &self.parts {
            reached = match part {
                Part::Anything => spread(&reached, text, |_| true),
                Part::Literal(literal) => advance(&reached, text, literal.as_bytes()),
                Part::WithinSegment => spread(&reached, text, |byte| byte != b'/'),
            };
        }
        reached.last() == Some(&true)
    }

    /// Whether it is a beginning and anything behind it.
    pub(super) fn is_prefix(&self) -> bool {
        matches!(self.parts.as_slice(), [Part::Anything] | [Part::Literal(_), Part::Anything])
    }

    /// The literal text before the first star.
    pub fn literal_prefix(&self) -> &str {
        match self.parts.first() {
            Some(Part::Literal(literal)) => literal,
            Some(Part::Anything | Part::WithinSegment) | None => "",
        }
    }
}

/// From each place reached, over as many bytes as `may_cross` allows.
fn spread(reached: &[bool], text: &[u8], may_cross: impl Fn(u8) -> bool) -> Vec<bool> {
    let before = std::iter::once(None).chain(text.iter().map(|byte| Some(*byte)));
    let mut carried = false;
    let step = |(here, byte): (&bool, Option<u8>)| {
        carried = *here || (carried && byte.is_some_and(&may_cross));
        carried
    };
    reached.iter().zip(before).map(step).collect()
}

/// From each place reached, over exactly this literal.
fn advance(reached: &[bool], text: &[u8], literal: &[u8]) -> Vec<bool> {
    let ends_here = |end: usize| {
        let start = end.checked_sub(literal.len())?;
        Some(*reached.get(start)? && text.get(start..end)? == literal)
    };
    (0..reached.len()).map(|end| ends_here(end) == Some(true)).collect()
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_star_stays_inside_a_segment_and_two_cross_slashes() {
        for (pattern, text, fits) in [
            ("acme/*", "acme/api", true),
            ("acme/*", "acme/pay/api", false),
            ("acme/*", "acmeapi", false),
            ("acme/*", "x/acme/api", false),
            ("acme/**", "acme/pay/api", true),
            ("acme/**", "acme", false),
            ("acme/*/api", "acme/pay/api", true),
            ("acme/*/api", "acme/a/b/api", false),
            ("acme/**/api", "acme/a/b/api", true),
            ("v*", "v1.2", true),
            ("v*.*", "v1", false),
            ("*-rc*", "1-rc-rc2", true),
            ("**", "", true),
            ("release/*", "release/", true),
            ("a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(Glob::parse(pattern).matches(text), fits, "{pattern} on {text}");
        }
    }
}

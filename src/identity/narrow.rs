//! Readers that take shorter IDs than the standard's 2048 bytes.

use super::SpiffeId;
use std::fmt;

/// Who reads no longer ones.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Narrow {
    /// A subject of Google's workload identity federation (`google.subject`).
    Google,
    /// The identity of Linkerd's ExternalWorkload (`maxLength` in its CRD).
    Linkerd,
}

impl Narrow {
    /// The most bytes that it takes.
    pub const fn max_bytes(self) -> usize {
        match self {
            Self::Google => 127,
            Self::Linkerd => 253,
        }
    }
}

impl fmt::Display for Narrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Google => "a subject of Google's workload identity federation",
            Self::Linkerd => "an ExternalWorkload of Linkerd",
        };
        write!(f, "{what} has at most {}", self.max_bytes())
    }
}

impl SpiffeId {
    /// The readers for whom it is too long.
    pub fn too_long_for(&self) -> Vec<Narrow> {
        [Narrow::Google, Narrow::Linkerd]
            .into_iter()
            .filter(|reader| self.as_str().len() > reader.max_bytes())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reader_takes_its_most_and_no_byte_more() {
        let of = |bytes: usize| {
            let head = "spiffe://t/";
            SpiffeId::parse(&format!("{head}{}", "a".repeat(bytes - head.len()))).unwrap().too_long_for()
        };
        assert_eq!((of(127), of(128)), (vec![], vec![Narrow::Google]));
        assert_eq!((of(253), of(254)), (vec![Narrow::Google], vec![Narrow::Google, Narrow::Linkerd]));
    }
}

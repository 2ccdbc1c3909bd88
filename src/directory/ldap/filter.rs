//! What a search looks for, as a tree whose leaves are bytes: there is no text to escape, and none to break out of.

use super::ber::{OCTET_STRING, element};

/// RFC 4511 §4.5.1.7, as much of it as is asked for here.
#[derive(Clone, Debug)]
pub(in super::super) enum Filter<'a> {
    /// All of them.
    All(Vec<Self>),
    /// At least one of them.
    Any(Vec<Self>),
    /// An attribute has this value.
    Is(&'a str, &'a [u8]),
}

impl Filter<'_> {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::All(each) => set(0xa0, each),
            Self::Any(each) => set(0xa1, each),
            Self::Is(attribute, value) => {
                let attribute = element(OCTET_STRING, &[attribute.as_bytes()]);
                element(0xa3, &[&attribute, &element(OCTET_STRING, &[value])])
            }
        }
    }
}

fn set(tag: u8, each: &[Filter<'_>]) -> Vec<u8> {
    element(tag, &[&each.iter().flat_map(Filter::encode).collect::<Vec<_>>()])
}

#[cfg(test)]
mod tests {
    use super::super::ber::Elements;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_filter_is_laid_out_as_the_standard_has_it() {
        let filter = Filter::All(vec![Filter::Is("a", b"*"), Filter::Any(vec![Filter::Is("b", b"")])]);
        let bytes = [0xa0, 17, 0xa3, 6, 4, 1, b'a', 4, 1, b'*', 0xa1, 7, 0xa3, 5, 4, 1, b'b', 4, 0];
        assert_eq!(filter.encode(), bytes);
    }

    proptest! {
        /// Whatever a token says, it is compared as it is, and changes nothing of what else is asked.
        #[test]
        fn every_value_is_one_leaf_and_reads_back(value in any::<Vec<u8>>(), hostile in "[*()\\\\\0a-z=,|&]{0,40}") {
            for value in [value.as_slice(), hostile.as_bytes()] {
                let encoded = Filter::All(vec![Filter::Is("objectClass", b"user"), Filter::Is("mail", value)]).encode();
                let mut all = Elements(Elements(&encoded).take(0xa0).unwrap());
                let (_class, mut leaf) = (all.take(0xa3).unwrap(), Elements(all.take(0xa3).unwrap()));
                prop_assert_eq!(all.next(), Ok(None));
                prop_assert_eq!(leaf.take(OCTET_STRING), Ok(&b"mail"[..]));
                prop_assert_eq!(leaf.take(OCTET_STRING), Ok(value));
                prop_assert_eq!(leaf.next(), Ok(None));
            }
        }
    }
}

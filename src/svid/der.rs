//! DER, as far as we lay it out ourselves (X.690 §8.1, §10.1).

/// The tag of a boolean.
pub(super) const BOOLEAN: u8 = 1;
/// The tag of an integer.
pub(super) const INTEGER: u8 = 2;
/// The tag of a bit string; its first byte counts unused bits, of which a signature has none (X.690 §8.6).
pub(super) const BIT_STRING: u8 = 3;
/// The tag of an octet string.
pub(super) const OCTET_STRING: u8 = 4;
/// The tag of an object identifier.
pub(super) const OBJECT_IDENTIFIER: u8 = 6;
/// The tag of a `UTF8String` (X.690 §8.23).
pub(super) const UTF8_STRING: u8 = 12;
/// The tag of a time with two digits of the year.
pub(super) const UTC_TIME: u8 = 23;
/// The tag of a time with four digits of the year.
pub(super) const GENERALIZED_TIME: u8 = 24;
/// The tag of a sequence.
pub(super) const SEQUENCE: u8 = 0x30;
/// The tag of a set.
pub(super) const SET: u8 = 0x31;
/// The first of the tags that mean something only where they stand, around a whole value.
pub(super) const CONTEXT: u8 = 0xa0;

/// What most leaves fit in, with their signature.
const USUAL_BYTES: usize = 1024;

/// A value with its tag and the shortest form of its length. Nothing that we make reaches 64 KiB; what is longer
/// comes out wrong and equals nothing.
pub(super) fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut whole = Der(Vec::with_capacity(content.len() + 4));
    whole.put(tag, content);
    whole.into_bytes()
}

/// Values, laid out one after the other in one buffer.
#[derive(Debug)]
pub(super) struct Der(Vec<u8>);

impl Default for Der {
    fn default() -> Self {
        Self(Vec::with_capacity(USUAL_BYTES))
    }
}

impl Der {
    /// A value.
    pub(super) fn put(&mut self, tag: u8, content: &[u8]) {
        self.within(tag, |value| value.put_whole(content));
    }

    /// A positive integer, big-endian: without leading zeros, but for one before a first bit that is set (X.690 §8.3).
    pub(super) fn put_positive(&mut self, number: &[u8]) {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let number = number.get(zeros..).unwrap_or_default();
        self.within(INTEGER, |integer| {
            if number.first().is_none_or(|first| first & 0x80 != 0) {
                integer.0.push(0);
            }
            integer.put_whole(number);
        });
    }

    /// What is laid out already.
    pub(super) fn put_whole(&mut self, value: &[u8]) {
        self.0.extend_from_slice(value);
    }

    /// A value of whatever `content` puts; see [`der`].
    pub(super) fn within(&mut self, tag: u8, content: impl FnOnce(&mut Self)) {
        self.0.extend_from_slice(&[tag, 0]);
        let start = self.0.len();
        content(self);
        let [.., high, low] = (self.0.len() - start).to_be_bytes();
        let (first, more): (u8, &[u8]) = match (high, low) {
            (0, 0..0x80) => (low, &[]),
            (0, _) => (0x81, &[low]),
            _ => (0x82, &[high, low]),
        };
        if let Some(length) = self.0.get_mut(start - 1) {
            *length = first;
        }
        self.0.splice(start..start, more.iter().copied());
    }

    /// All of it.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_their_shortest_form() {
        for (bytes, head) in [
            (0, vec![12, 0]),
            (127, vec![12, 127]),
            (128, vec![12, 0x81, 128]),
            (255, vec![12, 0x81, 255]),
            (256, vec![12, 0x82, 1, 0]),
            (1024, vec![12, 0x82, 4, 0]),
        ] {
            let laid_out = der(12, &vec![b'a'; bytes]);
            assert_eq!((&laid_out[..head.len()], laid_out.len()), (head.as_slice(), head.len() + bytes));
        }
    }
}

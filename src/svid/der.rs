//! DER of the few values that no library lays out for us (X.690 §8.1, §10.1).

/// The tag of a bit string; its first byte counts unused bits, of which a signature has none (X.690 §8.6).
pub(super) const BIT_STRING: u8 = 3;
/// The tag of a sequence.
pub(super) const SEQUENCE: u8 = 0x30;

/// A value with its tag and the shortest form of its length. Nothing that we make reaches 64 KiB; what is longer
/// comes out wrong and equals nothing.
pub(super) fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let head = match (high, low) {
        (0, 0..0x80) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [&head, content].concat()
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

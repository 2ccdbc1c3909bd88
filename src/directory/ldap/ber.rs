//! The part of BER that LDAP uses: tags of one byte, lengths told in front (X.690 §8.1, RFC 4511 §5.1).

/// Truth (X.690 §8.2).
pub(super) const BOOLEAN: u8 = 0x01;
/// A number.
pub(super) const INTEGER: u8 = 0x02;
/// Bytes.
pub(super) const OCTET_STRING: u8 = 0x04;
/// A number that stands for a word.
pub(super) const ENUMERATED: u8 = 0x0a;
/// Elements in their order.
pub(super) const SEQUENCE: u8 = 0x30;
/// Elements in any order.
pub(super) const SET: u8 = 0x31;

/// What was read is not what LDAP looks like.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("an answer that is not LDAP")]
pub struct Malformed;

/// An element, its length in the shortest form.
pub(super) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content: usize = parts.iter().map(|part| part.len()).sum();
    let bytes = content.to_be_bytes();
    let short = u8::try_from(content).ok().filter(|length| *length < 0x80);
    let mut all = vec![tag];
    if let Some(length) = short {
        all.push(length);
    } else {
        let digits: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
        all.push(0x80 | u8::try_from(digits.len()).unwrap_or(0x7f));
        all.extend(digits);
    }
    all.extend(parts.iter().copied().flatten());
    all
}

/// A number that is not negative.
pub(super) fn number(tag: u8, value: u32) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let zeros = bytes.iter().take(3).take_while(|byte| **byte == 0).count();
    let digits = bytes.get(zeros..).unwrap_or_default();
    // A first bit that is set would make it negative.
    let sign: &[u8] = if digits.first().is_some_and(|first| *first >= 0x80) { &[0] } else { &[] };
    element(tag, &[sign, digits])
}

/// The number in an element.
pub(super) fn read_number(content: &[u8]) -> Result<u32, Malformed> {
    match content {
        [] => Err(Malformed),
        [first, ..] if *first >= 0x80 => Err(Malformed),
        digits => digits
            .iter()
            .try_fold(0_u32, |value, digit| Some(value.checked_mul(0x100)? + u32::from(*digit)))
            .ok_or(Malformed),
    }
}

/// How many bytes the first element has, with tag and length; none where too few have come to know.
pub(super) fn whole_length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some((head, content)) = head(bytes)? else { return Ok(None) };
    head.checked_add(content).map(Some).ok_or(Malformed)
}

/// The bytes of the first element's tag and length, and of its content.
fn head(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let [_tag, first, rest @ ..] = bytes else { return Ok(None) };
    let digits = match first {
        length @ 0..0x80 => return Ok(Some((2, usize::from(*length)))),
        // Without an end, or longer than anything here may be.
        0x80 | 0x85.. => return Err(Malformed),
        many => usize::from(many & 0x7f),
    };
    let Some(digits) = rest.get(..digits) else { return Ok(None) };
    let length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
    Ok(Some((2 + digits.len(), length)))
}

/// Elements one after the other, read from the front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elements<'a>(pub(super) &'a [u8]);

impl<'a> Elements<'a> {
    /// The next one's tag and content; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u8, &'a [u8])>, Malformed> {
        let Some(tag) = self.0.first() else { return Ok(None) };
        let (head, content) = head(self.0)?.ok_or(Malformed)?;
        let (_, after) = self.0.split_at_checked(head).ok_or(Malformed)?;
        let (content, rest) = after.split_at_checked(content).ok_or(Malformed)?;
        self.0 = rest;
        Ok(Some((*tag, content)))
    }

    /// The content of the next one, which must have this tag.
    pub(super) fn take(&mut self, wanted: u8) -> Result<&'a [u8], Malformed> {
        match self.next()? {
            Some((tag, content)) if tag == wanted => Ok(content),
            Some(_) | None => Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_have_their_shortest_form_and_others_are_read() {
        for (bytes, head) in
            [(0, vec![4, 0]), (127, vec![4, 127]), (128, vec![4, 0x81, 128]), (256, vec![4, 0x82, 1, 0])]
        {
            let laid_out = element(OCTET_STRING, &[&vec![7; bytes]]);
            assert_eq!((&laid_out[..head.len()], laid_out.len()), (head.as_slice(), head.len() + bytes));
        }
        // Active Directory writes four digits always.
        assert_eq!(Elements(&[4, 0x84, 0, 0, 0, 1, 9]).next(), Ok(Some((4, &[9][..]))));
        for odd in [&[4, 0x80, 0, 0][..], &[4, 0x85, 0, 0, 0, 0, 1, 9], &[4, 0xff]] {
            assert_eq!(Elements(odd).next(), Err(Malformed), "{odd:?}");
        }
        for short in [&[4][..], &[4, 2, 1], &[4, 0x82, 1]] {
            assert_eq!(Elements(short).next(), Err(Malformed), "{short:?}");
        }
        assert_eq!((whole_length(&[4]), whole_length(&[4, 0x82, 1])), (Ok(None), Ok(None)));
        assert_eq!(whole_length(&[4, 0x84, 0xff, 0xff, 0xff, 0xff]), Ok(Some(0xffff_ffff + 6)));
    }

    proptest! {
        #[test]
        fn a_number_reads_back(value: u32) {
            let written = number(INTEGER, value);
            prop_assert_eq!(read_number(Elements(&written).take(INTEGER).unwrap()), Ok(value));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let mut elements = Elements(&bytes);
            while let Ok(Some(_)) = elements.next() {}
            prop_assert!(whole_length(&bytes).is_ok_and(|length| length != Some(0)) || !bytes.is_empty());
        }
    }
}

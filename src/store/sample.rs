//! Values kept as what they add to a sample: records of one kind have most of their text in common.
//!
//! A packed value is, after a byte that begins no JSON text, an LZ4 block with its length in front and the sample as its
//! dictionary.

use lz4_flex::block::{compress_prepend_size_with_dict, decompress_size_prepended_with_dict};
use std::borrow::Cow;
use std::io;

/// What a packed value begins with.
const PACKED: u8 = 1;
/// Shorter values stay as they are, and are no sample.
const BYTES_MIN: usize = 512;
/// A damaged length must not ask for more.
const BYTES_MAX: usize = 16 * 1024;

/// A value that others are compared with.
#[derive(Debug)]
pub(super) struct Sample(Box<[u8]>);

impl Sample {
    /// A value as a sample, if it can be one.
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        is_packable(text).then(|| Self(text.into()))
    }

    /// The value itself.
    pub(super) const fn text(&self) -> &[u8] {
        &self.0
    }

    /// Adds a value, packed where that is shorter.
    pub(super) fn pack(&self, value: &[u8], out: &mut Vec<u8>) {
        let packed = is_packable(value).then(|| compress_prepend_size_with_dict(value, &self.0));
        match packed.filter(|packed| packed.len() + 1 < value.len()) {
            Some(packed) => {
                out.push(PACKED);
                out.extend_from_slice(&packed);
            }
            None => out.extend_from_slice(value),
        }
    }

    fn unpack(&self, packed: &[u8]) -> Option<Vec<u8>> {
        let length = usize::try_from(u32::from_le_bytes(*packed.first_chunk()?)).ok()?;
        if length > BYTES_MAX {
            return None;
        }
        let value = decompress_size_prepended_with_dict(packed, &self.0).ok()?;
        (value.len() == length).then_some(value)
    }
}

/// The value that was kept, packed by this sample or as it is.
pub(super) fn unpacked<'a>(sample: Option<&Sample>, kept: &'a [u8]) -> io::Result<Cow<'a, [u8]>> {
    let Some(packed) = kept.strip_prefix(&[PACKED]) else { return Ok(kept.into()) };
    let value = sample.and_then(|sample| sample.unpack(packed));
    value.map(Cow::Owned).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a packed value is damaged"))
}

fn is_packable(value: &[u8]) -> bool {
    (BYTES_MIN..=BYTES_MAX).contains(&value.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kept(sample: &Sample, value: &[u8]) -> Vec<u8> {
        let mut kept = Vec::new();
        sample.pack(value, &mut kept);
        kept
    }

    /// A record, as far as its text goes.
    fn record(number: u32) -> String {
        let words = "\"project_visibility\":\"private\",\"runner_environment\":\"self-hosted\",".repeat(8);
        format!("{{\"v\":1,\"owner\":\"{:064x}\",{words}\"job_id\":{number}}}", u64::from(number) << 20)
    }

    #[test]
    fn a_record_like_the_sample_takes_little_room_and_one_unlike_it_no_more_than_before() {
        let sample = Sample::of(record(1).as_bytes()).unwrap();
        let (alike, unlike) = (record(4711), "x1y2".repeat(300));
        assert!(kept(&sample, alike.as_bytes()).len() < alike.len() / 4);
        assert!(kept(&sample, unlike.as_bytes()).len() <= unlike.len());
        assert!(Sample::of(b"{}").is_none() && Sample::of(&vec![b' '; BYTES_MAX + 1]).is_none());
        assert_eq!(kept(&sample, b"{}"), b"{}");
    }

    #[test]
    fn a_packed_value_without_its_sample_or_cut_short_is_damaged() {
        let sample = Sample::of(record(1).as_bytes()).unwrap();
        let packed = kept(&sample, record(4711).as_bytes());
        assert!(unpacked(None, &packed).is_err());
        for length in 1..packed.len() {
            let cut = unpacked(Some(&sample), &packed[..length]);
            assert!(cut.is_err() || *cut.unwrap() != *record(4711).as_bytes());
        }
    }

    proptest! {
        #[test]
        fn what_was_kept_comes_back(pieces in prop::collection::vec((0..40_usize, ".{0,30}"), 1..60), number: u32) {
            let sample = record(number);
            let other: String = pieces.iter().map(|(at, own)| {
                let piece: String = sample.chars().skip(at * 13).take(*at).collect();
                piece + own
            }).collect();
            let sample = Sample::of(sample.as_bytes()).unwrap();
            let kept = kept(&sample, other.as_bytes());
            prop_assert!(kept.len() <= other.len());
            prop_assert_eq!(&*unpacked(Some(&sample), &kept).unwrap(), other.as_bytes());
        }

        #[test]
        fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let sample = Sample::of(record(1).as_bytes()).unwrap();
            drop(unpacked(Some(&sample), &bytes));
        }
    }
}

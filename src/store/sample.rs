//! Values kept as what they add to a sample: records of one kind have most of their text in common.
//!
//! A packed value is, after a byte that begins no JSON text, runs of its own bytes and copies from the sample in turn: how
//! many bytes follow, these, where the copy begins, how long it is. Numbers have two bytes, big-endian.

use std::borrow::Cow;
use std::io;

/// What a packed value begins with.
const PACKED: u8 = 1;
/// Shorter values stay as they are, and are no sample.
const BYTES_MIN: usize = 512;
/// So that every place and length is a number of two bytes.
const BYTES_MAX: usize = 16 * 1024;
/// A copy is found by so many bytes and is no shorter: it costs six.
const WINDOW: usize = 12;
/// In which slot a window stands is told by so many bits of its hash.
const SLOT_BITS: u32 = 12;

/// A value that others are compared with.
#[derive(Debug)]
pub(super) struct Sample {
    text: Box<[u8]>,
    /// By its slot, where a window begins; of several the last.
    places: Box<[u16]>,
}

impl Sample {
    /// A value as a sample, if it can be one.
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        if !is_packable(text) {
            return None;
        }
        let mut places = vec![0; 1 << SLOT_BITS].into_boxed_slice();
        for (at, window) in (0..).zip(text.windows(WINDOW)) {
            if let Some(place) = places.get_mut(slot(window)) {
                *place = at;
            }
        }
        Some(Self { text: text.into(), places })
    }

    /// The value itself.
    pub(super) const fn text(&self) -> &[u8] {
        &self.text
    }

    /// Adds a value, packed where that is shorter.
    pub(super) fn pack(&self, value: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        if is_packable(value) {
            out.push(PACKED);
            self.add_runs(value, out);
        }
        if out.len() == start || out.len() - start >= value.len() {
            out.truncate(start);
            out.extend_from_slice(value);
        }
    }

    fn add_runs(&self, value: &[u8], out: &mut Vec<u8>) {
        let (mut own, mut rest) = (0, value);
        while let Some(window) = rest.get(..WINDOW) {
            let place = self.places.get(slot(window)).copied().unwrap_or_default();
            let there = self.text.get(usize::from(place)..).unwrap_or_default();
            let same = rest.iter().zip(there).take_while(|(one, other)| one == other).count();
            let at = value.len() - rest.len();
            if same >= WINDOW {
                add_run(out, value.get(own..at).unwrap_or_default());
                out.extend_from_slice(&place.to_be_bytes());
                add_number(out, same);
                own = at + same;
            }
            rest = rest.get(if same >= WINDOW { same } else { 1 }..).unwrap_or_default();
        }
        add_run(out, value.get(own..).unwrap_or_default());
    }

    fn unpack(&self, mut runs: &[u8]) -> Option<Vec<u8>> {
        let mut value = Vec::with_capacity(self.text.len() * 2);
        loop {
            let own = take_number(&mut runs)?;
            value.extend_from_slice(runs.split_off(..own)?);
            if runs.is_empty() {
                return Some(value);
            }
            let (place, length) = (take_number(&mut runs)?, take_number(&mut runs)?);
            value.extend_from_slice(self.text.get(place..place + length)?);
        }
    }
}

/// The value that was kept, packed by this sample or as it is.
pub(super) fn unpacked<'a>(sample: Option<&Sample>, kept: &'a [u8]) -> io::Result<Cow<'a, [u8]>> {
    let Some(runs) = kept.strip_prefix(&[PACKED]) else { return Ok(kept.into()) };
    let value = sample.and_then(|sample| sample.unpack(runs));
    value.map(Cow::Owned).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a packed value is damaged"))
}

fn is_packable(value: &[u8]) -> bool {
    (BYTES_MIN..=BYTES_MAX).contains(&value.len())
}

/// Multiplied by the golden ratio, the high bits depend on all bytes.
fn slot(window: &[u8]) -> usize {
    let number = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let mixed = number(window.first_chunk()) ^ number(window.last_chunk()).rotate_left(29);
    usize::try_from(mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - SLOT_BITS)).unwrap_or_default()
}

fn add_run(out: &mut Vec<u8>, own: &[u8]) {
    add_number(out, own.len());
    out.extend_from_slice(own);
}

/// No number here is larger than a packable value is long.
fn add_number(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes());
}

fn take_number(runs: &mut &[u8]) -> Option<usize> {
    let (number, rest) = runs.split_first_chunk()?;
    *runs = rest;
    Some(u16::from_be_bytes(*number).into())
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
        assert_eq!(kept(&sample, unlike.as_bytes()), unlike.as_bytes());
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

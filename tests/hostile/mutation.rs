//! Valid documents made invalid, as somebody with bad intentions would.
#![expect(clippy::indexing_slicing, reason = "an index is taken within what it points into")]

use proptest::prelude::*;
use proptest::sample::Index;

/// What is put into documents: what readers stumble over.
const PIECES: &[&[u8]] = &[
    b"",
    b"\0",
    b".",
    b"..",
    b"-",
    b"\"",
    b"'",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"\n",
    b"\r\n",
    b"%",
    b"%00",
    b"%2F",
    b"=",
    b"&",
    b"{}",
    b"[]",
    b"null",
    b"true",
    b"-1",
    b"-0",
    b"0.1",
    b"1e999",
    b"18446744073709551616",
    b"9223372036854775808",
    b"99999999999999999999999999999999999999999",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",
    b"\xf0\x9f\x9a\x80",
    b"\xff\xff",
    b"*",
    b"**",
    b"@",
    b"{project_id}",
    b"-----BEGIN CERTIFICATE-----\n",
    b"\x30\x84\xff\xff\xff\xff",
];

/// What is put there many times over.
const REPEATED: &[&[u8]] = &[
    b"[",
    b"{\"a\":",
    b"a.",
    b"[[a]]\n",
    b"a=[",
    b"{a=",
    b"0",
    b"/",
    b".",
    b"*",
    b"\"a\":1,",
    b"\xbe",
    b"\0",
    b"=",
    b"x",
    b"\n",
];

/// One thing done to a document.
#[derive(Clone, Debug)]
enum Step {
    /// Flips a bit.
    Flip(Index, u8),
    /// Puts a piece in.
    Insert(Index, Index),
    /// Takes a range out.
    Remove(Index, u8),
    /// Says a range again, elsewhere: members and frames come twice.
    Repeat(Index, u8, Index),
    /// Puts the same in many times: depth, length, count.
    Heap(Index, Index, u16),
    /// Writes a piece over what is there.
    Replace(Index, Index, u8),
    /// Goes on as another document does.
    Splice(Index, Index),
    /// Ends.
    Truncate(Index),
}

/// One of the documents, with up to five things done to it; or any bytes at all.
pub(crate) fn mutations(documents: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let some = || any::<Index>();
    let step = prop_oneof![
        (some(), any::<u8>()).prop_map(|(at, bit)| Step::Flip(at, bit)),
        (some(), some()).prop_map(|(at, piece)| Step::Insert(at, piece)),
        (some(), any::<u8>()).prop_map(|(at, count)| Step::Remove(at, count)),
        (some(), any::<u8>(), some()).prop_map(|(at, count, to)| Step::Repeat(at, count, to)),
        (some(), some(), 1_u16..20_000).prop_map(|(at, piece, times)| Step::Heap(at, piece, times)),
        (some(), some(), any::<u8>()).prop_map(|(at, piece, count)| Step::Replace(at, piece, count)),
        (some(), some()).prop_map(|(at, other)| Step::Splice(at, other)),
        some().prop_map(Step::Truncate),
    ];
    let mutated = (some(), prop::collection::vec(step, 0..6)).prop_map(move |(which, steps)| {
        let mut document = which.get(&documents).clone();
        for step in &steps {
            step.apply(&mut document, &documents);
        }
        document
    });
    prop_oneof![4 => mutated, 1 => prop::collection::vec(any::<u8>(), 0..150)]
}

/// Programs of edits, six bytes each, and now and then something behind them.
pub(crate) fn edits() -> impl Strategy<Value = Vec<u8>> {
    let edit = prop_oneof![
        2 => any::<[u8; 6]>(),
        1 => any::<[u8; 5]>().prop_map(|[what, high, low, count, byte]| [what, u8::MAX, high, low, count, byte]),
        2 => (any::<[u8; 3]>(), 0_u8..4).prop_map(|([which, low, byte], high)| [5, which, high, low, 1, byte]),
    ];
    let more = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(any::<u8>(), 0..60)];
    let programs = prop_oneof![prop::collection::vec(edit.clone(), 1), prop::collection::vec(edit, 1..5)];
    (programs, more).prop_map(|(edits, more)| [edits.concat(), more].concat())
}

impl Step {
    fn apply(&self, document: &mut Vec<u8>, others: &[Vec<u8>]) {
        let length = document.len();
        let place = |at: &Index| at.index(length + 1);
        let range = |at: &Index, count: u8| place(at)..(place(at) + usize::from(count)).min(length);
        match self {
            Self::Flip(at, bit) if length > 0 => document[at.index(length)] ^= 1 << (bit % 8),
            Self::Flip(..) => {}
            Self::Insert(at, piece) => put(document, place(at)..place(at), PIECES[piece.index(PIECES.len())]),
            Self::Remove(at, count) => put(document, range(at, *count), b""),
            Self::Repeat(at, count, to) => {
                let again = document[range(at, *count)].to_vec();
                put(document, place(to)..place(to), &again);
            }
            Self::Heap(at, piece, times) => {
                put(document, place(at)..place(at), &REPEATED[piece.index(REPEATED.len())].repeat(usize::from(*times)));
            }
            Self::Replace(at, piece, count) => put(document, range(at, *count % 24), PIECES[piece.index(PIECES.len())]),
            Self::Splice(at, other) => {
                let other = other.get(others);
                put(document, place(at)..length, &other[at.index(other.len() + 1)..]);
            }
            Self::Truncate(at) => document.truncate(place(at)),
        }
    }
}

fn put(document: &mut Vec<u8>, place: std::ops::Range<usize>, bytes: &[u8]) {
    drop(document.splice(place, bytes.iter().copied()));
}

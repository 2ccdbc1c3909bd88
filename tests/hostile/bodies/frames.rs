//! The bytes of a client on a workload socket: what the library gets is whole frames, the same in whatever pieces.

use super::Seed;
use super::header_block::{self, BLOCK_COST, Field, only_the_authority_differs};
use super::law::can_be_shown;
use lanyard::agent::{FrameFilter, Violation};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;
/// One block more than what makes the filter wait.
const PASSED_BYTES_MAX: usize = 2 * 16_384 + 9;

/// One frame as it stands in a stream of bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: [u8; 4],
    payload: Vec<u8>,
}

impl Frame {
    /// The first frame of these bytes, if it is whole, and what follows.
    fn take(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (&[l0, l1, l2, kind, flags, ref stream @ ..], rest) = bytes.split_first_chunk::<9>()?;
        let (payload, rest) = rest.split_at_checked(usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2))?;
        Some((Self { kind, flags, stream: *stream, payload: payload.to_vec() }, rest))
    }

    fn write(&self) -> Vec<u8> {
        let [.., l0, l1, l2] = self.payload.len().to_be_bytes();
        [&[l0, l1, l2, self.kind, self.flags], self.stream.as_slice(), &self.payload].concat()
    }

    /// The fragment without padding, and the priority before it; for frames that the filter took.
    fn fragment(&self) -> (&[u8], &[u8]) {
        let mut payload = self.payload.as_slice();
        if self.kind == HEADERS && self.flags & PADDED != 0 {
            payload = &payload[1..payload.len() - usize::from(payload[0])];
        }
        payload.split_at(if self.kind == HEADERS && self.flags & PRIORITY != 0 { 5 } else { 0 })
    }
}

/// Connections: settings, a request in one frame, one in padded and continued pieces, data.
pub fn seeds() -> Vec<Seed> {
    let frame = |kind, flags, stream, payload: &[u8]| {
        Frame { kind, flags, stream: [0, 0, 0, stream], payload: payload.to_vec() }.write()
    };
    let blocks = header_block::blocks();
    let (head, tail) = blocks[1].split_at(blocks[1].len() / 2);
    let padded = [&[3, 0, 0, 0, 0, 16], head, &[0; 3]].concat();
    let whole = [
        PREFACE.to_vec(),
        frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]),
        frame(HEADERS, END_HEADERS, 1, &blocks[0]),
        frame(0, 1, 1, &[0, 0, 0, 0, 0]),
        frame(HEADERS, PADDED | PRIORITY, 3, &padded),
        frame(CONTINUATION, END_HEADERS, 3, tail),
        frame(6, 0, 0, &[7; 8]),
    ];
    let coded = [PREFACE, &frame(HEADERS, END_HEADERS | 1, 1, &blocks[2])].concat();
    vec![Seed::new("a-connection", whole.concat()), Seed::new("coded", coded)]
}

/// See the file's words.
pub fn body(bytes: &[u8]) -> bool {
    let (whole, outcome) = fed(bytes, 4096);
    let piece = 1 + bytes.len() % 37;
    let (in_pieces, same) = fed(bytes, piece);
    assert_eq!(same, outcome, "in pieces of {piece}");
    // What breaks the bounds ends all, and what stood before it in the same piece may have left or not.
    assert!(if outcome.is_ok() { in_pieces == whole } else { in_pieces.starts_with(&whole) }, "in pieces of {piece}");
    let Some(out) = in_pieces.strip_prefix(PREFACE) else {
        assert!(PREFACE.starts_with(&in_pieces));
        return outcome.is_ok();
    };
    leaves_as_it_came(bytes.strip_prefix(PREFACE).expect("what leaves has come"), out);
    outcome.is_ok()
}

/// All that passes, and what ended it.
fn fed(bytes: &[u8], piece: usize) -> (Vec<u8>, Result<(), Violation>) {
    let (mut filter, mut all) = (FrameFilter::default(), Vec::new());
    for mut piece in bytes.chunks(piece) {
        while !piece.is_empty() {
            let mut out = Vec::new();
            let length = piece.len();
            // Each block that ends in this piece costs what a block may cost.
            let rest = BLOCK_COST.of(length + 3 * 16_384, || filter.feed(piece, &mut out));
            assert!(out.len() < PASSED_BYTES_MAX, "{} bytes wait", out.len());
            all.extend(out);
            match rest {
                Ok(rest) => {
                    assert!(rest.len() < length, "some bytes are taken each time");
                    piece = rest;
                }
                Err(violation) => {
                    can_be_shown(&violation);
                    return (all, Err(violation));
                }
            }
        }
    }
    (all, Ok(()))
}

/// Every whole frame that left is one that came, or the block of one, in the same order.
fn leaves_as_it_came(mut came: &[u8], mut left: &[u8]) {
    let mut reader = header_block::reader();
    while let Some((out, rest)) = Frame::take(left) {
        left = rest;
        let (first, mut behind) = Frame::take(came).expect("what leaves has come");
        assert!(first.payload.len() <= 16_384 && ![5, CONTINUATION].contains(&out.kind));
        if first.kind != HEADERS {
            assert_eq!(first, out);
            came = behind;
            continue;
        }
        let (priority, fragment) = first.fragment();
        let (mut block, mut last) = (fragment.to_vec(), first.clone());
        while last.flags & END_HEADERS == 0 {
            (last, behind) = Frame::take(behind).expect("the block was whole");
            assert_eq!((last.kind, last.stream), (CONTINUATION, first.stream));
            block.extend_from_slice(last.fragment().1);
        }
        came = behind;
        assert_eq!((out.kind, out.stream), (HEADERS, first.stream));
        assert_eq!(out.flags, first.flags & !PADDED | END_HEADERS);
        let (kept, written) = out.fragment();
        assert_eq!(kept, priority);
        let fields: Vec<Field> = reader.decode(&block).expect("it was rewritten");
        only_the_authority_differs(&fields, written);
    }
    assert!(came.starts_with(left), "what is under way is untouched");
}

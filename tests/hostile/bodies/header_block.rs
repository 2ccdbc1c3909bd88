//! Header blocks of one connection, each behind two bytes of length: every field leaves as it came, but `:authority`.

use super::Seed;
use super::law::{Cost, can_be_shown};
use http::uri::Authority;
use lanyard::agent::BlockRewriter;
use loona_hpack::{Decoder, Encoder};

const BLOCK_BYTES_MAX: usize = 16_384;
const AUTHORITY: &[u8] = b":authority";
/// With 4 KiB more than the block has, since a byte may name a field of that size; no table is made for a string.
pub const BLOCK_COST: Cost = Cost { at_once: 16, in_all: 512, free: 64 * 1024 };

/// A field's name and value.
pub type Field = (Vec<u8>, Vec<u8>);

/// A reader of header blocks that shares nothing with ours but the library.
pub fn reader() -> Decoder<'static> {
    let mut decoder = Decoder::new();
    decoder.set_max_allowed_table_size(4096);
    decoder
}

/// A request of a client on gRPC's C core, twice, so that the second refers to the table of the first; and trailers.
pub fn blocks() -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new();
    let request: [(&[u8], &[u8]); 6] = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/SpiffeWorkloadAPI/FetchX509SVID"),
        (AUTHORITY, b"%2Frun%2Fspire.sock"),
        (b"te", b"trailers"),
        (b"workload.spiffe.io", b"true"),
    ];
    let (first, second) = (encoder.encode(request), encoder.encode(request));
    let coded =
        vec![0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
    vec![first, second, coded, Encoder::new().encode([(b"grpc-status".as_slice(), b"0".as_slice())])]
}

/// One connection each.
pub fn seeds() -> Vec<Seed> {
    let framed = |block: &Vec<u8>| [&u16::try_from(block.len()).unwrap().to_be_bytes(), block.as_slice()].concat();
    let blocks = blocks();
    vec![
        Seed::new("a-connection", blocks.iter().flat_map(framed).collect::<Vec<_>>()),
        Seed::new("coded", framed(&blocks[2])),
    ]
}

/// See the file's words.
pub fn body(bytes: &[u8]) -> bool {
    let (mut rewriter, mut reader) = (BlockRewriter::default(), reader());
    let mut rest = bytes;
    while let Some((length, behind)) = rest.split_first_chunk() {
        let (block, behind) = behind.split_at(usize::from(u16::from_be_bytes(*length)).min(behind.len()));
        rest = behind;
        match BLOCK_COST.of(block.len() + 4096, || rewriter.rewrite(block)) {
            Ok(written) => only_the_authority_differs(&reader.decode(block).expect("it was rewritten"), &written),
            Err(error) => {
                can_be_shown(&error);
                return false;
            }
        }
    }
    true
}

/// Holds a rewritten block against the fields that came.
pub fn only_the_authority_differs(came: &[Field], written: &[u8]) {
    assert!(written.len() <= BLOCK_BYTES_MAX);
    let mut fresh = reader();
    let left = fresh.decode(written).expect("what is written is HPACK");
    let again = fresh.decode(written).expect("and leaves no trace in the table");
    assert_eq!(left, again);
    let others = |fields: &[Field]| fields.iter().filter(|(name, _)| name != AUTHORITY).cloned().collect::<Vec<_>>();
    let names = |fields: &[Field]| {
        fields.iter().filter(|(name, _)| name == AUTHORITY).map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    assert_eq!(others(came), others(&left));
    let (sent, kept) = (names(came), names(&left));
    let is_request = came.iter().any(|(name, _)| name == b":method") || !sent.is_empty();
    assert_eq!(kept.len(), usize::from(is_request));
    assert!(kept.iter().all(|name| Authority::try_from(name.as_slice()).is_ok()));
    if let ([sent], [kept]) = (sent.as_slice(), kept.as_slice())
        && Authority::try_from(sent.as_slice()).is_ok()
    {
        assert_eq!(sent, kept, "a good name stays");
    }
}

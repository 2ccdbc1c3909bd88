//! HPACK's Huffman code, read (RFC 7541 §5.2): with one table for all strings, where the HPACK library makes one for each.
//!
//! The code of Appendix B is canonical: shorter codes come first, and among equals the smaller symbol. So the lengths say
//! it all.

/// The end of a string; it never stands in one.
const EOS: usize = 256;

/// The longest code.
const LENGTH_MAX: usize = 30;

/// How many bits each symbol has (RFC 7541 Appendix B).
#[rustfmt::skip]
const LENGTHS: [u8; EOS + 1] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// Codes by their length.
struct Table {
    /// Of each length: its first code, how many there are, and where their symbols begin.
    runs: [(u32, u32, usize); LENGTH_MAX + 1],
    /// By length, then by value.
    symbols: [Option<u8>; EOS + 1],
}

static TABLE: std::sync::LazyLock<Table> = std::sync::LazyLock::new(|| {
    let mut symbols: Vec<(u8, Option<u8>)> =
        LENGTHS.iter().enumerate().map(|(symbol, bits)| (*bits, u8::try_from(symbol).ok())).collect();
    // Stable: among equals the smaller symbol stays first.
    symbols.sort_by_key(|(bits, _symbol)| *bits);
    let mut table = Table { runs: [(0, 0, 0); LENGTH_MAX + 1], symbols: [None; EOS + 1] };
    let (mut code, mut begin) = (0, 0);
    for (bits, run) in (0_u8..).zip(&mut table.runs) {
        let count = symbols.iter().filter(|(of, _)| *of == bits).count();
        code *= 2;
        *run = (code, u32::try_from(count).unwrap_or_default(), begin);
        code += run.1;
        begin += count;
    }
    for (place, (_bits, symbol)) in table.symbols.iter_mut().zip(symbols) {
        *place = symbol;
    }
    table
});

/// The plain string; none for what is no string in this code: the end in the middle, or padding that is not the
/// first bits of the end, or a byte of it or more.
pub(super) fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    let table = &*TABLE;
    let mut plain = Vec::with_capacity(coded.len() * 8 / 5);
    let (mut code, mut length) = (0_u32, 0_usize);
    let bits = coded.iter().flat_map(|byte| (0..8).rev().map(move |at| u32::from(byte >> at & 1)));
    for bit in bits {
        (code, length) = (code << 1 | bit, length + 1);
        let (first, count, begin) = *table.runs.get(length)?;
        let Some(nth) = code.checked_sub(first).filter(|nth| *nth < count) else { continue };
        plain.push((*table.symbols.get(begin + usize::try_from(nth).ok()?)?)?);
        (code, length) = (0, 0);
    }
    let padding_is_ones = code == (1 << length) - 1;
    (length < 8 && padding_is_ones).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use loona_hpack::huffman::HuffmanDecoder;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_rfc_7541_appendix_c_4() {
        let coded = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decode(&coded).unwrap(), b"www.example.com");
        assert_eq!(decode(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).unwrap(), b"no-cache");
        assert_eq!(decode(&[]).unwrap(), b"");
        for odd in [&[0xff][..], &[0xff; 4], &[0xf1, 0xe3, 0xff, 0xff], &[0x00, 0x00]] {
            assert_eq!(decode(odd), None, "{odd:?}");
        }
    }

    proptest! {
        #[test]
        fn the_library_reads_the_same(coded in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xff)], 0..40)) {
            prop_assert_eq!(decode(&coded), HuffmanDecoder::new().decode(&coded).ok());
        }
    }
}

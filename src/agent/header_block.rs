//! One HTTP/2 header block rewritten, so that the HTTP library reads the `:authority` of any gRPC client.
//!
//! **Why**: clients on gRPC's C core send the percent-encoded socket path as `:authority`, grpc-java the raw one;
//! the HTTP library parses it as a URI authority and resets the stream before any of our code runs.
//!
//! **Invariants**: a request leaves with exactly one `:authority` that the HTTP library takes; every other field
//! leaves as it came. What comes out refers to no table, so the library's own HPACK state stays empty.
//! Work and memory per block are bounded before the HPACK library sees a byte: it makes its Huffman table anew
//! for each string, and one byte may name a field of 4 KiB.

use http::uri::Authority;
use loona_hpack::Decoder;
use std::borrow::Cow;

/// Bytes of one header block, as they come and as they leave; also the largest frame that HTTP/2 allows unasked
/// (RFC 9113 §4.2), so that a rewritten block always fits one frame.
pub(super) const BLOCK_BYTES_MAX: usize = 16_384;

/// Fields of one header block. gRPC clients send about ten.
const FIELDS_MAX: usize = 128;

/// What HTTP/2 lets a sender assume (RFC 9113 §6.5.2, `SETTINGS_HEADER_TABLE_SIZE`).
const TABLE_BYTES_MAX: usize = 4096;

/// Stands in for a name that is none: whoever is on our socket means us.
const LOCALHOST: &[u8] = b"localhost";

const AUTHORITY: &[u8] = b":authority";

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BlockError {
    /// Not HPACK (RFC 7541).
    #[error("the header block is not HPACK")]
    Malformed,
    /// More fields, or more bytes, than we read.
    #[error("the header block is larger than {BLOCK_BYTES_MAX} bytes or {FIELDS_MAX} fields")]
    TooLarge,
}

/// Rewrites the header blocks of one connection, in the order they come.
pub struct BlockRewriter(Decoder<'static>);

impl std::fmt::Debug for BlockRewriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlockRewriter")
    }
}

impl Default for BlockRewriter {
    fn default() -> Self {
        let mut decoder = Decoder::new();
        decoder.set_max_allowed_table_size(TABLE_BYTES_MAX);
        Self(decoder)
    }
}

impl BlockRewriter {
    /// The same fields as literals without indexing (RFC 7541 §6.2.2), with an `:authority` that the library takes.
    ///
    /// # Errors
    /// See [`BlockError`].
    pub fn rewrite(&mut self, block: &[u8]) -> Result<Vec<u8>, BlockError> {
        if count_fields(block)? > FIELDS_MAX {
            return Err(BlockError::TooLarge);
        }
        let mut fields = Fields::default();
        self.0
            .decode_with_cb(block, |name, value| fields.add(&name, &value))
            .map_err(|_hpack| BlockError::Malformed)?;
        fields.finish()
    }
}

/// What one block says, encoded again while it is read.
#[derive(Default)]
struct Fields {
    encoded: Vec<u8>,
    authorities: usize,
    authority: Option<Vec<u8>>,
    is_request: bool,
    too_large: bool,
}

impl Fields {
    fn add(&mut self, name: &[u8], value: &[u8]) {
        // 8: two lengths of at most three bytes each and the kind, generously.
        if self.too_large || self.encoded.len() + name.len() + value.len() + 8 > BLOCK_BYTES_MAX {
            self.too_large = true;
        } else if name == AUTHORITY {
            self.authorities += 1;
            self.authority = Some(value.to_vec());
        } else {
            self.is_request |= name == b":method";
            encode(name, value, &mut self.encoded);
        }
    }

    fn finish(self) -> Result<Vec<u8>, BlockError> {
        if !self.is_request && self.authorities == 0 {
            return if self.too_large { Err(BlockError::TooLarge) } else { Ok(self.encoded) };
        }
        let kept = self.authority.filter(|name| self.authorities == 1 && Authority::try_from(name.as_slice()).is_ok());
        let authority = kept.map_or(Cow::Borrowed(LOCALHOST), Cow::Owned);
        // Pseudo-fields stand before the others (RFC 9113 §8.3), in any order.
        let mut block = Vec::with_capacity(self.encoded.len() + authority.len() + 16);
        encode(AUTHORITY, &authority, &mut block);
        block.extend_from_slice(&self.encoded);
        if self.too_large || block.len() > BLOCK_BYTES_MAX { Err(BlockError::TooLarge) } else { Ok(block) }
    }
}

/// How many field representations a block holds (RFC 7541 §6), by walking their lengths only.
fn count_fields(mut block: &[u8]) -> Result<usize, BlockError> {
    let mut fields = 0;
    while let Some(&kind) = block.first() {
        fields += 1;
        block = match kind {
            0x80.. => skip_integer(block, 7)?.1,
            0x20..0x40 => skip_integer(block, 5)?.1,
            _ => {
                let (name, rest) = skip_integer(block, if kind >= 0x40 { 6 } else { 4 })?;
                let value = if name == 0 { skip_string(rest)? } else { rest };
                skip_string(value)?
            }
        };
    }
    Ok(fields)
}

/// Reads an integer of RFC 7541 §5.1, of at most four octets after the prefix.
fn skip_integer(bytes: &[u8], prefix: u32) -> Result<(usize, &[u8]), BlockError> {
    let (first, mut rest) = bytes.split_first().ok_or(BlockError::Malformed)?;
    let mask = (1_usize << prefix) - 1;
    let mut value = usize::from(*first) & mask;
    if value < mask {
        return Ok((value, rest));
    }
    for shift in [0, 7, 14, 21] {
        let (octet, behind) = rest.split_first().ok_or(BlockError::Malformed)?;
        value += usize::from(octet & 0x7f) << shift;
        rest = behind;
        if octet & 0x80 == 0 {
            return Ok((value, rest));
        }
    }
    Err(BlockError::Malformed)
}

fn skip_string(bytes: &[u8]) -> Result<&[u8], BlockError> {
    let (length, rest) = skip_integer(bytes, 7)?;
    rest.get(length..).ok_or(BlockError::Malformed)
}

/// Appends a literal field without indexing, new name, no Huffman code (RFC 7541 §6.2.2).
fn encode(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.push(0);
    for string in [name, value] {
        encode_length(string.len(), out);
        out.extend_from_slice(string);
    }
}

/// Appends an integer with a prefix of seven bits (RFC 7541 §5.1).
fn encode_length(length: usize, out: &mut Vec<u8>) {
    let Some(mut more) = length.checked_sub(127) else {
        out.extend(u8::try_from(length));
        return;
    };
    out.push(127);
    while more >= 128 {
        out.extend(u8::try_from(more % 128 + 128));
        more /= 128;
    }
    out.extend(u8::try_from(more));
}

#[cfg(test)]
mod tests {
    use super::*;
    use loona_hpack::Encoder;
    use proptest::prelude::*;

    fn rewritten(block: &[u8]) -> Vec<(String, String)> {
        let block = BlockRewriter::default().rewrite(block).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Decoder::new().decode(&block).unwrap().into_iter().map(|(n, v)| (text(n), text(v))).collect()
    }

    fn request(authorities: &[&str]) -> Vec<u8> {
        let mut fields = vec![(b":method".as_slice(), b"POST".as_slice()), (b":path", b"/S/M")];
        fields.extend(authorities.iter().map(|name| (AUTHORITY, name.as_bytes())));
        fields.push((b"workload.spiffe.io", b"true"));
        Encoder::new().encode(fields)
    }

    /// Shows: RUN-1, EP-18.
    #[test]
    fn an_authority_that_is_none_becomes_localhost_and_a_good_one_stays() {
        let long = "a/".repeat(3000);
        for (sent, seen) in [
            (vec![], "localhost"),
            (vec!["localhost"], "localhost"),
            (vec!["outbound|8080||spire-agent"], "localhost"),
            (vec!["spire_agent.local:80"], "spire_agent.local:80"),
            (vec![""], "localhost"),
            (vec!["/tmp/a.sock"], "localhost"),
            (vec!["%2Ftmp%2Fa.sock"], "localhost"),
            (vec!["a", "b"], "localhost"),
            (vec![&*long], "localhost"),
        ] {
            let fields = rewritten(&request(&sent));
            let names =
                |n: &str| fields.iter().filter(|(name, _)| name == n).map(|(_, v)| v.clone()).collect::<Vec<_>>();
            assert_eq!(names(":authority"), [seen], "{sent:?}");
            assert_eq!(names("workload.spiffe.io"), ["true"]);
            assert_eq!(names(":path"), ["/S/M"]);
        }
    }

    #[test]
    fn trailers_get_no_authority() {
        let trailers = Encoder::new().encode([(b"grpc-status".as_slice(), b"0".as_slice())]);
        assert_eq!(rewritten(&trailers), [("grpc-status".to_owned(), "0".to_owned())]);
    }

    #[test]
    fn fields_of_the_dynamic_table_are_read_in_the_next_block() {
        let mut filter = BlockRewriter::default();
        let first = [&[0x83, 0x41, 4], b"%2Fa".as_slice(), &[0x40, 3], b"x-a", &[1], b"1"].concat();
        let first = filter.rewrite(&first).unwrap();
        assert_eq!(filter.rewrite(&[0x83, 0xbf, 0xbe]).unwrap(), first);
    }

    #[test]
    fn a_small_block_that_unfolds_into_a_large_one_is_refused() {
        let mut rewriter = BlockRewriter::default();
        let value = [b'v'; 4000];
        let block = Encoder::new().encode([(b"x".as_slice(), value.as_slice())]);
        rewriter.rewrite(&block).unwrap();
        assert_eq!(rewriter.rewrite(&[0xbe; 5]), Err(BlockError::TooLarge));
        assert_eq!(rewriter.rewrite(&[0x82; FIELDS_MAX + 1]), Err(BlockError::TooLarge));
        assert_eq!(rewriter.rewrite(&[0x3f, 0xff, 0xff, 0x7f]), Err(BlockError::Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_rewritten_or_refused(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..4)) {
            let mut rewriter = BlockRewriter::default();
            for block in blocks {
                match rewriter.rewrite(&block) {
                    Ok(out) => prop_assert!(out.len() <= BLOCK_BYTES_MAX && Decoder::new().decode(&out).is_ok()),
                    Err(_) => break,
                }
            }
        }

        #[test]
        fn lengths_read_back(length in 0_usize..20_000) {
            let mut out = Vec::new();
            encode_length(length, &mut out);
            prop_assert_eq!(skip_integer(&out, 7), Ok((length, [].as_slice())));
        }
    }
}

//! A connection whose client may name us as it likes: the bounded filter in front of the HTTP/2 library on Unix sockets.
//!
//! It reads the client's frames, rewrites the header blocks (see `header_block`) and lets every other frame through
//! untouched; what we send is not looked at. Nothing is kept but the frame header and a header block under way.
//! Any violation of its bounds ends the connection.
//!
//! **Spec**: RFC 9113 §3.4 (preface), §4.1 (frames), §6.2 (HEADERS), §6.10 (CONTINUATION).

use super::calls::{Connection, OpenCalls};
use super::desk::Guest;
use super::header_block::{BLOCK_BYTES_MAX, BlockError, BlockRewriter};
use super::limits::{FIRST_REQUEST_WITHIN, IDLE_LOOKED_AT_EVERY};
use super::places::Taken;
use crate::clock::{Clock, Wait};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tonic::transport::server::Connected;

/// What every client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The largest payload that a peer may send unasked (RFC 9113 §4.2); the library asks for no more.
const FRAME_BYTES_MAX: usize = 16_384;

/// CONTINUATION frames of one block: enough for the largest block in 1 KiB pieces, too few for a flood of empty ones.
const CONTINUATIONS_MAX: usize = 16;

/// Bytes read from the socket at a time.
const CHUNK_BYTES: usize = 4096;

/// Once so much waits for the library, no more of the client is looked at: a chunk may hold some three hundred header
/// blocks, and each may unfold into 16 KiB.
const PASSED_BYTES_MAX: usize = 16_384;

const HEADERS: u8 = 1;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x04;
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;

/// Why a client's connection ends here.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Violation {
    /// A header block that cannot be rewritten.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// A block is interrupted, goes on for too long, or goes on without having begun (RFC 9113 §6.10).
    #[error("the header block is not continued as HTTP/2 asks")]
    Continuation,
    /// Longer than we allow.
    #[error("a frame of {0} bytes is longer than {FRAME_BYTES_MAX}")]
    FrameTooLong(usize),
    /// Longer than what holds it.
    #[error("a frame's padding or priority is longer than the frame")]
    Padding,
    /// The first bytes are not those of RFC 9113 §3.4.
    #[error("not an HTTP/2 client")]
    Preface,
    /// Only servers push.
    #[error("a client cannot promise a push")]
    Push,
}

/// A frame's nine bytes in front.
#[derive(Clone, Copy, Debug)]
struct FrameHeader {
    length: usize,
    kind: u8,
    flags: u8,
    stream: [u8; 4],
}

impl FrameHeader {
    fn parse(&[l0, l1, l2, kind, flags, ref stream @ ..]: &[u8; 9]) -> Result<Self, Violation> {
        let length = usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2);
        if length > FRAME_BYTES_MAX {
            return Err(Violation::FrameTooLong(length));
        }
        Ok(Self { length, kind, flags, stream: *stream })
    }
}

/// A header block that is not complete yet.
#[derive(Debug)]
struct Block {
    /// The HEADERS frame that began it.
    first: FrameHeader,
    /// The five bytes of the priority flag, if set.
    priority: Vec<u8>,
    fragments: Vec<u8>,
    continuations: usize,
}

/// Where in the client's bytes we are.
#[derive(Debug)]
enum Place {
    /// So many bytes of the preface have come.
    Preface(usize),
    /// In a frame's header, with what has come of it.
    Header([u8; 9], usize),
    /// In the payload of a frame that passes untouched; so many bytes are to come.
    Passing(usize),
    /// In the payload of a frame of a header block, with what has come of it.
    Collecting(FrameHeader, Vec<u8>),
}

/// The frames of one client, bytes in and bytes out; knows no socket.
#[derive(Debug)]
pub struct FrameFilter {
    place: Place,
    block: Option<Block>,
    rewriter: BlockRewriter,
    /// A whole header block has come.
    asked: bool,
}

impl Default for FrameFilter {
    fn default() -> Self {
        Self { place: Place::Preface(0), block: None, rewriter: BlockRewriter::default(), asked: false }
    }
}

impl FrameFilter {
    /// Takes the next bytes of the client, in pieces of any size, and appends what the library shall read. Gives back
    /// what it has not looked at because enough waits in `out`.
    ///
    /// # Errors
    /// What ends the connection; `out` holds what came before it.
    pub fn feed<'a>(&mut self, mut bytes: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], Violation> {
        while !bytes.is_empty() && out.len() < PASSED_BYTES_MAX {
            bytes = self.step(bytes, out)?;
        }
        Ok(bytes)
    }

    /// Takes some bytes, at least one, and gives back the rest.
    fn step<'a>(&mut self, bytes: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], Violation> {
        match &mut self.place {
            Place::Preface(seen) => {
                let wanted = PREFACE.get(*seen..).unwrap_or_default();
                let (now, rest) = bytes.split_at(wanted.len().min(bytes.len()));
                if !wanted.starts_with(now) {
                    return Err(Violation::Preface);
                }
                out.extend_from_slice(now);
                *seen += now.len();
                if *seen == PREFACE.len() {
                    self.next_frame();
                }
                Ok(rest)
            }
            Place::Header(header, seen) => {
                let taken = (header.len() - *seen).min(bytes.len());
                let (now, rest) = bytes.split_at(taken);
                for (to, from) in header.iter_mut().skip(*seen).zip(now) {
                    *to = *from;
                }
                *seen += taken;
                if *seen == header.len() {
                    let header = *header;
                    self.begin(header, out)?;
                }
                Ok(rest)
            }
            Place::Passing(left) => {
                let (now, rest) = bytes.split_at((*left).min(bytes.len()));
                out.extend_from_slice(now);
                *left -= now.len();
                if *left == 0 {
                    self.next_frame();
                }
                Ok(rest)
            }
            Place::Collecting(frame, payload) => {
                let (now, rest) = bytes.split_at((frame.length - payload.len()).min(bytes.len()));
                payload.extend_from_slice(now);
                if payload.len() == frame.length {
                    let (frame, payload) = (*frame, std::mem::take(payload));
                    self.collect(frame, &payload, out)?;
                }
                Ok(rest)
            }
        }
    }

    fn next_frame(&mut self) {
        self.place = Place::Header([0; 9], 0);
    }

    /// A frame's header is complete: decides what happens to its payload.
    fn begin(&mut self, bytes: [u8; 9], out: &mut Vec<u8>) -> Result<(), Violation> {
        let frame = FrameHeader::parse(&bytes)?;
        match (&self.block, frame.kind) {
            (Some(block), CONTINUATION) if block.first.stream == frame.stream => {}
            (None, HEADERS) => {}
            (Some(_), _) | (None, CONTINUATION) => return Err(Violation::Continuation),
            (None, PUSH_PROMISE) => return Err(Violation::Push),
            (None, _) => {
                out.extend_from_slice(&bytes);
                if frame.length == 0 {
                    self.next_frame();
                } else {
                    self.place = Place::Passing(frame.length);
                }
                return Ok(());
            }
        }
        if frame.length == 0 {
            return self.collect(frame, &[], out);
        }
        self.place = Place::Collecting(frame, Vec::with_capacity(frame.length));
        Ok(())
    }

    /// A frame of a header block is complete; writes the block out once the last one is.
    fn collect(&mut self, frame: FrameHeader, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Violation> {
        let block = match self.block.take() {
            None => Block::begin(frame, payload)?,
            Some(block) => block.continued(payload)?,
        };
        if frame.flags & END_HEADERS == 0 {
            self.block = Some(block);
        } else {
            block.write(&mut self.rewriter, out)?;
            self.asked = true;
        }
        self.next_frame();
        Ok(())
    }
}

impl Block {
    fn begin(first: FrameHeader, mut payload: &[u8]) -> Result<Self, Violation> {
        if first.flags & PADDED != 0 {
            let (padding, rest) = payload.split_first().ok_or(Violation::Padding)?;
            let kept = rest.len().checked_sub(usize::from(*padding)).ok_or(Violation::Padding)?;
            payload = rest.get(..kept).ok_or(Violation::Padding)?;
        }
        let priority_bytes = if first.flags & PRIORITY == 0 { 0 } else { 5 };
        let (priority, fragment) = payload.split_at_checked(priority_bytes).ok_or(Violation::Padding)?;
        Ok(Self { first, priority: priority.to_vec(), fragments: fragment.to_vec(), continuations: 0 })
    }

    fn continued(mut self, fragment: &[u8]) -> Result<Self, Violation> {
        self.continuations += 1;
        if self.continuations > CONTINUATIONS_MAX {
            return Err(Violation::Continuation);
        }
        if self.fragments.len() + fragment.len() > BLOCK_BYTES_MAX {
            return Err(BlockError::TooLarge.into());
        }
        self.fragments.extend_from_slice(fragment);
        Ok(self)
    }

    /// Appends the whole block as one HEADERS frame, without padding.
    fn write(self, rewriter: &mut BlockRewriter, out: &mut Vec<u8>) -> Result<(), Violation> {
        let block = rewriter.rewrite(&self.fragments)?;
        let length = self.priority.len() + block.len();
        if length > FRAME_BYTES_MAX {
            return Err(BlockError::TooLarge.into());
        }
        let [.., l0, l1, l2] = length.to_be_bytes();
        out.extend_from_slice(&[l0, l1, l2, HEADERS, self.first.flags & !PADDED | END_HEADERS]);
        out.extend_from_slice(&self.first.stream);
        out.extend_from_slice(&self.priority);
        out.extend_from_slice(&block);
        Ok(())
    }
}

/// A Unix socket's connection through the filter.
pub(super) struct AnyAuthority {
    inner: UnixStream,
    filter: FrameFilter,
    /// What came from the client and the filter has not looked at.
    unread: Vec<u8>,
    /// What the filter let through and the library has not read yet.
    passed: Vec<u8>,
    read: usize,
    /// Whoever is at its other end.
    guest: Guest,
    /// Its share of the connections that may be open; given back with the connection.
    _place: Taken,
    calls: Arc<OpenCalls>,
    clock: Arc<dyn Clock>,
    /// When to look again whether anything is asked here.
    look: Wait,
    /// How many calls there had been, if none was open, at the last look.
    seen_idle_after: Option<usize>,
}

impl AnyAuthority {
    pub(super) fn new(inner: UnixStream, (guest, place): (Guest, Taken), clock: Arc<dyn Clock>) -> Self {
        let look = clock.wait_until(clock.now() + FIRST_REQUEST_WITHIN);
        let (filter, calls) = (FrameFilter::default(), Arc::default());
        let (unread, passed) = (Vec::new(), Vec::new());
        Self { inner, filter, unread, passed, read: 0, guest, _place: place, calls, clock, look, seen_idle_after: None }
    }

    /// Whether nothing was asked in time, or not for a long time. Looked at now and then: a call's end wakes nobody here.
    fn is_forgotten(&mut self, cx: &mut Context<'_>) -> bool {
        while self.look.as_mut().poll(cx).is_ready() {
            let idle_after = self.calls.begun_if_idle();
            if !self.filter.asked || idle_after.is_some() && idle_after == self.seen_idle_after {
                return true;
            }
            self.seen_idle_after = idle_after;
            self.look = self.clock.wait_until(self.clock.now() + IDLE_LOOKED_AT_EVERY);
        }
        false
    }
}

impl AsyncRead for AnyAuthority {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_forgotten(cx) {
            tracing::debug!("a workload's connection on which nothing was asked is closed");
            // As if the client had gone: nothing is under way that could be cut off.
            return Poll::Ready(Ok(()));
        }
        let Self { inner, filter, unread, passed, read, .. } = this;
        while *read == passed.len() {
            // An idle connection keeps no buffer.
            (*passed, *read) = (Vec::new(), 0);
            let mut chunk = [0; CHUNK_BYTES];
            let mut chunk = ReadBuf::new(&mut chunk);
            if unread.is_empty() {
                ready!(Pin::new(&mut *inner).poll_read(cx, &mut chunk))?;
            }
            let come = if unread.is_empty() { chunk.filled() } else { unread.as_slice() };
            if come.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let rest = filter.feed(come, passed).map_err(|violation| {
                tracing::debug!(%violation, "a workload's connection was closed");
                io::Error::new(io::ErrorKind::InvalidData, violation)
            })?;
            *unread = rest.to_vec();
        }
        let left = passed.get(*read..).unwrap_or_default();
        let now = left.get(..left.len().min(buf.remaining())).unwrap_or_default();
        buf.put_slice(now);
        *read += now.len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for AnyAuthority {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

impl Connected for AnyAuthority {
    type ConnectInfo = Connection;

    fn connect_info(&self) -> Connection {
        Connection { guest: self.guest.clone(), calls: Arc::clone(&self.calls) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::desk::tests::desk_for_all;
    use crate::agent::places::Places;
    use crate::clock::ManualClock;
    use loona_hpack::{Decoder, Encoder};
    use proptest::prelude::*;
    use std::time::Duration;
    use time::OffsetDateTime;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let [.., l0, l1, l2] = payload.len().to_be_bytes();
        [&[l0, l1, l2, kind, flags, 0, 0, 0, stream], payload].concat()
    }

    fn request() -> Vec<u8> {
        Encoder::new().encode([(b":method".as_slice(), b"POST".as_slice()), (b":authority", b"%2Fa")])
    }

    fn fed(frames: &[Vec<u8>], piece: usize) -> Result<Vec<u8>, Violation> {
        let (mut filter, mut all) = (FrameFilter::default(), Vec::new());
        for mut piece in [PREFACE, &frames.concat()].concat().chunks(piece) {
            while !piece.is_empty() {
                let mut out = Vec::new();
                piece = filter.feed(piece, &mut out)?;
                all.extend(out);
            }
        }
        Ok(all.split_off(PREFACE.len()))
    }

    /// Shows: RUN-1.
    #[test]
    fn a_block_in_padded_and_continued_pieces_leaves_as_one_frame() {
        let block = request();
        let (head, tail) = block.split_at(3);
        let first = [&[2], [9; 5].as_slice(), head, &[0, 0]].concat();
        let frames = [
            frame(4, 0, 0, &[]),
            frame(HEADERS, PADDED | PRIORITY | 1, 1, &first),
            frame(CONTINUATION, END_HEADERS, 1, tail),
            frame(0, 1, 1, b"body"),
        ];
        let whole = fed(&frames, 10_000).unwrap();
        for piece in 1..20 {
            assert_eq!(fed(&frames, piece).unwrap(), whole, "in pieces of {piece}");
        }
        let rewritten = &whole[9..whole.len() - 13];
        assert_eq!(rewritten[3..5], [HEADERS, PRIORITY | END_HEADERS | 1]);
        assert_eq!(rewritten[9..14], [9; 5]);
        let fields = Decoder::new().decode(&rewritten[14..]).unwrap();
        assert!(fields.contains(&(b":authority".to_vec(), b"localhost".to_vec())));
        assert_eq!(whole[whole.len() - 13..], frame(0, 1, 1, b"body"));
    }

    #[test]
    fn what_breaks_the_bounds_ends_the_connection() {
        let flood: Vec<_> =
            std::iter::once(frame(HEADERS, 0, 1, &[])).chain((0..20).map(|_| frame(CONTINUATION, 0, 1, &[]))).collect();
        let large = [frame(HEADERS, 0, 1, &[0; 16_000]), frame(CONTINUATION, END_HEADERS, 1, &[0; 400])];
        for (frames, violation) in [
            (vec![frame(0, 0, 1, &[0; 16_385])], Violation::FrameTooLong(16_385)),
            (vec![frame(CONTINUATION, END_HEADERS, 1, &[])], Violation::Continuation),
            (vec![frame(HEADERS, 0, 1, &request()), frame(0, 0, 1, &[])], Violation::Continuation),
            (vec![frame(HEADERS, 0, 1, &[]), frame(CONTINUATION, END_HEADERS, 3, &[])], Violation::Continuation),
            (flood, Violation::Continuation),
            (large.to_vec(), Violation::Block(BlockError::TooLarge)),
            (vec![frame(PUSH_PROMISE, END_HEADERS, 1, &[])], Violation::Push),
            (vec![frame(HEADERS, PADDED | END_HEADERS, 1, &[2, 0])], Violation::Padding),
            (vec![frame(HEADERS, PRIORITY | END_HEADERS, 1, &[0; 4])], Violation::Padding),
            (vec![frame(HEADERS, END_HEADERS, 1, &[0xff])], Violation::Block(BlockError::Malformed)),
        ] {
            assert_eq!(fed(&frames, 4096), Err(violation));
        }
        assert_eq!(FrameFilter::default().feed(b"GET / HTTP/1.1\r\n", &mut Vec::new()), Err(Violation::Preface));
    }

    #[test]
    fn a_chunk_of_blocks_that_unfold_waits_until_the_library_has_read() {
        let value = [b'v'; 4000];
        let large = Encoder::new().encode([(b"x".as_slice(), value.as_slice())]);
        let small = frame(HEADERS, END_HEADERS, 3, &[0xbe; 4]);
        let mut frames = [PREFACE, &frame(HEADERS, END_HEADERS, 1, &large)].concat();
        frames.extend(small.repeat(300));
        let (mut filter, mut rest, mut rounds) = (FrameFilter::default(), frames.as_slice(), 0);
        while !rest.is_empty() {
            let mut out = Vec::new();
            rest = filter.feed(rest, &mut out).unwrap();
            assert!(out.len() < PASSED_BYTES_MAX + FRAME_BYTES_MAX + 9);
            rounds += 1;
        }
        assert_eq!(rounds, 301 / 2 + 1);
    }

    /// Reads until nothing more is there; whether the connection has ended.
    async fn has_ended(server: &mut AnyAuthority) -> bool {
        let mut read = [0; 4096];
        let reading = async { while server.read(&mut read).await.unwrap() > 0 {} };
        tokio::time::timeout(Duration::from_millis(50), reading).await.is_ok()
    }

    #[tokio::test]
    async fn a_connection_on_which_nothing_is_asked_ends_and_one_with_an_open_call_stays() {
        let clock = Arc::new(ManualClock::at(OffsetDateTime::UNIX_EPOCH));
        let connection = async |asked: &[u8]| {
            let (mut client, server) = UnixStream::pair().unwrap();
            client.write_all(asked).await.unwrap();
            let places = Places::new(9, 9);
            let guest = desk_for_all().meet(&server);
            let place = places.seat(guest.holder(), places.share().await.unwrap()).unwrap();
            (client, AnyAuthority::new(server, (guest, place), Arc::<ManualClock>::clone(&clock)))
        };
        let asked = [PREFACE, &frame(HEADERS, END_HEADERS | 1, 1, &request())].concat();
        let (_silent_client, mut silent) = connection(PREFACE).await;
        let (_idle_client, mut idle) = connection(&asked).await;
        let (_busy_client, mut busy) = connection(&asked).await;
        let call = busy.calls.begin();
        assert!(!has_ended(&mut silent).await && !has_ended(&mut idle).await && !has_ended(&mut busy).await);
        clock.advance(FIRST_REQUEST_WITHIN);
        assert!(has_ended(&mut silent).await && !has_ended(&mut idle).await && !has_ended(&mut busy).await);
        clock.advance(IDLE_LOOKED_AT_EVERY);
        assert!(has_ended(&mut idle).await && !has_ended(&mut busy).await);
        drop(call);
        clock.advance(IDLE_LOOKED_AT_EVERY);
        assert!(!has_ended(&mut busy).await, "it was not idle all the time");
        clock.advance(IDLE_LOOKED_AT_EVERY);
        assert!(has_ended(&mut busy).await);
    }

    proptest! {
        #[test]
        fn any_bytes_pass_or_end_the_connection_alike_in_any_pieces(
            frames in prop::collection::vec(
                (0_u8..11, any::<u8>(), 0_u8..3, prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            piece in 1_usize..50,
        ) {
            let frames: Vec<_> = frames.iter().map(|(kind, flags, stream, body)| frame(*kind, *flags, *stream, body)).collect();
            prop_assert_eq!(fed(&frames, piece), fed(&frames, 100_000));
        }
    }
}

//! What the issuer port lets anybody hold before anything is believed: every number of that door.
//!
//! Handshakes have theirs in `tls/issuer_door.rs`, the other doors in files of their own; `docs/security-model.md` has all
//! in one table.

use std::time::Duration;

/// Ten thousand agents with an open stream each, and as many jobs beside them.
pub const CONNECTIONS_MAX: usize = 20_000;
/// Nobody may take all places; half of them leaves room for a whole cluster behind one address.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = CONNECTIONS_MAX / 2;
/// For a balancer's PROXY header, which it sends at once; the protocol asks for three seconds at least.
pub const INTRODUCED_WITHIN: Duration = Duration::from_secs(5);
/// Between a connection and its first request; who waits longer holds a place for nothing.
pub const FIRST_REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// Without an open stream. Agents keep one open, so only what is forgotten or held for its own sake stays so long quiet.
pub const IDLE_AT_MOST: Duration = Duration::from_secs(120);

/// RFC 9112 leaves it to us; a header of an honest client comes in one packet or a few.
pub const HEADER_READ_WITHIN: Duration = Duration::from_secs(5);
/// Names, content type and trace headers need a fraction of it.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;
/// The same as HTTP/2 counts it, unpacked (RFC 9113 §6.5.2).
pub const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
/// Browsers send some thirty, gRPC clients ten. HTTP/2's are limited by their bytes alone.
pub const HEADERS_MAX: usize = 64;
/// What HTTP/1.1 reads ahead at most: a header, and the beginning of a body.
pub const READ_BUFFER_BYTES: usize = 64 * 1024;

/// One agent asks for a few hundred jobs at once at most.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// Streams that their client took back before we saw them (CVE-2023-44487). An honest client takes back few.
pub const RESET_STREAMS_MAX: usize = 20;
/// Streams that we reset for a client's mistakes, in a connection's whole life; honest clients make none.
pub const BROKEN_STREAMS_MAX: usize = 256;
/// RFC 9113 §4.2: what a peer may send unasked; we ask for no more.
pub const FRAME_BYTES_MAX: u32 = 16 * 1024;
/// Two of the largest messages: a client need not wait for us in the middle of one.
pub const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Four such streams.
pub const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// What waits on one stream for a client that reads slowly; no answer is larger than a bundle.
pub const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Finds agents that went away without a word.
pub const PING_EVERY: Duration = Duration::from_secs(20);
/// Longer than any round trip.
pub const PONG_WITHIN: Duration = Duration::from_secs(10);
/// A client that is told to go has nothing open; a round trip is enough.
pub const GOODBYE_WITHIN: Duration = Duration::from_secs(10);

/// Requests that are read, worked on or answered at once. One costs up to 20 KiB, its header included.
pub const REQUESTS_MAX: usize = 16 * 1024;
/// Four addresses together can keep the others out, one alone cannot.
pub const REQUESTS_PER_ADDRESS_MAX: usize = REQUESTS_MAX / 4;
/// A token of 96 KiB and a CSR fit; nothing honest is larger.
pub const MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// What a webhook says of a pipeline: a thousand jobs, at about a kilobyte each.
pub const HOOK_BYTES_MAX: usize = 8 * MESSAGE_BYTES_MAX;
/// A thousand of the largest messages, or thirty thousand usual ones, at once.
pub const BODY_BYTES_MAX: usize = 1024 * MESSAGE_BYTES_MAX;
/// See [`REQUESTS_PER_ADDRESS_MAX`].
pub const BODY_BYTES_PER_ADDRESS_MAX: usize = BODY_BYTES_MAX / 4;
/// The largest message over a line of 256 kbit/s.
pub const BODY_READ_WITHIN: Duration = Duration::from_secs(5);
/// The slowest honest request waits for an issuer's keys, five seconds.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// From a call's header until its answer is handed to HTTP; then the connection is closed, for its client lets us send
/// nothing. Of an answer without an end, this is said of its first piece.
pub const CALL_WITHIN: Duration = Duration::from_secs(30);
/// How much of an unread body is read away before a refusal, so that its sender gets to see it.
pub const LEFTOVER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// And for how long.
pub const LEFTOVER_WITHIN: Duration = Duration::from_secs(1);

/// Tokens verified, and what follows for the genuine ones, at once. Two cores do this many in some tens of milliseconds;
/// whoever comes on top is better told to come back.
pub const VERIFICATIONS_MAX: usize = 1024;
/// A whole cluster behind one address may use most of it, not all.
pub const VERIFICATIONS_PER_ADDRESS_MAX: usize = VERIFICATIONS_MAX / 4 * 3;

/// Operators whose token or certificate is judged at once at the admin port. There are a few; who comes on top is a stranger, or a
/// script that may come back.
pub const OPERATORS_AT_ONCE_MAX: usize = 64;
/// Four addresses together can keep the others out, one alone cannot.
pub const OPERATORS_AT_ONCE_PER_ADDRESS_MAX: usize = OPERATORS_AT_ONCE_MAX / 4;

/// A host's agent holds a session for each of its jobs.
pub const SESSIONS_WATCHED_MAX: usize = 1024;
/// An agent has one; after it lost its connection, the old one may still stand until the next ping.
pub const WATCHES_PER_KEY_MAX: usize = 4;

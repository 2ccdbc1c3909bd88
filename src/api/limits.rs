//! What a request may cost before anything in it is believed.

use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// A token of 96 KiB and a CSR fit; nothing honest is larger.
pub const MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// Names, content type and trace headers need a fraction of it.
pub const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// One agent asks for a few hundred jobs at once at most.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// A host's agent holds a session for each of its jobs.
pub const SESSIONS_WATCHED_MAX: usize = 1024;
/// An agent has one; after it lost its connection, the old one may still stand until the next ping.
pub const WATCHES_PER_KEY_MAX: usize = 4;
/// The slowest honest request waits for an issuer's keys, five seconds.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How much of an unread body is read away before a refusal, so that its sender gets to see it.
pub const LEFTOVER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// And for how long.
pub const LEFTOVER_WITHIN: Duration = Duration::from_secs(1);
/// Two cores verify this many tokens in some tens of milliseconds; whoever comes on top is better told to come back.
const REQUESTS_AT_ONCE_MAX: usize = 1024;

/// How many requests may be worked on at once, over all connections; the next is turned away, not queued.
#[derive(Debug)]
pub struct Budget(Semaphore);

impl Default for Budget {
    fn default() -> Self {
        Self(Semaphore::new(REQUESTS_AT_ONCE_MAX))
    }
}

impl Budget {
    /// A place for one request, or none if all are taken.
    pub fn take(&self) -> Option<SemaphorePermit<'_>> {
        self.0.try_acquire().ok()
    }
}

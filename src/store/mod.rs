//! Bytes under keys, with revisions, and a journal that every change goes through first. Knows no domain type.
//!
//! ```text
//!   commit(conditions, writes, entry) ─▶ committer ─▶ journal (append, chain, sync) ─▶ index (memory, sled) ─▶ answer
//!                                                        └─▶ checkpoint at the end of a segment
//! ```
//! The journal is the truth; the index can be thrown away and is rebuilt from the last checkpoint and the tail.
//! On disk, under the folder of the settings:
//! ```text
//!   lock                              one server at a time
//!   reserve                           room kept back for ends and key steps
//!   journal/00000000000000000001.jsonl       a segment, named after its first record
//!   journal/00000000000000000812.checkpoint  the state before record 812, which is the last of its segment
//!   index/                            sled; index.damaged-N/ are former ones, kept for whoever wants to look
//! ```
//! Not here: what an entry means (`audit`), what a record means (the room that owns its shelf).

mod contract;
mod version;
mod record;
mod reader;
mod search;
mod since;
mod verify;
mod journal;
mod checkpoint;
mod index;
mod sled_index;
mod recovery;
mod queue;
mod trouble;
mod reserve;
mod accept_time;
mod committer;
mod local;
#[cfg(test)]
mod faults;

pub use accept_time::{AcceptedTime, accept_time};
pub use contract::{
    Answer, Commit, Committed, Condition, Entry, Position, Revision, Room, Store, StoreError, Stored, Write,
};
pub use index::IndexKind;
pub use local::{LocalSettings, LocalStore, OpenError};
pub use reader::{JournalError, JournalReader, TornTail};
pub use record::{Flaw, Record};
pub(crate) use reserve::is_full;
pub use search::{Hits, JournalSearch};
pub use since::{Completeness, records_since};
pub use trouble::Trouble;
pub use verify::{VerifyReport, verify_journal};
pub use version::Version;

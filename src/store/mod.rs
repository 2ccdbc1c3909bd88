//! Bytes under keys, with revisions, and a journal that every change goes through first. Knows no domain type.
//!
//! ```text
//!   commit(conditions, writes, entry) ─▶ committer ─▶ journal (append, chain, sync) ─▶ index (memory, sled) ─▶ answer
//!                                                        ├─▶ checkpoint at the end of a segment
//!                                                        └─▶ notary (a signed checkpoint every so often)
//! ```
//! The journal is the truth; the index can be thrown away and is rebuilt from the last checkpoint and the tail.
//! On disk, under the folder of the settings:
//! ```text
//!   lock                              one server at a time
//!   reserve                           room kept back for ends and key steps
//!   journal/00000000000000000001.jsonl       a segment, named after its first record
//!   journal/00000000000000000812.state       the state before record 812, the checkpoint that ends its segment
//!   journal/00000000000000000400.base        that record, and the signed account of what was archived up to it
//!   checkpoint                        the newest signed checkpoint: how many records, and the root of their tree
//!   index/                            sled; index.damaged-N/ are former ones, kept for whoever wants to look
//! ```
//! Not here: what an entry means (`audit`), what a record means (the room that owns its shelf).

mod aside;
mod contract;
mod version;
mod record;
mod tree;
mod tree_head;
mod note;
mod account;
mod chain;
mod reader;
mod beginning;
mod search;
mod since;
mod verify;
mod journal;
mod state;
mod checkpoint;
mod signed_checkpoint;
mod notary;
mod index;
mod sample;
mod sled_index;
mod recovery;
mod queue;
mod trouble;
mod reckoning;
mod reserve;
mod repair;
mod accept_time;
mod committer;
mod turn_over;
mod local;
mod offline;
mod point;
mod archive;
mod etcd;
mod content;
#[cfg(test)]
mod faults;

pub use accept_time::{AcceptedTime, accept_time};
pub use account::{Account, Fate};
pub use archive::{ArchiveError, ArchiveRequest, Archived, Segments, archive, begins_behind};
pub use aside::write_aside;
pub use content::StoreContent;
pub use contract::{
    Answer, Commit, Committed, Condition, Entry, Heard, Position, Revision, Room, Store, StoreError, Stored, Write,
};
pub(crate) use etcd::APART_MAX;
pub use etcd::{
    Behind, Blob, Channels, ClockStand, Etcd, EtcdError, EtcdLogin, EtcdSettings, Hearing, Peer, Reconciled, Replica,
    WentBack, reconciled, take_over,
};
pub use index::IndexKind;
pub(crate) use journal::replace_file;
pub use local::{LocalSettings, LocalStore, OpenError, lock};
pub use notary::{CheckpointSettings, witnessed_beyond};
pub use note::{NoteError, NoteSigner, VerifierKey};
pub use point::{CopyFile, CopyFrom, JournalCopy};
pub use reader::{Disproof, JournalError, JournalReader, TornTail};
pub(crate) use reckoning::CLOCK_STEP_MAX;
pub use reckoning::ClockError;
pub use record::{Flaw, Record};
pub(crate) use reserve::is_full;
pub use search::{Hits, JournalSearch};
pub use signed_checkpoint::SignedCheckpoint;
pub use since::{Completeness, records_since};
pub use trouble::Trouble;
pub use verify::{Evidence, VerifyReport, verify_against, verify_journal};
pub use version::Version;

//! A server's data folder as one file, taken while the server runs, and back.
//!
//! ```text
//!   folder at one record ─▶ pieces ─▶ (admin socket) ─▶ archive        a plain tar: `tar -xf`, then `sha256sum -c SHA256SUMS`
//!   archive ─▶ pieces ─▶ checked aside ─▶ keys past what was lost, the journal's word of it ─▶ folder
//! ```
//! What it says of itself is sealed, so whoever can write where it lies cannot say otherwise. In it are the journal, the sealed keys and what makes the server known; never the sealing key, unless asked for by name, so
//! that a stolen backup signs nothing. A restored server takes nothing for unused that may have been used since: see
//! [`Loss`](crate::session::Loss). Not here: who may take one (`api`), what is printed (`cli`).

mod error;
mod head;
mod piece;
mod seal;
mod pack;
mod read;
mod contents;
mod unpacked;
mod place;
mod restore;

pub use contents::{Backups, Contents, Folder};
pub use error::BackupError;
pub use head::{Head, Span};
pub use pack::Pack;
pub use piece::Piece;
pub(crate) use place::ASIDE;
pub use read::{ReadBackup, read_backup};
pub use restore::{Restore, Restored, restore};
pub use unpacked::{Unpacked, Whole};

//! Writes an archive: one file after another as it comes, and at last the digests of all.

use super::BackupError;
use super::piece::{Piece, SUMS, mode_of};
use crate::crypto::Digester;
use std::io::{self, Write};
use tar::{EntryType, Header};

/// What a tar is made of.
const BLOCK: u64 = 512;

/// An archive under way.
#[derive(Debug)]
pub struct Pack<W> {
    to: W,
    open: Option<Open>,
    sums: String,
    made_at: u64,
}

#[derive(Debug)]
struct Open {
    name: String,
    bytes: u64,
    left: u64,
    digest: Digester,
}

impl<W: Write> Pack<W> {
    /// Begins an archive; its files are dated to this second of Unix time.
    pub const fn new(to: W, made_at: u64) -> Self {
        Self { to, open: None, sums: String::new(), made_at }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// `Io` when it cannot be written; `Cut`, `Name` when what comes is no backup.
    pub fn take(&mut self, piece: Piece<'_>) -> Result<(), BackupError> {
        match piece {
            Piece::File { name, bytes } => {
                self.close()?;
                self.begin(name, bytes)?;
                self.open = Some(Open { name: name.to_owned(), bytes, left: bytes, digest: Digester::default() });
            }
            Piece::Bytes(bytes) => {
                let open = self.open.as_mut().ok_or(BackupError::Cut)?;
                let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                open.left = open.left.checked_sub(length).ok_or(BackupError::Cut)?;
                open.digest.take(bytes);
                self.to.write_all(bytes).map_err(BackupError::Write)?;
            }
        }
        Ok(())
    }

    /// Ends the archive, and hands out what it was written to.
    ///
    /// # Errors
    /// As [`Pack::take`].
    pub fn finish(mut self) -> Result<W, BackupError> {
        self.close()?;
        let sums = std::mem::take(&mut self.sums);
        let bytes = u64::try_from(sums.len()).unwrap_or(u64::MAX);
        self.begin(SUMS, bytes)?;
        let ended = self.to.write_all(sums.as_bytes()).and_then(|()| self.pad(bytes));
        ended.and_then(|()| self.zeros(2 * BLOCK)).map_err(BackupError::Write)?;
        Ok(self.to)
    }

    fn begin(&mut self, name: &str, bytes: u64) -> Result<(), BackupError> {
        let mode = mode_of(name).ok_or_else(|| BackupError::Name { name: name.to_owned() })?;
        let mut header = Header::new_ustar();
        header.set_path(name).map_err(BackupError::Write)?;
        header.set_size(bytes);
        header.set_mode(mode);
        header.set_mtime(self.made_at);
        header.set_entry_type(EntryType::Regular);
        header.set_cksum();
        self.to.write_all(header.as_bytes()).map_err(BackupError::Write)
    }

    /// The file that is open must be all there.
    fn close(&mut self) -> Result<(), BackupError> {
        let Some(Open { name, bytes, left, digest }) = self.open.take() else { return Ok(()) };
        if left > 0 {
            return Err(BackupError::Cut);
        }
        self.sums.extend([digest.finish().to_string(), format!("  {name}\n")]);
        self.pad(bytes).map_err(BackupError::Write)
    }

    /// Fills the last block.
    fn pad(&mut self, bytes: u64) -> io::Result<()> {
        self.zeros(bytes.next_multiple_of(BLOCK) - bytes)
    }

    fn zeros(&mut self, bytes: u64) -> io::Result<()> {
        io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut self.to).map(drop)
    }
}

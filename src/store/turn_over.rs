//! The end of a segment: the state is laid down, a record vouches for it, and the next segment begins.

use super::committer::{Committer, Stop};
use super::journal::AppendError;
use super::{Entry, Position, checkpoint, state};
use std::io;
use tracing::{error, warn};

impl Committer {
    /// Ends the segment: state, record, next segment. When it does not work, the segment simply grows on.
    pub(super) fn checkpoint(&mut self) -> Result<(), Stop> {
        let last = self.journal.link();
        if let Err(error) = self.index.has_room() {
            self.checkpoint_later(&error);
            return Ok(());
        }
        if let Err(error) = self.index.flush(last.into()) {
            error!(%error, "the index cannot be written; the store stops, a restart mends it");
            return Err(Stop);
        }
        match self.claim(last.next()) {
            Ok(entry) => {
                self.page.begin(last, last.at.max(self.reckoning.now()));
                self.page.add(&entry, &[]);
            }
            Err(error) => {
                self.checkpoint_later(&error);
                return Ok(());
            }
        }
        match self.journal.append(&self.page) {
            Ok(()) => self.notary.saw(&self.journal.chain().tree),
            Err(AppendError::Refused(error)) => {
                self.checkpoint_later(&error);
                return Ok(());
            }
            Err(AppendError::Unsure(error)) => {
                error!(%error, "the journal cannot be synced; the store stops, a restart finds out what is in it");
                return Err(Stop);
            }
        }
        self.journal.turn_over();
        self.turn_at = self.segment_bytes();
        let settled = self.index.flush(self.journal.link().into());
        if let Err(error) = settled {
            error!(%error, "the index does not follow the journal; the store stops, a restart mends it");
            return Err(Stop);
        }
        if let Err(error) = state::prune(self.journal.folder()) {
            warn!(%error, "an old checkpoint stays");
        }
        Ok(())
    }

    /// How long a segment becomes: at least as long as the state it begins with. So states cost a fixed share of what
    /// segments cost, however much is kept.
    pub(super) fn segment_bytes(&self) -> u64 {
        state::bytes_of_newest(self.journal.folder()).max(self.settings.segment_bytes)
    }

    /// Writes the state and vouches for it in an entry.
    fn claim(&self, position: Position) -> io::Result<Entry> {
        let state = state::write(self.journal.folder(), position, &self.index)?;
        checkpoint::sign(self.journal.chain(), state, self.journal.length(), &self.signer)
    }

    /// Tries again when the segment has grown by another half.
    fn checkpoint_later(&mut self, error: &io::Error) {
        warn!(%error, "no checkpoint could be written; the segment grows on");
        self.turn_at = self.journal.length().saturating_add(self.settings.segment_bytes / 2);
    }
}

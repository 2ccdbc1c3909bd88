//! An audit of the whole journal: every line, every link, every checkpoint, from the first record that is kept.

use super::account::Account;
use super::archive;
use super::beginning::{Base, Beginning};
use super::chain::Chain;
use super::checkpoint::{self, Claim};
use super::index::Overlay;
use super::notary::own_file;
use super::reader::FOLDER;
use super::signed_checkpoint::SignedCheckpoint;
use super::state::{self, Summary};
use super::{Disproof, Flaw, JournalError, JournalReader, Position, Record, Stored, TornTail};
use crate::crypto::{Digest, PublicKey};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};

/// A journal that is no older may not have been signed yet: twice a server's own pace.
const YOUNG: Duration = Duration::minutes(2);

/// What an audit found. A torn tail is no tampering: a crash leaves it, and the next start cuts it off.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifyReport {
    /// The first record that was read.
    pub first: Position,
    /// The number of the last record.
    pub records: Position,
    /// How many of those read are checkpoints.
    pub checkpoints: u64,
    /// How many checkpoints that were kept outside of the journal agree with it.
    pub proven: u64,
    /// So many records are covered by a signature: all but the last ones, after a crash.
    pub signed_upto: Position,
    /// What is said of the records before the first.
    pub gone: Option<Account>,
    /// The last record's digest; all zeros when there is none.
    pub last_digest: Digest,
    /// The root of the tree over all records.
    pub root: Digest,
    /// The last record's time.
    pub last_at: Option<OffsetDateTime>,
    /// The unfinished last line.
    pub torn: Option<TornTail>,
}

/// What a journal is held against.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence<'a> {
    /// The key that signs its checkpoints; without it signatures are not looked at.
    pub key: Option<&'a PublicKey>,
    /// Data folders that older segments were archived to.
    pub archives: &'a [PathBuf],
    /// Its checkpoints from elsewhere; the one in its own folder is heard in any case.
    pub checkpoints: &'a [SignedCheckpoint],
}

/// Checks the journal in a store's folder. With a key, every checkpoint must be signed by it.
///
/// # Errors
/// `Broken` at the first thing that is wrong, `Disproved` by the first checkpoint that does not fit, `Io`.
pub fn verify_journal(dir: &Path, key: Option<&PublicKey>) -> Result<VerifyReport, JournalError> {
    verify_against(dir, Evidence { key, ..Evidence::default() })
}

/// Checks the journal in a store's folder, from the first record that is there or in the archives.
///
/// # Errors
/// As [`verify_journal`].
pub fn verify_against(dir: &Path, evidence: Evidence<'_>) -> Result<VerifyReport, JournalError> {
    let folder = dir.join(FOLDER);
    // Asked first: a server may be writing, and what is there now was written after every record before it.
    let newest_state = state::newest(&folder)?;
    let mut heard = evidence.checkpoints.to_vec();
    heard.extend(own_checkpoint(dir)?);
    let beginning = archive::reunited(&folder, evidence.archives)?;
    let mut walk = Walk::begin(folder, beginning, (heard, evidence.key))?;
    walk.hear()?;
    while let Some(record) = walk.reader.next().transpose()? {
        walk.step(record)?;
    }
    let next = walk.reader.link().next();
    if let Some((_, segment)) = newest_state.filter(|(of, _)| *of > next) {
        return Err(JournalError::Broken { segment, position: next, why: Flaw::PositionDiffers });
    }
    walk.end()
}

/// None before the first was signed. Whoever removes it can make anew what came after the last checkpoint in the journal:
/// so the report says how far signatures reach.
fn own_checkpoint(dir: &Path) -> Result<Option<SignedCheckpoint>, JournalError> {
    match SignedCheckpoint::load(&own_file(dir)) {
        Err(JournalError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        loaded => loaded.map(Some),
    }
}

struct Walk<'a> {
    folder: PathBuf,
    base: Option<Base>,
    first: Position,
    reader: JournalReader,
    state: BTreeMap<String, Stored>,
    /// Checkpoints that speak of records to come, the nearest last.
    waiting: Vec<SignedCheckpoint>,
    proven: u64,
    /// So many records are as some checkpoint says.
    good: Position,
    checkpoints: u64,
    /// Whether somebody said that what is missing before the first record was archived.
    is_accounted: bool,
    /// The first record's time.
    began: Option<OffsetDateTime>,
    key: Option<&'a PublicKey>,
}

impl<'a> Walk<'a> {
    fn begin(
        folder: PathBuf,
        Beginning { base, segments, leftovers: _ }: Beginning,
        (mut waiting, key): (Vec<SignedCheckpoint>, Option<&'a PublicKey>),
    ) -> Result<Self, JournalError> {
        let (chain, state) = match &base {
            Some(base) => begin_behind(base, key)?,
            None => (Chain::START, BTreeMap::new()),
        };
        waiting.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.head.size));
        let (first, is_accounted) = (chain.link.next(), base.is_none());
        let reader = JournalReader::from(segments, chain);
        let (proven, good, checkpoints, began) = (0, first - 1, 0, None);
        Ok(Self { folder, base, first, reader, state, waiting, proven, good, checkpoints, is_accounted, began, key })
    }

    fn step(&mut self, record: Record) -> Result<(), JournalError> {
        if checkpoint::is_one(&record.entry) {
            self.judge(&record).map_err(|why| self.reader.broken(why))?;
            self.checkpoints += 1;
            self.good = record.position.saturating_sub(1);
        }
        self.began.get_or_insert(record.at);
        self.is_accounted |= self.base.as_ref().is_some_and(|base| self.accounts_for(&record, base));
        let (mut overlay, position) = (Overlay::default(), record.position);
        overlay.take(record.into_writes(), position);
        overlay.settle(&mut self.state);
        self.hear()
    }

    /// Whether a record says, signed, that all up to the base left.
    fn accounts_for(&self, record: &Record, base: &Base) -> bool {
        let told = Account::parse(record.entry.get()).filter(|told| told.is_of(&base.record));
        told.is_some_and(|told| self.key.is_none_or(|key| told.is_signed_by(key)))
    }

    /// Holds the tree against the checkpoints that speak of just so many records.
    fn hear(&mut self) -> Result<(), JournalError> {
        let Chain { link, tree } = self.reader.so_far();
        while let Some(heard) = self.waiting.pop_if(|next| next.head.size <= link.position) {
            let size = self.known(&heard)?;
            if size < link.position {
                return Err(heard.disproved(Disproof::Archived { size, behind: link.position }));
            }
            if heard.head.root != tree.root() {
                return Err(heard.disproved(Disproof::RootDiffers { size, good: self.good }));
            }
            (self.good, self.proven) = (size, self.proven + 1);
        }
        Ok(())
    }

    /// How many records a checkpoint vouches for, if it is by the right key.
    fn known(&self, heard: &SignedCheckpoint) -> Result<Position, JournalError> {
        let is_known = self.key.is_none_or(|key| heard.is_signed_by(key));
        if is_known { Ok(heard.head.size) } else { Err(heard.disproved(Disproof::SignatureDiffers)) }
    }

    /// A checkpoint must vouch for what the records make, in its own file too where that is still kept.
    fn judge(&self, record: &Record) -> Result<(), Flaw> {
        let claim = Claim::of(record)?;
        if self.key.is_some_and(|key| !claim.is_signed_by(key)) {
            return Err(Flaw::SignatureDiffers);
        }
        let made = summary(&self.state)?;
        let kept = match state::read(&state::path(&self.folder, record.position), |_key, _stored| Ok(())) {
            Ok(kept) => kept,
            Err(error) if error.kind() == io::ErrorKind::NotFound => made,
            Err(_unreadable) => return Err(Flaw::StateDiffers),
        };
        let is_of = claim.is_of(made) && kept == made;
        if Chain::up_to(record, claim).tree != self.reader.so_far().tree {
            return Err(Flaw::TreeDiffers);
        }
        if is_of { Ok(()) } else { Err(Flaw::StateDiffers) }
    }

    fn end(self) -> Result<VerifyReport, JournalError> {
        let Chain { link: last, tree } = self.reader.so_far();
        if let Some(more) = self.waiting.last() {
            let (size, last) = (self.known(more)?, last.position);
            return Err(more.disproved(Disproof::Cut { size, last }));
        }
        if let (false, Some(Base { path, record, .. })) = (self.is_accounted, &self.base) {
            let (segment, position) = (path.clone(), record.position);
            return Err(JournalError::Broken { segment, position, why: Flaw::MissingUnrecorded });
        }
        if self.must_be_signed() {
            let checkpoint = own_file(self.folder.parent().unwrap_or(&self.folder));
            let why = Disproof::NothingSigned { first: self.first, last: last.position };
            return Err(JournalError::Disproved { checkpoint, why });
        }
        Ok(VerifyReport {
            first: self.first,
            records: last.position,
            checkpoints: self.checkpoints,
            proven: self.proven,
            signed_upto: self.good,
            gone: self.base.map(|base| base.account),
            last_digest: last.digest,
            root: tree.root(),
            last_at: (last.position > 0).then_some(last.at),
            torn: self.reader.torn().cloned(),
        })
    }
}

impl Walk<'_> {
    /// A crash leaves records without a signature, but not of a long time, and not all there are.
    fn must_be_signed(&self) -> bool {
        let last = self.reader.link();
        let is_old = self.began.is_some_and(|began| last.at - began > YOUNG);
        self.key.is_some() && self.good < self.first && is_old && self.reader.torn().is_none()
    }
}

/// What these segments, all of them verified, come to.
pub(super) fn state_behind(
    folder: &Path,
    segments: Beginning,
    key: &PublicKey,
) -> Result<(Chain, BTreeMap<String, Stored>), JournalError> {
    let mut walk = Walk::begin(folder.to_owned(), segments, (Vec::new(), Some(key)))?;
    while let Some(record) = walk.reader.next().transpose()? {
        walk.step(record)?;
    }
    Ok((walk.reader.so_far().clone(), walk.state))
}

/// The chain and the state that a journal goes on from whose older segments are not here.
fn begin_behind(
    base @ Base { path, record, .. }: &Base,
    key: Option<&PublicKey>,
) -> Result<(Chain, BTreeMap<String, Stored>), JournalError> {
    let broken = |why| JournalError::Broken { segment: path.clone(), position: record.position, why };
    let claim = Claim::of(record).map_err(broken)?;
    if key.is_some_and(|key| !claim.is_signed_by(key)) {
        return Err(broken(Flaw::SignatureDiffers));
    }
    key.map_or(Ok(()), |key| base.must_be_accounted_for(key))?;
    let mut state = BTreeMap::new();
    let file = state::path(path.parent().unwrap_or(path), record.position);
    let read = state::read(&file, |key, stored| {
        state.insert(key, stored);
        Ok(())
    });
    if !read.is_ok_and(|summary| claim.is_of(summary)) {
        return Err(JournalError::Broken { segment: file, position: record.position, why: Flaw::StateDiffers });
    }
    Ok((Chain::up_to(record, claim), state))
}

/// What a state amounts to.
fn summary(state: &BTreeMap<String, Stored>) -> Result<Summary, Flaw> {
    let (mut made, mut line) = (Summary::EMPTY, Vec::new());
    for (key, stored) in state {
        let held = (stored.revision, stored.value.get());
        state::render_line(&mut line, key, held).map_err(|_not_json| Flaw::StateDiffers)?;
        made.add(&line);
    }
    Ok(made)
}

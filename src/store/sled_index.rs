//! The index in sled, as far as it can be trusted: nothing here is missed when it is gone.
//!
//! sled 0.34 panics or errs on files that a power loss left short, so it is opened and walked once in a thread of
//! its own; its `flush` does not reach the medium, so a sync of its file follows; its own flusher is off, because
//! the journal is durable already. A value is its revision (8 bytes, big-endian) and its JSON text, of which sled keeps
//! what it adds to a sample: sled writes and holds each byte several times.
//!
//! sled pays for every write with a walk and a page; so changes wait in memory, where readers look first, and go
//! to sled many at once and in key order. After a crash sled lacks the last of them, and the journal has them.
//! Most questions are about keys that nobody has written yet (a new token); a roll of all keys answers those. Most of
//! the others are about a few keys (the pins of busy projects), which stay in memory once they were asked for.

use super::index::{Applied, Change, Overlay};
use super::reserve::free_bytes;
use super::sample::{Sample, unpacked};
use super::{Revision, Stored};
use crate::crypto::Digest;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;

/// How the index's own keys begin: 0xFF is in no UTF-8 text.
const OWN: &[u8] = b"\xff";
/// Where sled remembers how far it has come.
const APPLIED: &[u8] = b"\xffapplied";
/// The first value that can be a sample.
const SAMPLE: &[u8] = b"\xffsample";
/// Grows only as far as there is state. With more sessions than fit a commit costs 12 µs more; packed, 100,000 fit.
const CACHE_BYTES: u64 = 64 << 20;
/// How many damaged folders are kept for whoever wants to look; then the last gives way to the next.
const KEPT_ASIDE_MAX: u32 = 9;

/// So many changes wait in memory: some hundred kilobytes, and a few milliseconds to hand them over. With more, the
/// allocator gives the room back in between, and the kernel clears it anew each time.
const YOUNG_MAX: usize = 256;

/// So many values stay in memory after they were read. Sessions that are renewed pass through; pins come back at once.
const WARM_MAX: usize = 1024;

/// Below this sled is not written to: changes wait in memory, and cannot be more than the journal has room for.
const ROOM_BYTES: u64 = 4 << 20;

/// Whether a folder's file system has room for what sled may write next.
pub(super) fn has_room(folder: &Path) -> io::Result<()> {
    if free_bytes(folder)? >= ROOM_BYTES { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
}

/// A sled database that holds an index.
#[derive(Debug)]
pub(super) struct SledIndex {
    sled: sled::Db,
    folder: PathBuf,
    sample: OnceLock<Sample>,
    /// Changed by the committer alone; readers only add what is warm.
    young: RwLock<Young>,
}

/// What is known without asking sled.
#[derive(Debug, Default)]
struct Young {
    /// Changes that sled does not have yet, with their keys.
    changes: HashMap<Tag, (String, Change)>,
    /// Every key that holds something, here or in sled.
    roll: HashSet<Tag>,
    /// What sled was asked for, and has held since.
    warm: HashMap<Tag, Stored>,
    /// How often changes were handed over.
    handed_over: u64,
}

/// Stands for a key: half of its digest, since keys hold what strangers choose, and two must never share one.
type Tag = [u8; 16];

fn tag(key: &str) -> Tag {
    let mut tag = Tag::default();
    for (byte, digest) in tag.iter_mut().zip(Digest::of(key.as_bytes()).as_bytes()) {
        *byte = *digest;
    }
    tag
}

impl Young {
    fn take(&mut self, changes: impl Iterator<Item = (String, Change)>) {
        for (key, change) in changes {
            let tag = tag(&key);
            match &change {
                Change::Put(_) => self.roll.insert(tag),
                Change::Deleted(_) => self.roll.remove(&tag),
            };
            self.warm.remove(&tag);
            self.changes.insert(tag, (key, change));
        }
    }

    /// The changes of keys that begin so, in no order.
    fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a (String, Change)> {
        self.changes.values().filter(move |(key, _)| key.starts_with(prefix))
    }

    fn look(&self, key: &str) -> Known<'_> {
        let tag = tag(key);
        if !self.roll.contains(&tag) {
            return Known::Absent;
        }
        let young = self.changes.get(&tag).and_then(|(_, change)| change.stored());
        young.or_else(|| self.warm.get(&tag)).map_or(Known::InSled(self.handed_over), Known::Here)
    }

    /// sled has the changes now.
    fn leave(&mut self) {
        self.changes.clear();
        self.handed_over += 1;
    }

    /// Keeps what sled held after so many times that changes were handed over, if that is what it holds now.
    fn keep_warm(&mut self, key: &str, stored: &Stored, handed_over: u64) {
        let tag = tag(key);
        if self.handed_over != handed_over || self.changes.contains_key(&tag) {
            return;
        }
        if self.warm.len() >= WARM_MAX {
            self.warm.clear();
        }
        self.warm.insert(tag, stored.clone());
    }
}

/// What is known of a key without asking sled.
enum Known<'a> {
    Absent,
    Here(&'a Stored),
    /// After so many times that changes were handed over.
    InSled(u64),
}

impl SledIndex {
    /// Opens it and walks through it once: damage shows here, where a rebuild is still possible.
    pub(super) fn open(folder: &Path) -> io::Result<Box<Self>> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let place = folder.to_owned();
        let opener = thread::Builder::new().name("index-open".into()).spawn(move || Self::open_here(place))?;
        opener.join().unwrap_or_else(|_panic| Err(damaged("sled panicked")))
    }

    fn open_here(folder: PathBuf) -> io::Result<Box<Self>> {
        let config = sled::Config::new().path(&folder).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let sled = config.mode(sled::Mode::HighThroughput).open()?;
        let sample = sled.get(SAMPLE)?.and_then(|text| Sample::of(&text)).map_or_else(OnceLock::new, OnceLock::from);
        let index = Self { sled, folder, sample, young: RwLock::default() };
        let mut roll = HashSet::new();
        for pair in index.pairs() {
            let (key, value) = pair?;
            index.stored(&value)?;
            roll.insert(tag(text(&key)?));
        }
        index.young_to_write().roll = roll;
        index.applied()?;
        Ok(Box::new(index))
    }

    /// Moves a folder that cannot be used out of the way and answers its new place.
    pub(super) fn set_aside(folder: &Path) -> io::Result<PathBuf> {
        let name = |n: u32| folder.with_file_name(format!("index.damaged-{n}"));
        let free = (1..KEPT_ASIDE_MAX).map(name).find(|place| !place.exists()).unwrap_or(name(KEPT_ASIDE_MAX));
        if free.exists() {
            fs::remove_dir_all(&free)?;
        }
        fs::rename(folder, &free)?;
        Ok(free)
    }

    pub(super) fn read(&self, key: &str) -> io::Result<Option<Stored>> {
        let handed_over = match self.young().look(key) {
            Known::Absent => return Ok(None),
            Known::Here(stored) => return Ok(Some(stored.clone())),
            Known::InSled(handed_over) => handed_over,
        };
        let Some(stored) = self.sled.get(key)?.map(|bytes| self.stored(&bytes)).transpose()? else { return Ok(None) };
        self.young_to_write().keep_warm(key, &stored, handed_over);
        Ok(Some(stored))
    }

    pub(super) fn revision(&self, key: &str) -> io::Result<Option<Revision>> {
        match self.young().look(key) {
            Known::Absent => return Ok(None),
            Known::Here(stored) => return Ok(Some(stored.revision)),
            Known::InSled(_) => {}
        }
        self.sled.get(key)?.map(|bytes| Ok(split(&bytes)?.0)).transpose()
    }

    /// Keys under a prefix from a bound on.
    pub(super) fn page(&self, prefix: &str, from: Bound<&str>, max: usize) -> io::Result<Vec<(String, Stored)>> {
        // Young changes first: what is handed over meanwhile is then seen twice rather than not at all. The committer
        // is not kept waiting for a long walk.
        let ahead = |key: &str| match from {
            Bound::Included(first) => key >= first,
            Bound::Excluded(last) => key > last,
            Bound::Unbounded => true,
        };
        let young = self.young().under(prefix).filter(|(key, _)| ahead(key)).cloned().collect();
        self.page_with(young, prefix, (from, max))
    }

    /// What sled holds there, with changes that it lacked a moment ago. It may have taken them since, and later ones of the
    /// same keys: of each key the latest counts.
    fn page_with(
        &self,
        young: Vec<(String, Change)>,
        prefix: &str,
        (from, max): (Bound<&str>, usize),
    ) -> io::Result<Vec<(String, Stored)>> {
        let mut found = BTreeMap::new();
        for pair in self.sled.range::<&[u8], _>((from.map(str::as_bytes), Bound::Unbounded)) {
            let (key, value) = pair?;
            // So many that enough are left when each young change takes one away.
            if !key.starts_with(prefix.as_bytes()) || found.len() >= max.saturating_add(young.len()) {
                break;
            }
            if !key.starts_with(OWN) {
                found.insert(text(&key)?.to_owned(), self.stored(&value)?);
            }
        }
        let is_news =
            |(key, change): &(String, Change)| found.get(key).is_none_or(|kept| kept.revision < change.revision());
        let mut news = Overlay(young.into_iter().filter(is_news).collect());
        news.settle(&mut found);
        Ok(found.into_iter().take(max).collect())
    }

    /// Shows everything; only for the committer, after `flush`. That a value is JSON was seen when it came.
    pub(super) fn each(&self, mut show: impl FnMut(&str, (Revision, &str)) -> io::Result<()>) -> io::Result<()> {
        for pair in self.pairs() {
            let (key, value) = pair?;
            let (revision, value) = split(&value)?;
            show(text(&key)?, (revision, text(&unpacked(self.sample.get(), value)?)?))?;
        }
        Ok(())
    }

    /// Every key that sled has, in order, with its revision and value.
    fn pairs(&self) -> impl Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>> {
        self.sled.iter().filter(|pair| !matches!(pair, Ok((key, _)) if key.starts_with(OWN)))
    }

    fn stored(&self, bytes: &[u8]) -> io::Result<Stored> {
        let (revision, value) = split(bytes)?;
        let value: Box<RawValue> = serde_json::from_slice(&unpacked(self.sample.get(), value)?)?;
        Ok(Stored { value, revision })
    }

    pub(super) fn apply(&self, overlay: &mut Overlay, applied: Applied) -> io::Result<()> {
        let full = {
            let mut young = self.young_to_write();
            young.take(overlay.0.drain());
            young.changes.len() >= YOUNG_MAX
        };
        if full && self.has_room().is_ok() { self.hand_over(applied) } else { Ok(()) }
    }

    /// Gives sled all changes and the mark in one step.
    pub(super) fn hand_over(&self, applied: Applied) -> io::Result<()> {
        let mut batch = sled::Batch::default();
        let mut value = Vec::new();
        let young = self.young();
        let mut changes: Vec<_> = young.under("").collect();
        changes.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (key, change) in changes {
            let Some(Stored { value: text, revision }) = change.stored() else {
                batch.remove(key.as_bytes());
                continue;
            };
            let text = text.get().as_bytes();
            value.clear();
            value.extend_from_slice(&revision.to_be_bytes());
            self.pack(text, &mut value, &mut batch);
            batch.insert(key.as_bytes(), value.as_slice());
        }
        drop(young);
        let mut mark = applied.position.to_be_bytes().to_vec();
        mark.extend_from_slice(applied.digest.as_bytes());
        batch.insert(APPLIED, mark);
        self.sled.apply_batch(batch)?;
        // Only now: until here readers found them in memory.
        self.young_to_write().leave();
        Ok(())
    }

    /// Adds a value as sled keeps it. The first that can be a sample is kept as one, together with it.
    fn pack(&self, value: &[u8], out: &mut Vec<u8>, batch: &mut sled::Batch) {
        if let (None, Some(sample)) = (self.sample.get(), Sample::of(value)) {
            batch.insert(SAMPLE, sample.text());
            self.sample.get_or_init(|| sample);
        }
        match self.sample.get() {
            Some(sample) => sample.pack(value, out),
            None => out.extend_from_slice(value),
        }
    }

    /// A writer that panicked left whole changes behind: each insert is one step.
    fn young(&self) -> RwLockReadGuard<'_, Young> {
        self.young.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn young_to_write(&self) -> RwLockWriteGuard<'_, Young> {
        self.young.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over, then sled's flush, and the sync that it leaves out.
    pub(super) fn flush(&self, applied: Applied) -> io::Result<()> {
        self.hand_over(applied)?;
        self.sled.flush()?;
        File::open(self.folder.join("db"))?.sync_data()
    }

    pub(super) fn has_room(&self) -> io::Result<()> {
        has_room(&self.folder)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sled.is_empty()
    }

    pub(super) fn applied(&self) -> io::Result<Option<Applied>> {
        let Some(bytes) = self.sled.get(APPLIED)? else { return Ok(None) };
        let (position, digest) = split(&bytes)?;
        let digest = digest.try_into().map_err(|_length| damaged("the mark has a wrong length"))?;
        Ok(Some(Applied { position, digest: Digest::from_bytes(digest) }))
    }
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn split(bytes: &[u8]) -> io::Result<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk().ok_or_else(|| damaged("a value is too short"))?;
    Ok((u64::from_be_bytes(*number), rest))
}

fn text(bytes: &[u8]) -> io::Result<&str> {
    str::from_utf8(bytes).map_err(|_not_text| damaged("a key or a value is not text"))
}

#[cfg(test)]
mod tests {
    use super::super::{IndexKind, LocalSettings, LocalStore, NoteSigner, OpenError, Write, record::Link};
    use super::*;
    use crate::clock::SystemClock;
    use std::sync::Arc;

    fn put() -> Write {
        Write::Put("a".to_owned(), RawValue::NULL.to_owned())
    }

    fn take(index: &SledIndex, write: Write, revision: Revision) {
        let mut overlay = Overlay::default();
        overlay.take([write], revision);
        index.apply(&mut overlay, Applied::from(Link::START)).unwrap();
    }

    #[test]
    fn a_listing_shows_what_was_deleted_put_again_and_handed_over_while_it_ran() {
        let folder = tempfile::tempdir().unwrap();
        let index = SledIndex::open(folder.path()).unwrap();
        let here = Applied::from(Link::START);
        let take = |write, revision| take(&index, write, revision);
        let all = (Bound::Unbounded, usize::MAX);
        let shown =
            |young| index.page_with(young, "", all).unwrap().iter().map(|(_, kept)| kept.revision).collect::<Vec<_>>();
        let young = || index.young().under("").cloned().collect::<Vec<_>>();
        take(put(), 1);
        index.hand_over(here).unwrap();
        take(Write::Delete("a".to_owned()), 2);
        let deleted = young();
        assert!(shown(deleted.clone()).is_empty());
        take(put(), 3);
        let put_again = young();
        index.hand_over(here).unwrap();
        assert_eq!((shown(deleted), shown(put_again.clone())), (vec![3], vec![3]));
        take(put(), 4);
        index.hand_over(here).unwrap();
        assert_eq!(shown(put_again), [4], "an older change does not hide a newer one");
    }

    #[test]
    fn what_stays_in_memory_is_what_was_written_last() {
        let folder = tempfile::tempdir().unwrap();
        let index = SledIndex::open(folder.path()).unwrap();
        let here = Applied::from(Link::START);
        let take = |write, revision| take(&index, write, revision);
        let read = || index.read("a").unwrap().map(|stored| stored.revision);
        take(put(), 1);
        index.hand_over(here).unwrap();
        assert_eq!((read(), index.young().warm.len(), read()), (Some(1), 1, Some(1)));
        take(put(), 2);
        assert_eq!(read(), Some(2));
        let Some(late) = index.sled.get("a").unwrap().map(|bytes| index.stored(&bytes).unwrap()) else { panic!() };
        index.young_to_write().keep_warm("a", &late, 1);
        index.hand_over(here).unwrap();
        index.young_to_write().keep_warm("a", &late, 1);
        assert_eq!((late.revision, read()), (1, Some(2)), "a slow reader's value is old by then");
        take(Write::Delete("a".to_owned()), 3);
        assert_eq!(read(), None);
        index.hand_over(here).unwrap();
        assert_eq!(read(), None);
    }

    #[test]
    fn a_mark_at_the_last_number_there_is_is_a_witness_like_any_other() {
        let folder = tempfile::tempdir().unwrap();
        let settings = LocalSettings::new(folder.path().to_owned());
        assert_eq!(settings.index, IndexKind::Sled);
        let index = SledIndex::open(&folder.path().join("index")).unwrap();
        index.flush(Applied { position: u64::MAX, digest: Digest::of(b"") }).unwrap();
        drop(index);
        let signer = NoteSigner::for_test();
        let opened = LocalStore::open(settings, signer, Arc::new(SystemClock));
        assert!(matches!(opened, Err(OpenError::RecordsRemoved { .. })), "{opened:?}");
    }
}

//! The index in sled, as far as it can be trusted: nothing here is missed when it is gone.
//!
//! sled 0.34 panics or errs on files that a power loss left short, so it is opened and walked once in a thread of
//! its own; its `flush` does not reach the medium, so a sync of its file follows; its own flusher is off, because
//! the journal is durable already. A value is its revision (8 bytes, big-endian) and its JSON text.
//!
//! sled pays for every write with a walk and a page; so changes wait in memory, where readers look first, and go
//! to sled many at once and in key order. After a crash sled lacks the last of them, and the journal has them.
//! Most questions are about keys that nobody has written yet (a new token); a roll of all keys answers those.

use super::index::{Applied, Change, Overlay};
use super::reserve::free_bytes;
use super::{Revision, Stored};
use crate::crypto::Digest;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::thread;

/// Where sled remembers how far it has come. No key of ours begins so: 0xFF is in no UTF-8 text.
const APPLIED: &[u8] = b"\xffapplied";
/// Grows only as far as there is state. 64,000 sessions fit; at 16 MiB they do not, and a commit costs 8 µs more.
const CACHE_BYTES: u64 = 64 << 20;
/// How many damaged folders are kept for whoever wants to look; then the last gives way to the next.
const KEPT_ASIDE_MAX: u32 = 9;

/// So many changes wait in memory: some hundred kilobytes, and a few milliseconds to hand them over. With more, the
/// allocator gives the room back in between, and the kernel clears it anew each time.
const YOUNG_MAX: usize = 256;

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
    /// Written by the committer alone.
    young: RwLock<Young>,
}

/// What is known without asking sled.
#[derive(Debug, Default)]
struct Young {
    /// Changes that sled does not have yet, with their keys.
    changes: HashMap<Tag, (String, Change)>,
    /// Every key that holds something, here or in sled.
    roll: HashSet<Tag>,
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
        match self.changes.get(&tag) {
            Some((_, Change::Put(stored))) => Known::Here(stored),
            Some((_, Change::Deleted(_))) | None => Known::InSled,
        }
    }
}

/// What is known of a key without asking sled.
enum Known<'a> {
    Absent,
    Here(&'a Stored),
    InSled,
}

impl SledIndex {
    /// Opens it and walks through it once: damage shows here, where a rebuild is still possible.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let place = folder.to_owned();
        let opener = thread::Builder::new().name("index-open".into()).spawn(move || Self::open_here(place))?;
        opener.join().unwrap_or_else(|_panic| Err(damaged("sled panicked")))
    }

    fn open_here(folder: PathBuf) -> io::Result<Self> {
        let config = sled::Config::new().path(&folder).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let sled = config.mode(sled::Mode::HighThroughput).open()?;
        let index = Self { sled, folder, young: RwLock::default() };
        let mut roll = HashSet::new();
        index.each(|key, _stored| {
            roll.insert(tag(key));
            Ok(())
        })?;
        index.young.write().unwrap_or_else(PoisonError::into_inner).roll = roll;
        index.applied()?;
        Ok(index)
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
        match self.young().look(key) {
            Known::Absent => return Ok(None),
            Known::Here(stored) => return Ok(Some(stored.clone())),
            Known::InSled => {}
        }
        self.sled.get(key)?.map(|bytes| stored(&bytes)).transpose()
    }

    pub(super) fn revision(&self, key: &str) -> io::Result<Option<Revision>> {
        match self.young().look(key) {
            Known::Absent => return Ok(None),
            Known::Here(stored) => return Ok(Some(stored.revision)),
            Known::InSled => {}
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
            if key != APPLIED {
                found.insert(text(&key)?.to_owned(), stored(&value)?);
            }
        }
        let is_news =
            |(key, change): &(String, Change)| found.get(key).is_none_or(|kept| kept.revision < change.revision());
        let mut news = Overlay(young.into_iter().filter(is_news).collect());
        news.settle(&mut found);
        Ok(found.into_iter().take(max).collect())
    }

    /// Shows everything; only for the committer, after `flush` or before the first change.
    pub(super) fn each(&self, mut show: impl FnMut(&str, &Stored) -> io::Result<()>) -> io::Result<()> {
        for pair in self.sled.iter() {
            let (key, value) = pair?;
            if key != APPLIED {
                show(text(&key)?, &stored(&value)?)?;
            }
        }
        Ok(())
    }

    pub(super) fn apply(&self, overlay: &mut Overlay, applied: Applied) -> io::Result<()> {
        let full = {
            let mut young = self.young.write().unwrap_or_else(PoisonError::into_inner);
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
            let Some(stored) = change.stored() else {
                batch.remove(key.as_bytes());
                continue;
            };
            value.clear();
            value.extend_from_slice(&stored.revision.to_be_bytes());
            value.extend_from_slice(stored.value.get().as_bytes());
            batch.insert(key.as_bytes(), value.as_slice());
        }
        drop(young);
        let mut mark = applied.position.to_be_bytes().to_vec();
        mark.extend_from_slice(applied.digest.as_bytes());
        batch.insert(APPLIED, mark);
        self.sled.apply_batch(batch)?;
        // Only now: until here readers found them in memory.
        self.young.write().unwrap_or_else(PoisonError::into_inner).changes.clear();
        Ok(())
    }

    /// A writer that panicked left whole changes behind: each insert is one step.
    fn young(&self) -> RwLockReadGuard<'_, Young> {
        self.young.read().unwrap_or_else(PoisonError::into_inner)
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

fn stored(bytes: &[u8]) -> io::Result<Stored> {
    let (revision, value) = split(bytes)?;
    let value: Box<RawValue> = serde_json::from_slice(value)?;
    Ok(Stored { value, revision })
}

fn text(key: &[u8]) -> io::Result<&str> {
    str::from_utf8(key).map_err(|_not_text| damaged("a key is not text"))
}

#[cfg(test)]
mod tests {
    use super::super::{IndexKind, LocalSettings, LocalStore, NoteSigner, OpenError, Write, record::Link};
    use super::*;
    use crate::clock::SystemClock;
    use std::sync::Arc;

    #[test]
    fn a_listing_shows_what_was_deleted_put_again_and_handed_over_while_it_ran() {
        let folder = tempfile::tempdir().unwrap();
        let index = SledIndex::open(folder.path()).unwrap();
        let here = Applied::from(Link::START);
        let take = |write, revision| {
            let mut overlay = Overlay::default();
            overlay.take([write], revision);
            index.apply(&mut overlay, here).unwrap();
        };
        let put = || Write::Put("a".to_owned(), RawValue::NULL.to_owned());
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

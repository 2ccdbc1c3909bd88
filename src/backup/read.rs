//! Reads an archive that may come from anywhere: only plain files, only names that a backup has, each once, the first and
//! the last in their places, none longer than the archive itself, and each as its digest says.

use super::piece::{HEAD, Piece, SUMS, mode_of};
use super::{BackupError, Head};
use crate::crypto::{Digest, Digester};
use std::collections::BTreeMap;
use std::io::Read;
use tar::{Archive, Entry};

/// `backup.json` is some hundred bytes long.
const HEAD_BYTES_MAX: u64 = 64 << 10;
/// A line for each segment: of more than this no journal is.
const SUMS_BYTES_MAX: u64 = 64 << 20;
/// So much is read at once.
const STEP: usize = 16 << 10;

/// What an archive was, with the digest of each of its files.
#[derive(Debug)]
pub struct ReadBackup {
    /// What it says of itself.
    pub head: Head,
    /// By name.
    pub digests: BTreeMap<String, Digest>,
}

/// Reads an archive of so many bytes piece by piece, and at its end says what it was: only then anything of it counts.
///
/// # Errors
/// See [`BackupError`]; and whatever the hearer of pieces says.
pub fn read_backup<R: Read>(
    from: R,
    bytes: u64,
    mut each: impl FnMut(Piece<'_>) -> Result<(), BackupError>,
) -> Result<ReadBackup, BackupError> {
    let mut archive = Archive::new(from);
    // Raw: no extension of the format renames or resizes what we look at.
    let mut entries = archive.entries().map_err(|_odd| BackupError::NotABackup)?.raw(true);
    let mut first = entries.next().and_then(Result::ok).ok_or(BackupError::NotABackup)?;
    let name = name_of(&first, bytes)?;
    if name != HEAD {
        return Err(BackupError::NotABackup);
    }
    let text = whole(&mut first, HEAD_BYTES_MAX)?;
    let head = Head::parse(&text)?;
    each(Piece::File { name: &name, bytes: first.size() })?;
    each(Piece::Bytes(&text))?;
    let (mut digests, mut step) = (BTreeMap::from([(name, Digest::of(&text))]), vec![0; STEP]);
    for entry in entries {
        let mut entry = entry.map_err(|_odd| BackupError::Cut)?;
        let name = name_of(&entry, bytes)?;
        if name == SUMS {
            compare(&whole(&mut entry, SUMS_BYTES_MAX)?, &digests)?;
            return Ok(ReadBackup { head, digests });
        }
        if digests.contains_key(&name) {
            return Err(BackupError::Name { name });
        }
        let digest = pass(&mut entry, (&name, &mut step), &mut each)?;
        digests.insert(name, digest);
    }
    Err(BackupError::Cut)
}

/// The name of an entry that may be in a backup.
fn name_of<R: Read>(entry: &Entry<'_, R>, bytes: u64) -> Result<String, BackupError> {
    let path = entry.path_bytes();
    let name = String::from_utf8_lossy(&path).into_owned();
    if !entry.header().entry_type().is_file() || mode_of(&name).is_none() {
        return Err(BackupError::Name { name });
    }
    if entry.size() > bytes {
        return Err(BackupError::Cut);
    }
    Ok(name)
}

fn whole<R: Read>(entry: &mut Entry<'_, R>, most: u64) -> Result<Vec<u8>, BackupError> {
    let mut text = Vec::new();
    if entry.size() > most {
        return Err(BackupError::NotABackup);
    }
    entry.read_to_end(&mut text).map_err(BackupError::Read)?;
    if u64::try_from(text.len()).is_ok_and(|read| read == entry.size()) { Ok(text) } else { Err(BackupError::Cut) }
}

/// Hands a file on, and says what its digest is.
fn pass<R: Read>(
    entry: &mut Entry<'_, R>,
    (name, step): (&str, &mut [u8]),
    each: &mut impl FnMut(Piece<'_>) -> Result<(), BackupError>,
) -> Result<Digest, BackupError> {
    let (mut left, mut digest) = (entry.size(), Digester::default());
    each(Piece::File { name, bytes: left })?;
    loop {
        let read = entry.read(step).map_err(BackupError::Read)?;
        let bytes = step.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return if left == 0 { Ok(digest.finish()) } else { Err(BackupError::Cut) };
        }
        left = left.saturating_sub(u64::try_from(read).unwrap_or(u64::MAX));
        digest.take(bytes);
        each(Piece::Bytes(bytes))?;
    }
}

/// Each file as it was, and none more or less.
fn compare(text: &[u8], found: &BTreeMap<String, Digest>) -> Result<(), BackupError> {
    let mut wanted = BTreeMap::new();
    for line in String::from_utf8_lossy(text).lines() {
        let named = line.split_once("  ").filter(|(_, name)| mode_of(name).is_some());
        let (digest, name) = named.ok_or(BackupError::NotABackup)?;
        let digest: Digest = digest.parse().map_err(|_odd| BackupError::NotABackup)?;
        wanted.insert(name.to_owned(), digest);
    }
    let differs = wanted.iter().find(|(name, digest)| found.get(*name) != Some(digest));
    let extra = found.keys().find(|name| !wanted.contains_key(*name));
    match differs.map(|(name, _)| name).or(extra) {
        Some(name) => Err(BackupError::Changed { name: name.clone() }),
        None => Ok(()),
    }
}

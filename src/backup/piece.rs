//! What goes through a backup one after another, and the names that its files may have.

/// The first file: what the backup is.
pub(super) const HEAD: &str = "backup.json";
/// What vouches for it.
pub(super) const SEAL: &str = "backup.seal";
/// The last one, for `sha256sum -c`: the digests of all others. Without it the archive was cut.
pub(super) const SUMS: &str = "SHA256SUMS";
/// The door CA's key, sealed as all others are.
pub(super) const DOOR_KEY: &str = "door-ca-key.sealed";
/// The sealing key, where it was asked for by name.
pub(super) const SEALING_KEY: &str = "sealing.key";
/// The sealing key as a place has wrapped it.
pub(super) const WRAPPED_KEY: &str = "sealing.wrapped";
/// Where the journal's files are.
pub(super) const JOURNAL: &str = "journal/";

/// For everybody to read.
const SHOWN: u32 = 0o644;
/// For its owner alone.
const HIDDEN: u32 = 0o600;

/// The files at the top of a backup, with the modes that they are given.
const FILES: [(&str, u32); 11] = [
    (HEAD, SHOWN),
    (SEAL, SHOWN),
    ("checkpoint", SHOWN),
    (DOOR_KEY, HIDDEN),
    ("door-ca.pem", SHOWN),
    ("journal.vkey", SHOWN),
    ("keyring.json", HIDDEN),
    ("people.keys", HIDDEN),
    (SEALING_KEY, HIDDEN),
    (WRAPPED_KEY, HIDDEN),
    (SUMS, SHOWN),
];

/// The next of a backup.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Piece<'a> {
    /// A file begins, and is so long.
    File {
        /// Below the folder.
        name: &'a str,
        /// How long.
        bytes: u64,
    },
    /// More of the file.
    Bytes(&'a [u8]),
}

/// The mode of a file; none for a name that nothing in a backup has. So no name leads out of the folder.
pub(super) fn mode_of(name: &str) -> Option<u32> {
    let at_top = FILES.iter().find(|(known, _)| *known == name).map(|(_, mode)| *mode);
    at_top.or_else(|| name.strip_prefix(JOURNAL).is_some_and(is_of_journal).then_some(HIDDEN))
}

/// Twenty digits, and what the store calls its files.
fn is_of_journal(name: &str) -> bool {
    let Some((number, ending)) = name.split_once('.') else { return false };
    let is_number = number.len() == 20 && number.bytes().all(|digit| digit.is_ascii_digit());
    is_number && ["base", "jsonl", "state"].contains(&ending)
}

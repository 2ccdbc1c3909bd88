//! The running program beside the sockets, so that jobs in any image can call it by its full path.
//!
//! **Invariants**: whoever finds it finds it whole; it is the program that runs, also after its file was replaced; and what
//! is there already is replaced only if it is a program too.

use crate::crypto::Random;
use crate::store::write_aside;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The kernel's own way to the program that runs, whatever its file is called now (proc(5)).
const RUNNING: &str = "/proc/self/exe";
/// Everybody may run it.
const MODE: u32 = 0o755;
/// How every program begins (elf(5)).
const MAGIC: [u8; 4] = [0x7f, b'E', b'L', b'F'];
/// Compared in pieces of this size.
const PIECE: u64 = 64 * 1024;

/// Why the program cannot be put there.
#[derive(Debug, thiserror::Error)]
pub enum OwnProgramError {
    /// The system does not let us.
    #[error("the program cannot be put at {}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else has this name; it is not ours to replace.
    #[error("{} exists and is no program", path.display())]
    NotAProgram {
        /// Where.
        path: PathBuf,
    },
    /// Jobs could not call it.
    #[error("{} must be an absolute path", path.display())]
    Relative {
        /// Where.
        path: PathBuf,
    },
}

/// Puts the running program at this path, unless the same one is there.
pub(super) fn provide(path: &Path, random: &Random) -> Result<(), OwnProgramError> {
    provide_in_folder(path, random)?;
    let folder = path.parent().unwrap_or(path);
    let found = std::fs::metadata(folder).map_err(|source| OwnProgramError::Io { path: folder.to_owned(), source })?;
    if others_may_replace(found.mode()) {
        tracing::warn!(
            "the program at {} is in a folder that others than its owner may write in: whoever can write there can make \
             jobs run something else with their tokens; use a folder of its own with mode 0755",
            path.display()
        );
    }
    Ok(())
}

fn provide_in_folder(path: &Path, random: &Random) -> Result<(), OwnProgramError> {
    if !path.is_absolute() {
        return Err(OwnProgramError::Relative { path: path.to_owned() });
    }
    let failed = |source| OwnProgramError::Io { path: path.to_owned(), source };
    let mut running = File::open(RUNNING).map_err(failed)?;
    if let Some(loader) = loader(&mut running).map_err(failed)? {
        tracing::warn!(
            "the program at {} needs {loader}, which many images do not have: build lanyard for a target that links \
             statically, such as x86_64-unknown-linux-musl",
            path.display()
        );
    }
    match there(path).map_err(failed)? {
        There::Nothing => {}
        There::Other => return Err(OwnProgramError::NotAProgram { path: path.to_owned() }),
        There::Program(mut found) => {
            if same(&mut running, &mut found).map_err(failed)? {
                return found.set_permissions(PermissionsExt::from_mode(MODE)).map_err(failed);
            }
        }
    }
    put(&mut running, path, random).map_err(failed)
}

/// Whether others than its owner may replace what is in a folder: where it is sticky they may not (inode(7)).
const fn others_may_replace(mode: u32) -> bool {
    mode & 0o022 != 0 && mode & 0o1000 == 0
}

fn put(running: &mut File, path: &Path, random: &Random) -> io::Result<()> {
    let folder = path.parent().ok_or(ErrorKind::InvalidInput)?;
    std::fs::create_dir_all(folder)?;
    let made = write_aside(path, random, |file| {
        running.rewind()?;
        io::copy(running, file)?;
        // Not at its making, where the umask has a word.
        file.set_permissions(PermissionsExt::from_mode(MODE))
    })?;
    std::fs::rename(made, path)?;
    File::open(folder)?.sync_all()
}

enum There {
    Nothing,
    Other,
    Program(File),
}

/// What has this name now; a link is not followed.
fn there(path: &Path) -> io::Result<There> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(There::Nothing),
        Err(error) => return Err(error),
        Ok(found) if !found.is_file() => return Ok(There::Other),
        Ok(_) => {}
    }
    let mut file = File::open(path)?;
    let mut magic = [0; MAGIC.len()];
    match file.read_exact(&mut magic) {
        Ok(()) if magic == MAGIC => Ok(There::Program(file)),
        Ok(()) => Ok(There::Other),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(There::Other),
        Err(error) => Err(error),
    }
}

fn same(one: &mut File, other: &mut File) -> io::Result<bool> {
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    one.rewind()?;
    other.rewind()?;
    let piece = |file: &mut File| -> io::Result<Vec<u8>> {
        let mut piece = Vec::new();
        file.take(PIECE).read_to_end(&mut piece)?;
        Ok(piece)
    };
    loop {
        let (ours, theirs) = (piece(one)?, piece(other)?);
        if ours != theirs {
            return Ok(false);
        }
        if ours.is_empty() {
            return Ok(true);
        }
    }
}

/// The loader that a program asks the kernel for (`PT_INTERP`, elf(5)); none for one that is linked statically, nor for one
/// that is no ELF of 64 bits in this machine's byte order.
fn loader(program: &mut (impl Read + Seek)) -> io::Result<Option<String>> {
    const OF_64_BITS: u8 = 2;
    const INTERPRETER: u32 = 3;
    let mut header = [0; 64];
    program.rewind()?;
    program.read_exact(&mut header)?;
    if !header.starts_with(&MAGIC) || header.get(4) != Some(&OF_64_BITS) {
        return Ok(None);
    }
    let (table, each, count) = (number(&header, 32, 8), number(&header, 54, 2), number(&header, 56, 2));
    for place in 0..count {
        let mut entry = [0; 56];
        program.seek(SeekFrom::Start(table.saturating_add(place.saturating_mul(each))))?;
        program.read_exact(&mut entry)?;
        if number(&entry, 0, 4) == u64::from(INTERPRETER) {
            let (at, length) = (number(&entry, 8, 8), number(&entry, 32, 8));
            program.seek(SeekFrom::Start(at))?;
            let mut name = Vec::new();
            program.take(length.min(4096)).read_to_end(&mut name)?;
            return Ok(Some(String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned()));
        }
    }
    Ok(None)
}

/// A number of so many bytes, in this machine's order.
fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let part = bytes.get(at..at + length).unwrap_or_default();
    let shifted = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    if cfg!(target_endian = "little") { part.iter().rev().fold(0, shifted) } else { part.iter().fold(0, shifted) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::io::Cursor;

    #[test]
    fn the_running_program_is_put_there_once_and_again_when_another_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sockets/lanyard");
        let state = || {
            let found = fs::metadata(&path).unwrap();
            assert_eq!((found.mode() & 0o7777, fs::read(&path).unwrap() == fs::read(RUNNING).unwrap()), (MODE, true));
            found.ino()
        };
        provide(&path, &Random::system()).unwrap();
        let first = state();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        provide(&path, &Random::system()).unwrap();
        assert_eq!(state(), first, "the same one stays, and everybody may run it again");
        let mut older = fs::read(RUNNING).unwrap();
        *older.last_mut().unwrap() ^= 1;
        for older in [&older[..], &older[..9]] {
            fs::write(&path, older).unwrap();
            provide(&path, &Random::system()).unwrap();
            state();
        }
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left aside");
    }

    #[test]
    fn a_folder_in_which_others_may_replace_the_program_is_told_apart() {
        let told = [0o755, 0o700, 0o1777, 0o775, 0o757, 0o777, 0o2777].map(others_may_replace);
        assert_eq!(told, [false, false, false, true, true, true, true]);
    }

    #[test]
    fn nothing_else_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "precious").unwrap();
        fs::write(path("short"), "x").unwrap();
        fs::create_dir(path("folder")).unwrap();
        std::os::unix::fs::symlink("/bin/sh", path("link")).unwrap();
        for name in ["file", "short", "folder", "link"] {
            let refused = provide(&path(name), &Random::system()).unwrap_err();
            assert!(matches!(refused, OwnProgramError::NotAProgram { .. }), "{name}: {refused}");
        }
        assert_eq!(fs::read_to_string(path("file")).unwrap(), "precious");
        let refused = provide(Path::new("lanyard"), &Random::system()).unwrap_err();
        assert!(matches!(refused, OwnProgramError::Relative { .. }));
        let nowhere = provide(&path("file").join("lanyard"), &Random::system()).unwrap_err();
        assert!(matches!(nowhere, OwnProgramError::Io { .. }));
    }

    /// A program of 64 bits with one entry of this kind, which names a loader.
    fn program(kind: u32, name: &[u8]) -> Cursor<Vec<u8>> {
        let mut bytes = vec![0; 120];
        let mut put = |at: usize, what: &[u8]| bytes[at..at + what.len()].copy_from_slice(what);
        put(0, &[0x7f, b'E', b'L', b'F', 2]);
        put(32, &64_u64.to_ne_bytes());
        put(54, &56_u16.to_ne_bytes());
        put(56, &1_u16.to_ne_bytes());
        put(64, &kind.to_ne_bytes());
        put(72, &120_u64.to_ne_bytes());
        put(96, &u64::try_from(name.len()).unwrap().to_ne_bytes());
        bytes.extend_from_slice(name);
        Cursor::new(bytes)
    }

    #[test]
    fn a_program_tells_which_loader_it_needs() {
        let running = loader(&mut File::open(RUNNING).unwrap()).unwrap();
        assert_eq!(running.is_none(), cfg!(target_feature = "crt-static"), "{running:?}");
        assert_eq!(loader(&mut program(3, b"/lib/ld-musl.so.1\0")).unwrap().as_deref(), Some("/lib/ld-musl.so.1"));
        assert_eq!(loader(&mut program(1, b"/lib/ld-musl.so.1\0")).unwrap(), None, "linked statically");
        assert_eq!(loader(&mut Cursor::new(vec![b'#'; 64])).unwrap(), None);
        loader(&mut Cursor::new(MAGIC.to_vec())).unwrap_err();
        let mut endless = program(1, b"");
        endless.get_mut()[56..58].copy_from_slice(&[0xff; 2]);
        loader(&mut endless).unwrap_err();
    }
}

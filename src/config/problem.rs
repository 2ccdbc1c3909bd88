//! What is wrong with a file: where, what was found, and what would do.

use rustix::fs::{StatVfsMountFlags, statvfs};
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// The largest file that is read: ten thousand rules, or keys, and far more than a person wrote.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// One thing wrong in one file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The file, as it was named.
    pub file: PathBuf,
    /// The line, from 1; none where the whole file is meant.
    pub line: Option<usize>,
    /// The key path, such as `issuer[0].url`; empty where the whole file is meant.
    pub key: String,
    /// What was found there.
    pub found: String,
    /// What would do instead.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}; {}", self.found, self.remedy)
    }
}

/// Where the lines of a text end, so that finding one costs no walk through the text.
#[derive(Debug)]
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect())
    }

    /// Which line a byte stands on, from 1.
    pub(super) fn line_of(&self, offset: usize) -> usize {
        self.0.partition_point(|end| *end < offset) + 1
    }
}

/// Why a file that was named is of no use.
pub(super) fn unreadable(file: &Path, error: &io::Error) -> String {
    format!("{} cannot be read ({error})", file.display())
}

/// All of a file, unless it is larger than any that configures something. A pipe that a shell lays is read, one with a name
/// of its own is not: nobody may ever write to it.
pub(super) fn read_bytes(file: &Path) -> io::Result<Vec<u8>> {
    if std::fs::metadata(file)?.file_type().is_fifo() && !file.starts_with("/dev") && !file.starts_with("/proc") {
        return Err(io::Error::new(ErrorKind::InvalidInput, "a named pipe"));
    }
    let opened = File::open(file)?;
    // As much as is there, and a byte to see that there is no more.
    let expected = opened.metadata()?.len().min(FILE_BYTES_MAX) + 1;
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or_default());
    let count = opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(count).map_or(true, |count| count > FILE_BYTES_MAX) {
        return Err(io::Error::new(ErrorKind::FileTooLarge, "more than 4 MiB"));
    }
    Ok(bytes)
}

/// Whoever may write to a place can be any identity, so a place that everybody may write to is a problem. What is mounted
/// read-only is not, whatever its mode says, such as the folder of a `ConfigMap`; nor is a folder in which each can only
/// touch what is theirs. A link's target is what counts.
pub(super) fn check_closed(place: &Path) -> Result<(), Vec<Problem>> {
    const STICKY: u32 = 0o1000;
    // What cannot be looked at is told by whoever reads it.
    let Ok(found) = std::fs::metadata(place) else { return Ok(()) };
    let mode = found.mode();
    let open = mode & 0o002 != 0 && (found.is_file() || (found.is_dir() && mode & STICKY == 0));
    if !open || statvfs(place).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY)) {
        return Ok(());
    }
    let found = format!("everybody may write to it (mode {:04o})", mode & 0o7777);
    let remedy = "see that all in it is yours, then chmod o-w it".to_owned();
    Err(vec![Problem { file: place.to_owned(), line: None, key: String::new(), found, remedy }])
}

/// The whole text of a configuration file; its one problem when there is none, or when it is anybody's.
pub(super) fn read_text(file: &Path, remedy: &str) -> Result<String, Vec<Problem>> {
    check_closed(file)?;
    let text = read_bytes(file).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|_not_text| io::Error::new(ErrorKind::InvalidData, "not UTF-8"))
    });
    text.map_err(|error| {
        let (found, remedy) = (format!("cannot be read ({error})"), remedy.to_owned());
        vec![Problem { file: file.to_owned(), line: None, key: String::new(), found, remedy }]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    #[test]
    fn what_everybody_may_write_to_is_a_problem() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("server.toml"), folder.path().join("link.toml"));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let told = |place: &Path, mode| {
            std::fs::set_permissions(place, PermissionsExt::from_mode(mode)).unwrap();
            check_closed(place).map_err(|problems| problems[0].to_string())
        };
        for (place, mode, good) in [
            (&*file, 0o666, false),
            (&file, 0o646, false),
            (&file, 0o664, true),
            (&link, 0o644, true),
            (&link, 0o666, false),
            (folder.path(), 0o777, false),
            (folder.path(), 0o1777, true),
            (folder.path(), 0o700, true),
        ] {
            assert_eq!(told(place, mode).is_ok(), good, "{} {mode:o}", place.display());
        }
        assert!(told(&file, 0o666).unwrap_err().contains("everybody may write to it (mode 0666); "));
        assert_eq!(check_closed(Path::new("/dev/null")), Ok(()));
    }

    #[test]
    fn a_named_pipe_is_no_file_and_nobody_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("policy.toml");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(read_bytes(&pipe).unwrap_err().to_string(), "a named pipe");
    }
}

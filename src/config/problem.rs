//! What is wrong with a file: where, what was found, and what would do.

use std::fmt;
use std::path::{Path, PathBuf};

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

/// Which line of a text a byte stands on, from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// Why a file that was named is of no use.
pub(super) fn unreadable(file: &Path, error: &std::io::Error) -> String {
    format!("{} cannot be read ({error})", file.display())
}

/// The whole text of a configuration file; its one problem when there is none.
pub(super) fn read_text(file: &Path, remedy: &str) -> Result<String, Vec<Problem>> {
    std::fs::read_to_string(file).map_err(|error| {
        let (found, remedy) = (format!("cannot be read ({error})"), remedy.to_owned());
        vec![Problem { file: file.to_owned(), line: None, key: String::new(), found, remedy }]
    })
}

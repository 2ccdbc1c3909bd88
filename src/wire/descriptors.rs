//! How many files this process may have open, and how many of them connections may take.
//!
//! **Why**: a connection is an open file. Were the system's limit found by `accept`, strangers could keep the journal from
//! opening its next segment, or the agent from reaching its server.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For what is no client of the main door: journal, index, session key, outgoing calls, and the other doors' connections.
const KEPT: u64 = 512;

/// Raises the limit of open files as far as the system lets us. For daemons: what a process starts inherits it.
pub fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// How many connections the limit leaves for the main door, of so many that it would take.
pub fn connections_of(wanted: usize) -> usize {
    let Some(files) = getrlimit(Resource::Nofile).current else { return wanted };
    let left = left_of(files);
    if left < wanted {
        tracing::warn!(files, connections = left, "the limit of open files is below what all connections may take");
    }
    left.min(wanted)
}

/// With hardly any files at all, half of them.
fn left_of(files: u64) -> usize {
    usize::try_from(files.saturating_sub(KEPT).max(files / 2)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_journal() {
        for (files, connections) in [(1 << 20, (1 << 20) - 512), (1024, 512), (600, 300), (0, 0)] {
            assert_eq!(left_of(files), connections);
        }
        raise_open_files();
        assert_eq!(connections_of(1), 1);
    }
}

//! How many files this process may have open, and how many of them connections may take.
//!
//! **Why**: a connection is an open file. Were the system's limit found by `accept`, strangers could keep the journal from
//! opening its next segment.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For what is no client of the issuer port: journal, index, outgoing fetches, and the connections of the other doors.
const KEPT: u64 = 512;

/// Raises the limit as far as the system lets us, and says how many connections that leaves for the issuer port.
pub(super) fn for_connections() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
    let Some(files) = getrlimit(Resource::Nofile).current else { return usize::MAX };
    let left = left_of(files);
    if left < crate::api::limits::CONNECTIONS_MAX {
        tracing::warn!(files, connections = left, "the limit of open files is below what all connections may take");
    }
    left
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
        assert!(for_connections() > 0);
    }
}

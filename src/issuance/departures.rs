//! Whose account was switched off loses what lives of it, without waiting for the next renewal.

use super::Issuance;
use crate::directory::{Directory, DirectoryError};
use std::collections::BTreeSet;

/// How the facts are called that a directory knows.
const OF_DIRECTORY: &str = "directory.";

impl Issuance {
    /// Looks at the accounts behind the live sessions whose rules grant nothing without the directory, and ends those of users who may not
    /// act any more. How many ended.
    ///
    /// # Errors
    /// When the directory cannot say; then nothing ends.
    pub async fn end_departed(&self, directory: &Directory) -> Result<usize, DirectoryError> {
        let policy = self.policy.now();
        let rules = policy.rules().iter().filter(|rule| rule.falls_with(OF_DIRECTORY)).map(|rule| rule.name.as_str());
        let live = self.sessions.by_user(&rules.collect::<BTreeSet<_>>(), self.clock.now());
        let of_directory = |user: &&(_, u64)| directory.settings().issuers.contains(&user.0);
        let mut ended = 0;
        for (user, why) in directory.departed(live.keys().filter(of_directory).cloned()).await? {
            let sessions = live.get(&user).map(Vec::as_slice).unwrap_or_default();
            tracing::warn!(why, "{} sessions end: their user's account may not act any more", sessions.len());
            for (session, owner) in sessions {
                ended += usize::from(self.end_unmet(session, *owner).await);
            }
        }
        Ok(ended)
    }
}

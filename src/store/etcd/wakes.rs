//! A replica that could not hear for a while: its process was stopped, or its machine slept or had no time for it. When it
//! goes on it has judged, and is asked, by what it knew before.

use super::Etcd;
use super::error::Fault;
use crate::store::StoreError;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// For what came meanwhile.
const TAKEN_IN_WITHIN: Duration = Duration::from_secs(2);

impl Etcd {
    /// Resolves once what others did meanwhile is taken in: then a ban has closed the job that is about to be admitted, and the
    /// conditions of its commit do not hold. At once where nothing was missed, and where nobody answers.
    pub(super) async fn wakes(&self) -> Result<(), StoreError> {
        if !self.tide.may_have_missed() {
            return Ok(());
        }
        let (asked, until) = (self.tide.moment(), Instant::now() + TAKEN_IN_WITHIN);
        let tick = match self.newest_tick(until).await {
            // What may be done without a quorum is decided by that.
            Err(Fault::Away(_)) => {
                self.tide.is_silent();
                return Ok(());
            }
            tick => tick?,
        };
        let taken_in = async {
            self.copy.reaches(tick).await;
            self.copy.waiting.all_taken_in().await;
        };
        let late = |_| StoreError::Unreachable { why: "what others did meanwhile is not taken in yet".to_owned() };
        timeout_at(until, taken_in).await.map_err(late)?;
        self.tide.confirm(asked);
        self.tide.is_taken_in(asked);
        Ok(())
    }
}

//! What callers see: the job's identity, and the runner's own while no job has one.
//!
//! **Invariant**: while a job's session lives only its own identity is seen, also when the server is away.
//! Whoever looks works it out, so a login counts before it is answered.

use super::keeper::{Identity, KeeperWatch, State};
use std::pin::Pin;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt};

/// Whose state decides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Side {
    Both,
    Job,
    Runner,
}

/// See the file's words.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    job: KeeperWatch,
    runner: Option<KeeperWatch>,
    /// What the last look saw.
    last: Option<Side>,
}

impl Shown {
    pub(super) const fn new(job: KeeperWatch, runner: Option<KeeperWatch>) -> Self {
        Self { job, runner, last: None }
    }

    /// What is so now.
    pub(super) fn now(&self) -> State {
        let runner = self.runner.as_ref().map(|runner| runner.borrow());
        seen(&self.job.borrow(), runner.as_deref())
    }

    /// What can be handed out now, if anything can.
    pub(super) fn serving(&self) -> Option<Identity> {
        self.now().serving()
    }

    /// The same, and what was before this is no change any more.
    pub(super) fn look(&mut self) -> State {
        self.job.mark_unchanged();
        if let Some(runner) = &mut self.runner {
            runner.mark_unchanged();
        }
        self.last = Some(self.side());
        self.now()
    }

    /// Waits until something else is seen; false when nothing else will be.
    pub(super) async fn changed(&mut self) -> bool {
        loop {
            let of = tokio::select! {
                changed = self.job.changed() => match changed {
                    Ok(()) => Side::Job,
                    Err(_gone) => return false,
                },
                () = changed(self.runner.as_mut()) => Side::Runner,
            };
            if self.is_news(of) {
                return true;
            }
        }
    }

    /// What is so now, and each time that something else is seen.
    pub(super) fn states(mut self) -> impl Stream<Item = State> + Send {
        let job = WatchStream::new(self.job.clone()).map(|_state| Side::Job);
        let runner: Pin<Box<dyn Stream<Item = Side> + Send>> = match self.runner.clone() {
            Some(runner) => Box::pin(WatchStream::from_changes(runner).map(|_state| Side::Runner)),
            None => Box::pin(tokio_stream::empty()),
        };
        job.merge(runner).filter_map(move |of| self.is_news(of).then(|| self.now()))
    }

    /// Whether a change on one side changes what is seen.
    fn is_news(&mut self, of: Side) -> bool {
        let is = self.side();
        let was = self.last.replace(is);
        was != Some(is) || is == Side::Both || is == of
    }

    fn side(&self) -> Side {
        let runner = self.runner.as_ref().is_some_and(|runner| matches!(&*runner.borrow(), State::Serving(_)));
        match &*self.job.borrow() {
            State::Serving(_) | State::Lapsed | State::Stopping => Side::Job,
            State::Waiting | State::Between | State::Withdrawn if runner => Side::Runner,
            State::Waiting | State::Between | State::Withdrawn => Side::Both,
        }
    }
}

/// Waits for a change; of a keeper that is not there, or gone, there is none.
async fn changed(keeper: Option<&mut KeeperWatch>) {
    if let Some(keeper) = keeper
        && keeper.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

fn seen(job: &State, runner: Option<&State>) -> State {
    match (job, runner) {
        (State::Serving(_) | State::Lapsed | State::Stopping, _) | (_, None) => job.clone(),
        (State::Waiting | State::Between | State::Withdrawn, Some(State::Serving(own))) => State::Serving(own.clone()),
        (State::Withdrawn, Some(State::Withdrawn)) => State::Withdrawn,
        (State::Waiting, Some(State::Waiting | State::Lapsed | State::Stopping)) => State::Waiting,
        // One of the two has ended, and the other can still come.
        (State::Waiting | State::Between | State::Withdrawn, Some(_)) => State::Between,
    }
}

#[cfg(test)]
mod tests {
    use super::super::keeper::Keeper;
    use super::super::keeper::tests::identity;
    use super::*;

    fn session(state: &State) -> String {
        state.serving().map_or_else(|| format!("{state:?}"), |identity| identity.session)
    }

    #[test]
    fn a_runner_s_identity_is_seen_while_no_job_has_a_session_and_never_beside_one() {
        let serving = |session: &str| State::Serving(identity(session));
        for (job, runner, saw) in [
            (State::Waiting, Some(serving("runner")), "runner"),
            (State::Between, Some(serving("runner")), "runner"),
            (State::Withdrawn, Some(serving("runner")), "runner"),
            (serving("job"), Some(serving("runner")), "job"),
            (State::Lapsed, Some(serving("runner")), "Lapsed"),
            (State::Stopping, Some(serving("runner")), "Stopping"),
            (State::Waiting, Some(State::Waiting), "Waiting"),
            (State::Waiting, Some(State::Withdrawn), "Between"),
            (State::Withdrawn, Some(State::Lapsed), "Between"),
            (State::Withdrawn, Some(State::Withdrawn), "Withdrawn"),
            (State::Waiting, None, "Waiting"),
            (State::Withdrawn, None, "Withdrawn"),
        ] {
            assert_eq!(session(&seen(&job, runner.as_ref())), saw, "{job:?} beside {runner:?}");
        }
    }

    #[tokio::test]
    async fn what_the_other_side_does_is_no_change() {
        let (job, runner) = (Keeper::default(), Keeper::default());
        let mut shown = Shown::new(job.watch(), Some(runner.watch()));
        runner.serve(identity("runner"));
        assert_eq!(session(&shown.look()), "runner");
        let mut unchanged = async || tokio::time::timeout(std::time::Duration::ZERO, shown.changed()).await.is_err();
        job.withdraw();
        job.expect_one();
        assert!(unchanged().await, "a login is on its way");
        job.serve(identity("job"));
        assert!(!unchanged().await);
        runner.serve(identity("runner, renewed"));
        assert!(unchanged().await, "the job's is seen");
        job.withdraw();
        assert!(!unchanged().await);
        assert_eq!(session(&shown.look()), "runner, renewed");
    }
}

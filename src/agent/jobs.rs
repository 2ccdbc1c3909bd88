//! The jobs of a host: each with a keeper and a renewer of its own, from the first caller out of its cgroup until that is
//! empty.
//!
//! ```text
//!   a caller ─▶ its job's cgroup ─▶ known? ─ no ─▶ begun: keeper, renewer
//!   once a second: a cgroup that is empty or gone ─▶ Close ─▶ the server knows ─▶ forgotten
//! ```
//! **Invariant**: a job is its cgroup's inode; whoever cannot be brought to exactly one gets nothing.

use super::caller::{HostRules, NotAJob, Process, Tree, which_job};
use super::desk::Job;
use super::ears::Ears;
use super::keeper::Keeper;
use super::kept::{Kept, Whose};
use super::limits::{JOBS_LOOKED_AT_EVERY, JOBS_MAX};
use super::link::ServerLink;
use super::login_door::AgentHandle;
use super::order::Order;
use super::renewer::Renewer;
use super::run::OnStop;
use super::session_file::{KeptJob, SessionFile, SessionFileError};
use super::shown::Shown;
use crate::clock::Clock;
use crate::crypto::Random;
use crate::telemetry::{Shutdown, chain, contained};
use crate::wire::lanyard::JobEnd;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What every renewer works with.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) link: ServerLink,
    pub(super) ears: Ears,
    pub(super) file: Arc<Mutex<SessionFile>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Random,
}

/// The jobs; clones are the same ones.
#[derive(Clone, Debug)]
pub(super) struct Jobs(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    tree: Tree,
    rules: HostRules,
    boot_id: String,
    link: ServerLink,
    clock: Arc<dyn Clock>,
    known: Mutex<BTreeMap<u64, Known>>,
    begun: mpsc::Sender<Begun>,
}

#[derive(Debug)]
struct Known {
    cgroup: String,
    keeper: Arc<Keeper>,
    job: Job,
}

/// A job that waits for its renewer.
pub(super) struct Begun {
    job: KeptJob,
    keeper: Arc<Keeper>,
    orders: mpsc::Receiver<Order>,
}

impl Jobs {
    /// Goes on with the jobs of a former run whose cgroups are still there; the sessions of all others have ended, and the
    /// server is told.
    pub(super) fn open(
        (tree, rules): (Tree, HostRules),
        tools: &Tools,
    ) -> Result<(Self, mpsc::Receiver<Begun>), SessionFileError> {
        let boot_id = boot_id()?;
        let goes_on =
            |job: &KeptJob| job.boot_id == boot_id && matches!(tree.is_over(&job.cgroup, job.inode), Ok(false));
        let kept = {
            let mut file = tools.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.end_unless(JobEnd::CgroupEmpty, |job| job.is_some_and(goes_on))?;
            file.jobs()
        };
        let (begun, to_run) = mpsc::channel(JOBS_MAX);
        let (link, clock, known) = (tools.link.clone(), Arc::clone(&tools.clock), Mutex::default());
        let jobs = Self(Arc::new(Shared { tree, rules, boot_id, link, clock, known, begun }));
        for job in kept {
            jobs.begin(&mut jobs.known(), job);
        }
        Ok((jobs, to_run))
    }

    /// The job of a process, by what is so now, and the inode that it is known by.
    pub(super) fn job_of(&self, process: &Process) -> Result<(u64, Job), NotAJob> {
        let Shared { tree, rules, boot_id, .. } = &*self.0;
        let cgroup = which_job(&process.facts(tree)?, tree.own(), rules)?.to_string();
        let inode = tree.inode(&cgroup).map_err(|error| NotAJob::reading("its cgroup's folder", &error))?;
        let mut known = self.known();
        let job = match known.get(&inode) {
            Some(known) => known.job.clone(),
            None if known.len() >= JOBS_MAX => return Err(NotAJob::TooMany(JOBS_MAX)),
            None => self.begin(&mut known, KeptJob { boot_id: boot_id.clone(), cgroup, inode }),
        };
        drop(known);
        Ok((inode, job))
    }

    /// Runs every job's renewer, and looks when jobs are over, until shutdown.
    pub(super) async fn run(self, tools: Tools, mut begun: mpsc::Receiver<Begun>, shutdown: Shutdown) {
        let clock = &tools.clock;
        let mut renewers = JoinSet::new();
        let (leftovers, (_nobody, orders)) = (tools.renewer(Whose::Leftovers, Arc::default()), mpsc::channel(1));
        let stop = shutdown.clone();
        renewers.spawn(async move {
            renewed(leftovers, orders, stop).await;
            None
        });
        let mut look = clock.wait_until(clock.now() + JOBS_LOOKED_AT_EVERY);
        loop {
            tokio::select! {
                () = shutdown.wait() => break,
                Some(Begun { job, keeper, orders }) = begun.recv() => {
                    let (inode, stop) = (job.inode, shutdown.clone());
                    let renewer = tools.renewer(Whose::Job(job), keeper);
                    renewers.spawn(async move {
                        renewed(renewer, orders, stop).await;
                        Some(inode)
                    });
                }
                Some(ended) = renewers.join_next() => self.forget(ended),
                () = &mut look => {
                    self.look();
                    look = clock.wait_until(clock.now() + JOBS_LOOKED_AT_EVERY);
                }
            }
        }
        while renewers.join_next().await.is_some() {}
    }

    /// The process ends.
    pub(super) fn stop(&self) {
        self.known().values().for_each(|known| known.keeper.stop());
    }

    /// Closes what is over. Said again each time, until its renewer has ended.
    fn look(&self) {
        for (inode, known) in &*self.known() {
            match self.0.tree.is_over(&known.cgroup, *inode) {
                Ok(false) => {}
                Ok(true) => {
                    let told = known.job.agent.close(JobEnd::CgroupEmpty);
                    tracing::debug!(cgroup = known.cgroup, told, "the job is over");
                }
                Err(error) => {
                    tracing::warn!(%error, cgroup = known.cgroup, "it cannot be seen whether this job is over");
                }
            }
        }
    }

    fn forget(&self, ended: Result<Option<u64>, tokio::task::JoinError>) {
        match ended {
            Ok(Some(inode)) => {
                let job = self.known().remove(&inode);
                tracing::info!(cgroup = job.map(|known| known.cgroup), "the job is over");
            }
            Ok(None) => {}
            Err(error) => tracing::error!(error = chain(&error), "the part that renews for a job broke"),
        }
    }

    fn begin(&self, known: &mut BTreeMap<u64, Known>, kept: KeptJob) -> Job {
        let Shared { link, clock, begun, .. } = &*self.0;
        let (inode, cgroup) = (kept.inode, kept.cgroup.clone());
        tracing::info!(cgroup, inode, "a job");
        let (keeper, (agent, orders)) = (Arc::<Keeper>::default(), AgentHandle::pair());
        let job = Job::new(Shown::new(keeper.watch(), None), (link, clock), agent);
        // There is room for all that are known; without a renewer a job is served nothing.
        if begun.try_send(Begun { job: kept, keeper: Arc::clone(&keeper), orders }).is_err() {
            tracing::debug!(cgroup, "no renewer for this job: the agent is stopping");
        }
        known.insert(inode, Known { cgroup, keeper, job: job.clone() });
        job
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<u64, Known>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One job's renewer until its end. A panic ends that job here and no other; its next caller begins anew with what is kept.
async fn renewed(renewer: Renewer, orders: mpsc::Receiver<Order>, shutdown: Shutdown) {
    if let Err(panicked) = contained(renewer.run(orders, OnStop::KeepSession, shutdown)).await {
        tracing::error!("the renewer of a job {panicked}");
    }
}

impl Tools {
    pub(super) fn renewer(&self, whose: Whose, keeper: Arc<Keeper>) -> Renewer {
        let Self { link, ears, file, clock, random } = self;
        let kept = Kept::new(Arc::clone(file), whose);
        Renewer::new((link.clone(), ears.clone()), kept, keeper, Arc::clone(clock), random.clone())
    }
}

/// What names the time since the machine has started (random(4)).
fn boot_id() -> Result<String, SessionFileError> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(path).map_err(|source| SessionFileError::Io { path: path.into(), source })?;
    Ok(text.trim().to_owned())
}

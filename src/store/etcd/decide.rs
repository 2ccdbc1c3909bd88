//! A transaction, tried until it is known what became of it.

use super::Etcd;
use super::copy::Pending;
use super::error::{EtcdError, Fault};
use super::mark::{Open, Tick, Ticks};
use super::proto::{RangeResponse, TxnRequest, TxnResponse};
use super::request::{NotDone, found, revision, ticks_of};
use crate::store::{Condition, Entry, Revision, Stored, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Between the first two attempts of a transaction; then twice as long each time, up to the other.
const RETRY_AFTER: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(250)];
/// Etcd elects a leader within about two seconds.
pub(super) const DECIDED_WITHIN: Duration = Duration::from_secs(5);

/// What is to be decided, and what the journal is to say of it.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) conditions: Vec<Condition>,
    pub(super) writes: Vec<Write>,
    /// None where no journal is told.
    pub(super) entry: Option<Entry>,
}

/// A transaction that wants these ticks to be there.
type Txn<'a> = &'a (dyn Fn(&Ticks) -> TxnRequest + Sync);

/// What became of a transaction.
#[derive(Clone, Debug)]
pub(super) enum Decided {
    Conflict {
        key: String,
        found: Option<Stored>,
    },
    /// Whether it was put more than once, too.
    Done {
        revision: Revision,
        in_doubt: bool,
    },
}

impl Wish {
    /// Of which no journal is told.
    pub(super) const fn of(conditions: Vec<Condition>, writes: Vec<Write>) -> Self {
        Self { conditions, writes, entry: None }
    }
}

impl Etcd {
    /// Tries a transaction of which no journal is told. A conflict is told once the copy shows what it was with.
    pub(super) async fn decide(self: &Arc<Self>, wish: Wish, within: Duration) -> Result<Decided, Fault> {
        let open = self.copy.marks.open(1);
        let decided = self.decide_as(&open, &[wish], within).await?;
        if let Decided::Done { in_doubt, revision } = &decided {
            open.is_told(*revision, *in_doubt);
        }
        Ok(decided)
    }

    /// The same for a number that was opened before, and for several wishes that are done together or not at all; where
    /// anything is written, its intent stands there until it is told.
    pub(super) async fn decide_as(&self, open: &Open, wishes: &[Wish], within: Duration) -> Result<Decided, Fault> {
        let conditions: Vec<_> = wishes.iter().flat_map(|wish| &wish.conditions).collect();
        let writes: Vec<_> = wishes.iter().flat_map(|wish| &wish.writes).collect();
        let (now, brought) = (self.clocks.now().unix_timestamp(), self.copy.at());
        let to_tell = if writes.is_empty() { &[] } else { wishes };
        let mark = self.copy.marks.mark((self.replica(), self.process(), open.n), to_tell, (now, brought));
        let txn = |ticks: &Ticks| self.prefix.txn((&conditions, &writes), &mark, ticks);
        let asked = (conditions.as_slice(), !writes.is_empty());
        let decided = self.attempt(open, (asked, &txn), Instant::now() + within).await;
        match decided {
            Ok(Decided::Done { .. }) if !writes.is_empty() => self.copy.marks.are_gone(&mark.told),
            _ => self.copy.marks.put_back(&mark.told),
        }
        decided
    }

    async fn attempt(
        &self,
        open: &Open,
        ((conditions, wrote), txn): ((&[&Condition], bool), Txn<'_>),
        until: Instant,
    ) -> Result<Decided, Fault> {
        let pending = wrote.then(|| self.copy.expect(open.n));
        let (mut in_doubt, [mut pause, longest]) = (false, RETRY_AFTER);
        loop {
            let before = self.tide.ticks();
            let (answer, hedged) = self.ask(&txn(&before)).await;
            in_doubt |= hedged;
            let why = match answer {
                Ok(answer) if answer.succeeded => return Ok(self.done(pending, at(&answer), in_doubt)),
                Ok(answer) => {
                    let not_done = NotDone::of(&self.prefix, (conditions, wrote), answer);
                    return match not_done.before {
                        Some(revision) => Ok(self.done(pending, revision, in_doubt)),
                        None => self.conflict(not_done, &before, until).await,
                    };
                }
                Err(Fault::Away(why)) => why,
                // Another attempt may have been taken.
                Err(fault) if in_doubt => return Err(Fault::Away(EtcdError::from(fault).to_string())),
                Err(fault) => return Err(fault),
            };
            in_doubt = true;
            if let Some(revision) = pending.as_ref().and_then(Pending::fate) {
                return Ok(self.done(pending, revision, in_doubt));
            }
            tokio::time::sleep(pause).await;
            // Whoever was stopped meanwhile decides nothing by what was true then.
            if Instant::now() >= until {
                return Err(Fault::Away(why));
            }
            pause = longest.min(pause * 2);
        }
    }

    /// Takes away what is told, where nothing else that is done takes it along; and says how far all is told.
    pub(super) async fn leave(&self, told: &[String]) -> Result<(), Fault> {
        let before = self.tide.ticks();
        let tick = Tick { by: self.process().to_owned(), n: None, told: self.copy.told_up_to() };
        let seen = self.tide.seen();
        let answer = self.client.txn(self.prefix.leave((self.replica(), &tick, told), &before)).await?;
        self.tide.judge(answer.header.as_ref().map(|header| (header.cluster_id, revision(header.revision))), seen);
        if answer.succeeded {
            self.tide.ticked(self.replica(), at(&answer));
            return Ok(());
        }
        let ticks = found(answer).next().unwrap_or_default();
        self.tide.hold(&ticks_of(&self.prefix, &ticks), &before);
        Err(Fault::Away("etcd does not hold what was written last".to_owned()))
    }

    /// It was done, and whoever asked is told so.
    fn done(&self, pending: Option<Pending<'_>>, revision: Revision, in_doubt: bool) -> Decided {
        if let Some(pending) = pending {
            self.tide.ticked(&self.replica, revision);
            pending.was_done(revision);
        }
        Decided::Done { revision, in_doubt }
    }

    /// It was not, and nor was it before: etcd has lost something, or a condition does not hold.
    async fn conflict(&self, not_done: NotDone, before: &Ticks, until: Instant) -> Result<Decided, Fault> {
        let NotDone { ticks, conflict, .. } = not_done;
        self.tide.hold(&ticks, before);
        if let Some(went_back) = self.tide.went_back() {
            return Err(Fault::WentBack(went_back));
        }
        // The conflict stands, whatever can be shown of it.
        drop(self.catch_up(until).await);
        let (key, found) = conflict.ok_or_else(|| Fault::Away("etcd's answer makes no sense".to_owned()))?;
        Ok(Decided::Conflict { key, found })
    }

    /// Its intent keeps it from being done twice. And whether it may arrive twice.
    async fn ask(&self, txn: &TxnRequest) -> (Result<TxnResponse, Fault>, bool) {
        let before = self.tide.seen();
        let (answer, hedged) = self.client.txn_hedged(txn).await;
        if let Ok(answer) = &answer {
            let header = answer.header.as_ref();
            self.tide.judge(header.map(|header| (header.cluster_id, revision(header.revision))), before);
        }
        (answer, hedged)
    }

    /// Resolves once the copy shows all that was acknowledged to anybody before.
    pub(super) async fn catch_up(&self, until: Instant) -> Result<(), Fault> {
        let tick = self.newest_tick(until).await?;
        let reached = tokio::time::timeout_at(until, self.copy.reaches(tick)).await;
        reached.map_err(|_late| Fault::Away("the watch does not bring what etcd has".to_owned()))
    }

    /// The revision of the last transaction of any replica that wrote. All that we know of must be there.
    pub(super) async fn newest_tick(&self, until: Instant) -> Result<Revision, Fault> {
        let (before, seen) = (self.tide.ticks(), self.tide.seen());
        let RangeResponse { header, kvs, .. } = self.client.range(&self.prefix.ticks(), until).await?;
        self.tide.judge(header.map(|header| (header.cluster_id, revision(header.revision))), seen);
        Ok(self.tide.hold(&ticks_of(&self.prefix, &kvs), &before))
    }
}

fn at(answer: &TxnResponse) -> Revision {
    answer.header.as_ref().map(|header| revision(header.revision)).unwrap_or_default()
}

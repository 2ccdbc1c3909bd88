//! A commit as a transaction of etcd, and what its answer means. Functions of their arguments.

use super::mark::{Mark, TICKS, Tick, Ticks, UNWATCHED, compared, tick_key};
use super::proto::compare::{Result as Wanted, Target, TargetUnion};
use super::proto::request_op::Request as Op;
use super::proto::response_op::Response as Answered;
use super::proto::{
    Compare, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse,
};
use crate::store::{Condition, Revision, Stored, Write};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The part of etcd that is ours.
#[derive(Clone, Debug)]
pub(super) struct Prefix(pub(super) String);

impl Prefix {
    pub(super) fn key(&self, key: &str) -> Bytes {
        format!("{}{key}", self.0).into()
    }

    /// The name of a key of ours.
    pub(super) fn name<'k>(&self, key: &'k [u8]) -> Option<&'k str> {
        std::str::from_utf8(key).ok()?.strip_prefix(&self.0)
    }

    /// The first key that is not watched: after all that are.
    pub(super) fn end(&self) -> Bytes {
        self.key(UNWATCHED)
    }

    /// The first key after those whose names begin so: that beginning with its last byte one higher.
    pub(super) fn end_of(&self, names: &str) -> Bytes {
        let mut end = format!("{}{names}", self.0).into_bytes();
        while let Some(last) = end.pop() {
            if let Some(next) = last.checked_add(1) {
                end.push(next);
                return end.into();
            }
        }
        // Everything.
        Bytes::from_static(&[0])
    }

    /// All ticks.
    pub(super) fn ticks(&self) -> RangeRequest {
        RangeRequest { key: self.key(TICKS), range_end: self.end_of(TICKS), ..RangeRequest::default() }
    }

    /// The transaction of these conditions and writes, where what each replica wrote last is still there. Where anything
    /// does not hold, it reads what the conditions' keys hold, whether it was done before, and all ticks.
    pub(super) fn txn(
        &self,
        (conditions, writes): (&[&Condition], &[&Write]),
        mark: &Mark,
        ticks: &Ticks,
    ) -> TxnRequest {
        // Of several writes to one key the last counts; etcd takes one.
        let last: BTreeMap<&str, &Write> = writes.iter().map(|write| (write.key(), *write)).collect();
        let still_there = compared(ticks).into_iter().map(|(replica, written)| self.still_there(replica, written));
        let done = Condition::Absent(mark.intent.0.clone());
        let done = Some(&done).filter(|_| !last.is_empty());
        let compare = conditions
            .iter()
            .copied()
            .chain(done)
            .map(|condition| self.compare(condition))
            .chain(still_there)
            .collect();
        let success = if last.is_empty() { Vec::new() } else { self.writes(&last, mark) };
        let read = |condition: &Condition| {
            Op::Range(RangeRequest { key: self.key(condition.key()), ..RangeRequest::default() })
        };
        let reads = conditions.iter().copied().chain(done).map(read).chain([Op::Range(self.ticks())]);
        TxnRequest { compare, success: ops(success), failure: ops(reads) }
    }

    fn writes(&self, last: &BTreeMap<&str, &Write>, mark: &Mark) -> Vec<Op> {
        let put = |key, value| Op::Put(PutRequest { key, value, lease: 0 });
        let tick = put(tick_key(self, &mark.replica), json(&mark.tick));
        let intent = put(self.key(&mark.intent.0), Bytes::clone(&mark.intent.1));
        let told = mark.told.iter().map(|key| Op::DeleteRange(DeleteRangeRequest { key: self.key(key) }));
        let writes = last.values().map(|write| match write {
            Write::Put(key, value) => put(self.key(key), value.get().to_owned().into()),
            Write::Delete(key) => Op::DeleteRange(DeleteRangeRequest { key: self.key(key) }),
        });
        [tick, intent].into_iter().chain(writes).chain(told).collect()
    }

    /// One write under one condition, by whomever.
    pub(super) fn bare(&self, (condition, write): &(Condition, Write)) -> TxnRequest {
        let write = match write {
            Write::Put(key, value) => {
                Op::Put(PutRequest { key: self.key(key), value: value.get().to_owned().into(), lease: 0 })
            }
            Write::Delete(key) => Op::DeleteRange(DeleteRangeRequest { key: self.key(key) }),
        };
        TxnRequest { compare: vec![self.compare(condition)], success: ops([write]), failure: Vec::new() }
    }

    /// Takes told intents of a replica away and ticks, where what each replica wrote last is still there. Where not, it reads
    /// all ticks.
    pub(super) fn leave(&self, (replica, tick, told): (&str, &Tick, &[String]), ticks: &Ticks) -> TxnRequest {
        let compare =
            compared(ticks).into_iter().map(|(replica, written)| self.still_there(replica, written)).collect();
        let tick = Op::Put(PutRequest { key: tick_key(self, replica), value: json(tick), lease: 0 });
        let gone = told.iter().map(|key| Op::DeleteRange(DeleteRangeRequest { key: self.key(key) }));
        TxnRequest { compare, success: ops([tick].into_iter().chain(gone)), failure: ops([Op::Range(self.ticks())]) }
    }

    /// Reads these keys.
    pub(super) fn values(&self, keys: &[String]) -> TxnRequest {
        let read = |key: &String| Op::Range(RangeRequest { key: self.key(key), ..RangeRequest::default() });
        TxnRequest { compare: Vec::new(), success: ops(keys.iter().map(read)), failure: Vec::new() }
    }

    /// Takes these keys away, whoever reads what.
    pub(super) fn without(&self, keys: &[String]) -> TxnRequest {
        let gone = keys.iter().map(|key| Op::DeleteRange(DeleteRangeRequest { key: self.key(key) }));
        TxnRequest { compare: Vec::new(), success: ops(gone), failure: Vec::new() }
    }

    /// What a replica wrote last, or something after it.
    fn still_there(&self, replica: &str, written: Revision) -> Compare {
        let before = i64::try_from(written.saturating_sub(1)).unwrap_or(i64::MAX);
        let (result, target) = (Wanted::Greater.into(), Target::Mod.into());
        Compare { result, target, key: tick_key(self, replica), target_union: Some(TargetUnion::ModRevision(before)) }
    }

    fn compare(&self, condition: &Condition) -> Compare {
        let (wanted, target, value) = match condition {
            Condition::Absent(_) => (Wanted::Equal, Target::Version, TargetUnion::Version(0)),
            Condition::Present(_) => (Wanted::Greater, Target::Version, TargetUnion::Version(0)),
            Condition::Unchanged(_, revision) => {
                (Wanted::Equal, Target::Mod, TargetUnion::ModRevision(i64::try_from(*revision).unwrap_or(i64::MAX)))
            }
        };
        let key = self.key(condition.key());
        Compare { result: wanted.into(), target: target.into(), key, target_union: Some(value) }
    }
}

fn ops(all: impl IntoIterator<Item = Op>) -> Vec<RequestOp> {
    all.into_iter().map(|request| RequestOp { request: Some(request) }).collect()
}

/// What each of an answer's reads found.
pub(super) fn found(answer: TxnResponse) -> impl Iterator<Item = Vec<KeyValue>> {
    answer.responses.into_iter().map(|one| match one.response {
        Some(Answered::Range(range)) => range.kvs,
        None => Vec::new(),
    })
}

/// Why a transaction was not done now.
#[derive(Debug)]
pub(super) struct NotDone {
    /// It had been done before, with this revision.
    pub(super) before: Option<Revision>,
    /// The last transactions of all replicas.
    pub(super) ticks: Ticks,
    /// The first condition that did not hold, and what its key holds.
    pub(super) conflict: Option<(String, Option<Stored>)>,
}

impl NotDone {
    /// Reads an answer to these conditions; whether it `wrote` tells what was asked.
    pub(super) fn of(prefix: &Prefix, (conditions, wrote): (&[&Condition], bool), answer: TxnResponse) -> Self {
        let mut found = found(answer);
        let held: Vec<_> = found.by_ref().take(conditions.len()).map(|kvs| kvs.first().and_then(stored)).collect();
        let before = if wrote { found.next().and_then(|kvs| Some(revision(kvs.first()?.mod_revision))) } else { None };
        let ticks = ticks_of(prefix, &found.next().unwrap_or_default());
        let holds = |(condition, held): &(&&Condition, Option<Stored>)| {
            condition.holds(held.as_ref().map(|held| held.revision))
        };
        let conflict = conditions.iter().zip(held).find(|judged| !holds(judged));
        Self { before, ticks, conflict: conflict.map(|(condition, held)| (condition.key().to_owned(), held)) }
    }
}

/// What of these are ticks.
pub(super) fn ticks_of(prefix: &Prefix, kvs: &[KeyValue]) -> Ticks {
    let tick = |kv: &KeyValue| Some((prefix.name(&kv.key)?.strip_prefix(TICKS)?.to_owned(), revision(kv.mod_revision)));
    kvs.iter().filter_map(tick).collect()
}

/// A value of ours; none where it is no JSON text.
pub(super) fn stored(kv: &KeyValue) -> Option<Stored> {
    let text = std::str::from_utf8(&kv.value).ok()?.to_owned();
    Some(Stored { value: RawValue::from_string(text).ok()?, revision: revision(kv.mod_revision) })
}

/// As etcd counts, which is never below zero.
pub(super) fn revision(of_etcd: i64) -> Revision {
    Revision::try_from(of_etcd).unwrap_or_default()
}

/// Small things of ours always have a text.
pub(super) fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::super::clocks::CLOCKS;
    use super::super::cluster::{KEYRING, REPLICAS};
    use super::super::epoch::KEY as EPOCH;
    use super::super::lead::KEY as LEAD;
    use super::super::mark::INTENTS;
    use super::super::reconcile::{KNOWN, RESTORED};
    use super::super::waiting::WAITING;
    use super::*;

    #[test]
    fn a_prefix_ends_where_the_next_name_begins() {
        assert_eq!(&*Prefix("lanyard/".to_owned()).end_of(""), b"lanyard0");
        assert_eq!(&*Prefix("a\u{7f}".to_owned()).end_of(""), b"a\x80");
    }

    #[test]
    fn all_that_replicas_tell_each_other_is_watched_but_for_intents() {
        let prefix = Prefix("p/".to_owned());
        let is_watched = |name: &str| prefix.key(name) < prefix.end();
        for name in [TICKS, CLOCKS, REPLICAS, KEYRING, KNOWN, WAITING, EPOCH, RESTORED, LEAD, "session/\u{10ffff}"] {
            assert!(is_watched(name) && is_watched(&format!("{name}\u{10ffff}")), "{name}");
        }
        assert!(!is_watched(INTENTS) && INTENTS > UNWATCHED);
    }

    fn mark() -> Mark {
        let tick = Tick { by: "p".to_owned(), n: Some(2), told: 0 };
        let told = vec!["~~intent/a/p/1".to_owned()];
        Mark { replica: "a".to_owned(), tick, intent: ("~~intent/a/p/2".to_owned(), Bytes::from_static(b"{}")), told }
    }

    #[test]
    fn one_key_is_written_once_and_reading_writes_nothing() {
        let prefix = Prefix("p/".to_owned());
        let put = |value: &str| Write::Put("k".to_owned(), RawValue::from_string(value.to_owned()).unwrap());
        let writes = [put("1"), Write::Delete("k".to_owned()), put("2")];
        let txn = prefix.txn((&[], &writes.each_ref()), &mark(), &Ticks::new());
        let Some(Op::Put(last)) = &txn.success[2].request else { panic!("no put") };
        // Tick, intent, the key, and an intent that is told.
        assert_eq!((txn.success.len(), &*last.value), (4, &b"2"[..]));
        let present = [Condition::Present("k".to_owned())];
        assert!(prefix.txn((&present.each_ref(), &[]), &mark(), &Ticks::new()).success.is_empty());
    }

    #[test]
    fn every_transaction_wants_the_last_ones_to_be_there() {
        let (prefix, ticks) = (Prefix("p/".to_owned()), Ticks::from([("a".to_owned(), 7), ("b".to_owned(), 9)]));
        let txn = prefix.txn((&[], &[]), &mark(), &ticks);
        let wants: Vec<_> = txn.compare.iter().map(|one| (&*one.key, one.target_union, one.result())).collect();
        let after = |revision| (Some(TargetUnion::ModRevision(revision)), Wanted::Greater);
        let wanted = [(&b"p/~tick/b"[..], after(8)), (&b"p/~tick/a"[..], after(6))];
        assert_eq!(wants, wanted.map(|(key, (value, result))| (key, value, result)));
    }
}

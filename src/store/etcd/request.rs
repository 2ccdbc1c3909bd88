//! A commit as a transaction of etcd, and what its answer means. Functions of their arguments.

use super::proto::compare::{Result as Wanted, Target, TargetUnion};
use super::proto::request_op::Request as Op;
use super::proto::response_op::Response as Answered;
use super::proto::{
    Compare, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse,
};
use crate::store::{Condition, Revision, Stored, Write};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Who wrote last. Each transaction that writes puts one.
pub(super) const TICK: &str = "~tick";

/// The mark of one transaction.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Tick {
    /// The process that wrote.
    pub(super) by: String,
    /// Which of its transactions.
    pub(super) n: u64,
}

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

    /// The first key that is not ours any more: the prefix with its last byte one higher.
    pub(super) fn end(&self) -> Bytes {
        let mut end = self.0.clone().into_bytes();
        while let Some(last) = end.pop() {
            if let Some(next) = last.checked_add(1) {
                end.push(next);
                return end.into();
            }
        }
        // Everything.
        Bytes::from_static(&[0])
    }

    /// The transaction of these conditions and writes. Where a condition does not hold, it reads what all keys hold.
    pub(super) fn txn(&self, conditions: &[Condition], writes: &[Write], tick: &Tick) -> TxnRequest {
        let compare = conditions.iter().map(|condition| self.compare(condition)).collect();
        let op = |request| RequestOp { request: Some(request) };
        // Of several writes to one key the last counts; etcd takes one.
        let last: BTreeMap<&str, &Write> = writes.iter().map(|write| (name_of(write), write)).collect();
        let tick = Op::Put(PutRequest { key: self.key(TICK), value: json(tick), lease: 0 });
        let writes = last.values().map(|write| match write {
            Write::Put(key, value) => {
                Op::Put(PutRequest { key: self.key(key), value: value.get().to_owned().into(), lease: 0 })
            }
            Write::Delete(key) => Op::DeleteRange(DeleteRangeRequest { key: self.key(key) }),
        });
        let success = if last.is_empty() { Vec::new() } else { std::iter::once(tick).chain(writes).map(op).collect() };
        let read = |condition: &Condition| {
            op(Op::Range(RangeRequest { key: self.key(condition.key()), ..RangeRequest::default() }))
        };
        TxnRequest { compare, success, failure: conditions.iter().map(read).collect() }
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

/// The first condition that did not hold, and what its key holds.
pub(super) fn conflict(conditions: &[Condition], answer: TxnResponse) -> Option<(String, Option<Stored>)> {
    let found = answer.responses.into_iter().map(|one| match one.response {
        Some(Answered::Range(range)) => range.kvs.into_iter().next().and_then(|kv| stored(&kv)),
        None => None,
    });
    let mut judged = conditions.iter().zip(found);
    let (condition, found) =
        judged.find(|(condition, found)| !condition.holds(found.as_ref().map(|found| found.revision)))?;
    Some((condition.key().to_owned(), found))
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

fn name_of(write: &Write) -> &str {
    match write {
        Write::Delete(key) | Write::Put(key, _) => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_the_next_name_begins() {
        assert_eq!(&*Prefix("lanyard/".to_owned()).end(), b"lanyard0");
        assert_eq!(&*Prefix("a\u{7f}".to_owned()).end(), b"a\x80");
    }

    #[test]
    fn one_key_is_written_once_and_reading_writes_nothing() {
        let prefix = Prefix("p/".to_owned());
        let tick = Tick { by: "a".to_owned(), n: 1 };
        let put = |value: &str| Write::Put("k".to_owned(), RawValue::from_string(value.to_owned()).unwrap());
        let txn = prefix.txn(&[], &[put("1"), Write::Delete("k".to_owned()), put("2")], &tick);
        let Some(Op::Put(last)) = &txn.success[1].request else { panic!("no put") };
        assert_eq!((txn.success.len(), &*last.value), (2, &b"2"[..]));
        assert!(prefix.txn(&[Condition::Present("k".to_owned())], &[], &tick).success.is_empty());
    }
}

//! A replica whose journal takes no more writes after etcd has said yes: nobody gets anything by it, and it is told later.

use crate::agent::Agent;
use crate::apart;
use crate::callers::{now, serial};
use crate::journal::{intents, records};
use crate::replica::{Replicas, until};
use crate::server::{audit_verify, words};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer than anything here should take on a machine with much else to do.
const LIMIT: Duration = Duration::from_secs(30);
/// The reserve takes half of it.
const ROOM_KIB: usize = 16 << 10;

/// Takes all the room that there is.
fn ballast(folder: &Path) -> PathBuf {
    let path = folder.join("ballast");
    let mut file = fs::File::create(&path).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    path
}

#[test]
fn what_a_full_disk_keeps_from_the_journal_gives_nobody_an_identity_and_is_told_later() {
    if apart::inside("full::what_a_full_disk_keeps_from_the_journal_gives_nobody_an_identity_and_is_told_later") {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(story());
    }
}

async fn story() {
    let mut replicas = Replicas::prepare(2);
    apart::mount_small(&replicas.all[1].place.data(), ROOM_KIB);
    replicas.all.iter_mut().for_each(crate::replica::Replica::start_again);
    let [a, b] = &replicas.all[..] else { panic!("two") };
    let mut given = BTreeSet::new();
    let ballast = ballast(&b.place.data());
    let (agent, token) = loop {
        let (agent, token) = (Agent::new(), a.place.issuer.token(now()));
        match agent.exchange(&b.place, &token).await {
            Ok(answer) => drop(given.insert(serial(&answer.certificate_chain[0]))),
            Err(code) => {
                assert_eq!(code, "store_unavailable");
                break (agent, token);
            }
        }
        assert!(given.len() < 1000, "the disk was never full");
    };
    let opened =
        || replicas.etcd.ctl(&["get", "--prefix", "lanyard/session/", "--keys-only"]).matches("session/").count();
    assert_eq!(opened(), given.len() + 1, "etcd had said yes, or this shows nothing");
    let late = || records(&b.place).into_iter().filter(|record| record["entry"]["kind"] == "told_late");
    until(LIMIT, || async { late().any(|record| record["entry"]["intended"]["kind"] == "intent") }).await;
    // Full as it is, it decides nothing more: the other does.
    assert_eq!(agent.exchange(&b.place, &a.place.issuer.token(now())).await.unwrap_err(), "store_unavailable");
    assert_eq!(opened(), given.len() + 1, "etcd was asked");
    assert_eq!(Agent::new().exchange(&a.place, &token).await.unwrap_err(), "token_replayed");
    let joined = agent.exchange(&a.place, &token).await.unwrap();
    fs::remove_file(ballast).unwrap();
    until(LIMIT, || async { agent.renew(&b.place, &joined.session).await.is_ok() }).await;
    assert_eq!(late().count(), 1, "once");
    let on_record: BTreeSet<_> = intents(&b.place).into_iter().collect();
    assert!(given.is_subset(&on_record), "handed out and not on record");
    assert!(audit_verify(&b.place).status.success(), "{}", words(&audit_verify(&b.place)));
}

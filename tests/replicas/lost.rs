//! A replica is gone with its journal, and etcd was restored: what an operator types, and what becomes of jobs.

use crate::agent::Agent;
use crate::callers::now;
use crate::etcd::Etcd;
use crate::journal::records;
use crate::place::Place;
use crate::replica::{Replica, Replicas, until};
use crate::server::{audit_verify, lanyard, words};
use std::fs;
use std::time::Duration;

/// Longer than anything here should take on a machine with much else to do.
const LIMIT: Duration = Duration::from_secs(30);

/// `lanyard store reconcile`: its exit code, and what it printed.
fn reconcile(place: &Place, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = lanyard();
    let output =
        command.args(["store", "reconcile"]).args(arguments).arg("--config").arg(place.config()).output().unwrap();
    (output.status.code(), words(&output))
}

fn reconciliations(place: &Place) -> Vec<serde_json::Value> {
    let entries = records(place).into_iter().map(|record| record["entry"].clone());
    entries.filter(|entry| entry["kind"] == "store_reconciled").collect()
}

async fn refused(agent: &Agent, replica: &Replica, token: &str, wanted: &str) {
    let code = agent.exchange(&replica.place, token).await.unwrap_err();
    assert_eq!(code, wanted);
}

/// A name that nobody has, this one's own, and a dry run.
fn what_is_only_asked_or_mistyped_changes_nothing(place: &Place, etcd: &Etcd) {
    for (name, says) in
        [("ca-9", "--lost ca-9: this is ca-1, and the others that etcd knows are ca-2"), ("ca-1", "this is ca-1")]
    {
        let (code, said) = reconcile(place, &["--lost", name]);
        assert!(code == Some(1) && said.contains(says), "{code:?}: {said}");
    }
    let (code, said) = reconcile(place, &["--dry-run", "--lost", "ca-2"]);
    assert!(code == Some(0) && said.contains("nothing is written") && said.contains("is refused"), "{said}");
    assert_eq!((etcd.ctl(&["get", "lanyard/~reconcile"]), etcd.ctl(&["get", "lanyard/restored"])), Default::default());
    assert_eq!(reconciliations(place).len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restore_a_replica_that_is_gone_with_its_journal_costs_the_tokens_of_before_and_nothing_else() {
    let mut replicas = Replicas::start(2);
    let known =
        |names: &str| replicas.etcd.ctl(&["get", "--prefix", "lanyard/~known/", "--keys-only"]).matches(names).count();
    until(LIMIT, || async { known("ca-") == 2 }).await;
    let agent = Agent::new();
    replicas.etcd.save_snapshot();
    let tokens = [(); 2].map(|()| replicas.all[0].place.issuer.token(now()));
    let mut sessions = Vec::new();
    for (replica, token) in replicas.all.iter().zip(&tokens) {
        sessions.push(agent.exchange(&replica.place, token).await.unwrap().session);
    }
    replicas.all.iter_mut().for_each(Replica::kill);
    replicas.etcd.restore_snapshot();
    let Replicas { etcd, all, .. } = &mut replicas;
    let [a, b] = &mut all[..] else { panic!("two") };
    fs::remove_dir_all(b.place.data()).unwrap();
    fs::create_dir(b.place.data()).unwrap();

    what_is_only_asked_or_mistyped_changes_nothing(&a.place, etcd);
    let (code, said) = reconcile(&a.place, &[]);
    println!("first:\n{said}");
    assert!(
        code == Some(0) && said.contains("written again") && said.contains("stop ca-2 and run"),
        "{code:?}: {said}"
    );
    let (code, said) = reconcile(&a.place, &[]);
    assert!(code == Some(0) && said.contains("nothing to do here") && said.contains("stop ca-2"), "{code:?}: {said}");
    let (code, said) = reconcile(&a.place, &["--lost", "ca-2"]);
    println!("lost:\n{said}");
    assert!(code == Some(0) && said.contains("all replicas are reconciled: start them"), "{code:?}: {said}");
    assert!(said.contains("ca-2 may have admitted or ended what nobody knows now"), "{said}");
    let (code, said) = reconcile(&a.place, &["--json"]);
    let told: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(code == Some(0) && told["needed"] == false && told["waiting"] == serde_json::json!([]), "{said}");
    let told = reconciliations(&a.place);
    assert_eq!(told.len(), 2, "what did nothing tells nothing: {told:?}");
    assert_eq!((&told[1]["lost"], told[1]["waiting"].as_array().unwrap().len()), (&serde_json::json!(["ca-2"]), 0));
    assert!(told[1]["refused_before"].as_i64().unwrap() > now().unix_timestamp());

    a.start_again();
    for token in &tokens {
        refused(&agent, a, token, "server_restored").await;
    }
    for session in &sessions {
        assert!(agent.renew(&a.place, session).await.is_err());
    }
    // Of a job that begins afterwards; clocks may differ by half a minute.
    let later = || a.place.issuer.token(now() + Duration::from_secs(28));
    until(LIMIT, || async { agent.exchange(&a.place, &later()).await.is_ok() }).await;
    b.start_again();
    until(LIMIT, || async { agent.exchange(&b.place, &later()).await.is_ok() }).await;
    refused(&agent, b, &tokens[1], "server_restored").await;
    let health = b.health();
    assert!(health.to_string().contains("ca-2"), "{health}");
    for place in [&a.place, &b.place] {
        assert!(audit_verify(place).status.success(), "{}", words(&audit_verify(place)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_merely_died_costs_nobody_a_token_whatever_an_operator_types() {
    let mut replicas = Replicas::start(2);
    let agent = Agent::new();
    let (token, job) = (replicas.all[0].place.issuer.token(now()), replicas.all[0].place.issuer.token(now()));
    let session = agent.exchange(&replicas.all[1].place, &token).await.unwrap().session;
    replicas.all.iter_mut().for_each(Replica::kill);
    let before = replicas.etcd.ctl(&["get", "--prefix", "lanyard/", "--keys-only"]);
    let Replicas { etcd, all, .. } = &mut replicas;
    let [a, _] = &mut all[..] else { panic!("two") };
    let (code, said) = reconcile(&a.place, &["--lost", "ca-2"]);
    println!("{said}");
    assert!(code == Some(0) && said.contains("none of this is needed, and nothing was changed"), "{code:?}: {said}");
    assert!(said.contains("after ten minutes") && said.contains("--restored"), "{said}");
    let (code, said) = reconcile(&a.place, &["--lost", "ca-2", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(code == Some(0) && told["needed"] == false, "{said}");
    let after = etcd.ctl(&["get", "--prefix", "lanyard/", "--keys-only"]);
    let stays = |name: &&str| !name.contains("/~lead") && !name.contains("/~clock/") && !name.contains("/~replica/");
    let lasting = |all: &str| all.lines().filter(stays).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lasting(&before), lasting(&after));
    assert_eq!(reconciliations(&a.place).len(), 0);
    a.start_again();
    agent.renew(&a.place, &session).await.unwrap();
    agent.exchange(&a.place, &job).await.unwrap();
    // Nobody saw what it lost: then only an operator can know.
    a.kill();
    let (code, said) = reconcile(&a.place, &["--lost", "ca-2", "--restored"]);
    assert!(code == Some(0) && said.contains("every token and session from before"), "{code:?}: {said}");
    a.start_again();
    assert!(agent.renew(&a.place, &session).await.is_err());
}

//! A store moves from one machine to etcd and back, and is mended after etcd was restored from a snapshot.

use crate::agent::Agent;
use crate::callers::now;
use crate::etcd::Etcd;
use crate::place::Place;
use crate::replica::{Replica, Replicas, until};
use crate::server::{Server, audit_verify, lanyard, words};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// Longer than anything here should take on a machine with much else to do.
const LIMIT: Duration = Duration::from_secs(20);

/// Whether a session goes on there.
async fn renews(agent: &Agent, place: &Place, session: &str) -> bool {
    agent.renew(place, session).await.is_ok()
}

/// `lanyard store …` on a configuration: what it printed.
fn store(arguments: &[&str], config: &Path) -> String {
    let mut command = lanyard();
    let output = command.arg("store").args(arguments).arg("--config").arg(config).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", words(&output));
    words(&output)
}

/// What the same said that refused.
fn refused(arguments: &[&str], config: &Path) -> String {
    let output = lanyard().args(arguments).arg("--config").arg(config).output().unwrap();
    assert!(!output.status.success(), "{arguments:?}: {}", words(&output));
    words(&output)
}

/// The same place with its store in etcd.
fn with_etcd(place: &Place, etcd: &Etcd) -> PathBuf {
    let text = fs::read_to_string(place.config()).unwrap();
    let line = "policy_file = \"policy.toml\"\n";
    let store = format!(
        "{line}checkpoints = {{ replica = \"ca-1\" }}\nstore = {{ etcd = {{ endpoints = [\"http://127.0.0.1:{}\"] }} }}\n",
        etcd.port
    );
    let config = place.file("with-etcd.toml");
    fs::write(&config, text.replace(line, &store)).unwrap();
    config
}

fn stop(server: Server) {
    server.ask_to_end();
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
}

/// The session goes on, and its token is good for nobody else.
async fn knows(place: &Place, agent: &Agent, (session, token): (&str, &str)) {
    agent.renew(place, session).await.unwrap();
    assert_eq!(Agent::new().exchange(place, token).await.unwrap_err(), "token_replayed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ran_alone_moves_to_etcd_with_its_sessions_and_keys_and_back() {
    let (place, etcd, agent) = (Place::new(), Etcd::start(), Agent::new());
    let server = Server::start(&place);
    let token = place.issuer.token(now());
    let session = agent.exchange(&place, &token).await.unwrap().session;
    stop(server);
    let (out, back) = (place.file("out.json"), place.file("back.json"));
    store(&["export", out.to_str().unwrap()], &place.config());
    let config = with_etcd(&place, &etcd);
    store(&["import", out.to_str().unwrap()], &config);
    let mut server = Server::spawn(&config);
    server.wait_until_ready(&place);
    knows(&place, &agent, (&session, &token)).await;
    let second = place.issuer.token(now());
    let opened = agent.exchange(&place, &second).await.unwrap().session;
    stop(server);
    let former = refused(&["server"], &place.config());
    assert!(former.contains("put [store.etcd] back"), "{former}");
    let former = refused(&["store", "export", place.file("nothing.json").to_str().unwrap()], &place.config());
    assert!(former.contains("put [store.etcd] back") && !place.file("nothing.json").exists(), "{former}");
    store(&["export", back.to_str().unwrap()], &config);
    store(&["import", back.to_str().unwrap()], &place.config());
    let former = refused(&["server"], &config);
    assert!(former.contains("leave [store.etcd] away"), "{former}");
    let server = Server::start(&place);
    knows(&place, &agent, (&session, &token)).await;
    knows(&place, &agent, (&opened, &second)).await;
    stop(server);
    assert!(audit_verify(&place).status.success(), "{}", words(&audit_verify(&place)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_went_back_gives_no_identity_until_all_have_reconciled() {
    let mut replicas = Replicas::start(2);
    let known = |etcd: &Etcd| etcd.ctl(&["get", "--prefix", "lanyard/~known/", "--keys-only"]).matches("ca-").count();
    until(LIMIT, || async { known(&replicas.etcd) == 2 }).await;
    let (agent, token) = (Agent::new(), |replica: &Replica| replica.place.issuer.token(now()));
    replicas.etcd.save_snapshot();
    let mut given = Vec::new();
    for replica in &replicas.all {
        let token = token(&replicas.all[0]);
        given.push((agent.exchange(&replica.place, &token).await.unwrap().session, token));
    }
    replicas.etcd.restore_snapshot();
    for replica in &replicas.all {
        let refused = || async {
            agent
                .exchange(&replica.place, &token(&replicas.all[0]))
                .await
                .is_err_and(|code| code == "store_unavailable")
        };
        until(LIMIT, refused).await;
    }
    replicas.all.iter_mut().for_each(|replica| stop(replica.server.take().unwrap()));
    let [a, b] = &mut replicas.all[..] else { panic!("two") };
    assert!(store(&["reconcile"], &a.place.config()).contains("ca-2"));
    let mut early =
        lanyard().args(["server", "--config"]).arg(a.place.config()).stderr(Stdio::piped()).spawn().unwrap();
    until(LIMIT, || std::future::ready(early.try_wait().unwrap().is_some())).await;
    let early = early.wait_with_output().unwrap();
    assert!(
        !early.status.success() && words(&early).contains("`lanyard store reconcile` on ca-2"),
        "{}",
        words(&early)
    );
    assert!(store(&["reconcile"], &b.place.config()).contains("all replicas are reconciled"));
    a.start_again();
    b.start_again();
    for place in [&a.place, &b.place] {
        for (session, token) in &given {
            until(LIMIT, || renews(&agent, place, session)).await;
            knows(place, &agent, (session, token)).await;
        }
        assert!(audit_verify(place).status.success(), "{}", words(&audit_verify(place)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_not_moved_while_replicas_run_on_it() {
    let mut replicas = Replicas::start(2);
    let [a, b] = &mut replicas.all[..] else { panic!("two") };
    stop(a.server.take().unwrap());
    let file = a.place.file("out.json");
    let moved = |action: &str| refused(&["store", action, file.to_str().unwrap()], &a.place.config());
    assert!(moved("export").contains("on this store run ca-2"), "{}", moved("export"));
    stop(b.server.take().unwrap());
    let exported = || {
        let mut export = lanyard();
        let output = export.args(["store", "export"]).arg(&file).arg("--config").arg(a.place.config()).output();
        std::future::ready(output.unwrap().status.success())
    };
    until(LIMIT, exported).await;
    b.start_again();
    assert!(moved("import").contains("on this store run ca-2"), "{}", moved("import"));
}

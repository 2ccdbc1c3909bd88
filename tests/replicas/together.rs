//! What one replica does is in force on the others.

use crate::agent::Agent;
use crate::callers::{Door, now};
use crate::mute::Way;
use crate::replica::{Replica, Replicas, WITHIN, until};
use lanyard::wire::lanyard::X509Answer;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Longer than anything here should take on a machine with much else to do.
const LIMIT: Duration = Duration::from_secs(20);
const ROUNDS: u32 = 5;

/// When an answer's SVID ends.
fn ends(answer: &X509Answer) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(answer.not_after).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_opened_at_one_replica_is_renewed_by_all_and_ended_by_any() {
    let mut replicas = Replicas::start(3);
    let [a, b, c] = &mut replicas.all[..] else { panic!("three") };
    let agent = Agent::new();
    let session = agent.exchange(&a.place, &a.place.issuer.token(now())).await.unwrap().session;
    for place in [&b.place, &c.place, &a.place] {
        agent.renew(place, &session).await.unwrap();
    }
    // The next one ends a second later at least, and whoever has not given it counts it, too.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ends_at = ends(&agent.renew(&b.place, &session).await.unwrap());
    for replica in [&*a, &*b, &*c] {
        let listed = replica.operator(&["session", "list", "--json", "--project", "acme/payments/api"]);
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let told = OffsetDateTime::parse(listed["svids_end_at"].as_str().unwrap(), &Rfc3339).unwrap();
        assert!(told >= ends_at, "{told} is before {ends_at}");
    }
    // Where it was opened it may die: nothing that was confirmed is lost.
    a.kill();
    agent.renew(&b.place, &session).await.unwrap();
    a.start_again();
    agent.renew(&a.place, &session).await.unwrap();
    b.operator(&["session", "revoke", "--project", "acme/payments/api", "--reason", "a drill"]);
    for place in [&c.place, &a.place, &b.place] {
        assert_eq!(agent.renew(place, &session).await.unwrap_err(), "session_ended");
    }
}

/// A chart starts all of them together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_begin_at_once_have_one_set_of_keys() {
    let replicas = Replicas::start_at_once(3);
    let [a, b, c] = &replicas.all[..] else { panic!("three") };
    for (replica, name) in [(a, "lanyard-0"), (b, "lanyard-1"), (c, "lanyard-2")] {
        let health = replica.health().to_string();
        assert!(health.contains(name), "{health}");
    }
    let keys = |replica: &Replica| -> serde_json::Value {
        serde_json::from_str(&replica.operator(&["authority", "list", "--json"])).unwrap()
    };
    assert_eq!(keys(a)["keys"], keys(b)["keys"]);
    assert_eq!(keys(a)["keys"], keys(c)["keys"]);
    let (at_a, agent) = (Door::of(&a.place), Agent::new());
    for replica in [a, b, c] {
        assert_eq!(Door::of(&replica.place).bundle().await, at_a.bundle().await);
        let session = agent.exchange(&replica.place, &a.place.issuer.token(now())).await.unwrap().session;
        for other in [a, b, c] {
            agent.renew(&other.place, &session).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ban_and_its_end_are_in_force_on_all_replicas_within_a_second() {
    let replicas = Replicas::start(2);
    let [a, b] = &replicas.all[..] else { panic!("two") };
    let agent = Agent::new();
    let offer = || async { agent.exchange(&b.place, &a.place.issuer.token(now())).await.map(drop) };
    in_time("a ban, and its end", || async {
        let session = agent.exchange(&b.place, &a.place.issuer.token(now())).await.unwrap().session;
        a.operator(&["ban", "add", "--project", "acme/payments/api", "--reason", "a drill"]);
        let began = until(LIMIT, || async { offer().await.is_err_and(|code| code == "banned") }).await;
        assert_ne!(agent.renew(&b.place, &session).await.map(drop), Ok(()));
        let listed = b.operator(&["ban", "list", "--json"]);
        let listed = serde_json::from_str::<serde_json::Value>(&listed).unwrap();
        let id = listed["bans"][0]["ban"].as_str().unwrap();
        a.operator(&["ban", "remove", id, "--reason", "over"]);
        began.max(until(LIMIT, || async { offer().await.is_ok() }).await)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_one_replica_prepares_is_published_by_all_and_there_is_one_of_each() {
    let replicas = Replicas::start(2);
    let [a, b] = &replicas.all[..] else { panic!("two") };
    let (at_a, at_b) = (Door::of(&a.place), Door::of(&b.place));
    assert_eq!(at_a.bundle().await, at_b.bundle().await, "both go on with the keys of the first");
    let activate = ["authority", "activate", "--kind", "jwt", "--force", "--reason", "a drill"];
    let is_elsewhere = || async { at_a.bundle().await == at_b.bundle().await };
    in_time("a key, and its use", || async {
        let mut slower = Duration::ZERO;
        for (replica, step) in [(a, &["authority", "prepare", "--kind", "jwt"][..]), (b, &activate)] {
            replica.operator(step);
            slower = slower.max(until(LIMIT, is_elsewhere).await);
        }
        slower
    })
    .await;
}

/// Other work of the machine may hold up a round; a promise that does not hold is broken in each.
async fn in_time<F: Future<Output = Duration>>(what: &str, round: impl Fn() -> F) {
    for number in 1..=ROUNDS {
        let took = round().await;
        println!("{what}: elsewhere after {took:?} in round {number}");
        if took < WITHIN {
            return;
        }
    }
    panic!("{what}: not within {WITHIN:?} in any of {ROUNDS} rounds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_says_how_far_behind_it_is_and_whether_the_rules_differ() {
    let replicas = Replicas::start(2);
    let [a, b] = &replicas.all[..] else { panic!("two") };
    let says = |words: &'static str| move || async move { a.health()["answer"].as_str().unwrap().contains(words) };
    until(LIMIT, says("replica ca-1 at revision")).await;
    assert!(!says("differ")().await);
    let policy = fs::read_to_string(b.place.file("policy.toml")).unwrap();
    fs::write(b.place.file("policy.toml"), policy.replace("ttl = \"15m\"", "ttl = \"14m\"")).unwrap();
    let pid = b.server.as_ref().unwrap().pid().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    until(LIMIT, says("replicas differ in their rules")).await;
}

/// A line of what Prometheus is told.
fn metric(replica: &Replica, name: &str) -> f64 {
    let mut asked = TcpStream::connect(("127.0.0.1", replica.place.health_port)).unwrap();
    asked.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    asked.read_to_string(&mut page).unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
    line.trim().parse().unwrap()
}

/// For scripts, and for whoever is woken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_says_in_numbers_how_far_behind_it_is_and_that_its_store_went_back_and_what_to_do() {
    let mut replicas = Replicas::start(2);
    let health = |number: usize| replicas.all[number].health();
    until(LIMIT, || async { health(0)["leads"] != health(1)["leads"] }).await;
    for (number, name) in [(0, "ca-1"), (1, "ca-2")] {
        let health = health(number);
        println!("{health}");
        assert_eq!((&health["ready"], &health["replica"]), (&true.into(), &name.into()), "{health}");
        assert!(health["behind_seconds"].as_f64().unwrap() < 3.0 && health["revision"].as_u64().unwrap() > 0);
        assert!(metric(&replicas.all[number], "lanyard_replica_behind_seconds ") < 3.0);
        assert!(metric(&replicas.all[number], "lanyard_replica_went_back ").abs() < 0.5);
    }
    replicas.etcd.save_snapshot();
    let token = replicas.all[0].place.issuer.token(now());
    Agent::new().exchange(&replicas.all[0].place, &token).await.unwrap();
    replicas.etcd.kill();
    let behind = || async { replicas.all[1].health()["behind_seconds"].as_f64().unwrap() > 4.0 };
    until(LIMIT, behind).await;
    let alone = replicas.all[1].health();
    println!("{alone}");
    assert!(alone["ready"] == true && alone["worries"][0].as_str().unwrap().contains("does not answer"), "{alone}");
    assert!(metric(&replicas.all[1], "lanyard_replica_behind_seconds ") > 3.0);
    replicas.etcd.restore_snapshot();
    for replica in &replicas.all {
        until(LIMIT, || async { replica.health()["ready"] == false }).await;
        let lost = replica.health();
        println!("{lost}");
        assert!(lost["went_back"].as_str().unwrap().contains("`lanyard store reconcile`"), "{lost}");
        assert!(lost["answer"].as_str().unwrap().contains("`lanyard store reconcile`"), "{lost}");
        assert!(metric(replica, "lanyard_replica_went_back ") > 0.5);
    }
}

/// A second until a watch is noticed that brings nothing, and one until the ban is in force; and what a busy machine adds.
const NOTICED_WITHIN: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ban_that_a_silent_watch_did_not_bring_is_in_force_soon_and_on_what_began_meanwhile() {
    let mut replicas = Replicas::start(1);
    let ways = [Way::to(replicas.etcd.port).await, Way::to(replicas.etcd.port).await];
    replicas.join(&[&ways[0], &ways[1]]);
    let [a, b] = &replicas.all[..] else { panic!("two") };
    Agent::new().exchange(&b.place, &a.place.issuer.token(now())).await.unwrap();
    // Whichever way the watch goes: the first ban, or the second, is one that it does not bring.
    for way in &ways {
        way.mute();
        a.operator(&["ban", "add", "--project", "acme/payments/api", "--reason", "a drill"]);
        let (banned, mut meanwhile) = (std::time::Instant::now(), Vec::new());
        loop {
            let agent = Agent::new();
            match agent.exchange(&b.place, &a.place.issuer.token(now())).await {
                Ok(answer) => meanwhile.push((agent, answer.session)),
                Err(code) if code == "banned" => break,
                // What began just before it is ended by it before its first identity.
                Err(code) => assert!(["session_ended", "store_unavailable"].contains(&code.as_str()), "{code}"),
            }
            assert!(banned.elapsed() < NOTICED_WITHIN, "not in force after {:?}", banned.elapsed());
        }
        println!("in force after {:?}; {} began meanwhile", banned.elapsed(), meanwhile.len());
        for (agent, session) in meanwhile {
            assert!(agent.renew(&b.place, &session).await.is_err(), "it goes on");
        }
        let listed = a.operator(&["ban", "list", "--json"]);
        let id =
            serde_json::from_str::<serde_json::Value>(&listed).unwrap()["bans"][0]["ban"].as_str().unwrap().to_owned();
        a.operator(&["ban", "remove", &id, "--reason", "the drill is over"]);
        way.open_anew().await;
        let offer = || async { Agent::new().exchange(&b.place, &a.place.issuer.token(now())).await.is_ok() };
        until(LIMIT, offer).await;
    }
}

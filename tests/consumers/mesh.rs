//! What `docs/meshes/envoy.md` says, tried: real Envoys that take certificates and trust from real agents by SDS.

use crate::authority::Authority;
use crate::client::{Client, Svid};
use crate::consumer::AGAIN_AFTER;
use crate::dialogue::Dialogue;
use crate::page;
use crate::place::free_port;
use crate::relay::Relay;
use crate::sides::{
    Answer, DEPLOY, DEPLOY_ID, LEDGER_ID, Mesh, OF_LEDGER, PRODUCTION, Side, before_ledger, beside_the_deploy, changed,
    eventually, fetched,
};
use crate::verdict::{Verdict, verdict};
use crate::world::Job;
use rustls::version::TLS13;
use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);
const A_SECOND: Duration = Duration::from_secs(1);
const RENEWALS: usize = 8;
/// As old as connections may be where it is looked at how old they become, and how long their last requests may take.
const AGE: Duration = Duration::from_secs(3);
const DRAINED_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn renewals_every_few_seconds_cost_a_steady_caller_no_request() {
    let mesh = Mesh::start(Duration::from_secs(6), A_SECOND);
    let (mut calls, mut shown) = (0, BTreeSet::new());
    eventually("so many SVIDs were shown", || {
        let Answer { status, body } = mesh.call();
        assert_eq!(status, 200, "call {calls}: {body}\n{}{}", mesh.left.running.log(), mesh.right.running.log());
        assert!(body.contains(&format!("By={LEDGER_ID};")) && body.contains(&format!("URI={DEPLOY_ID}")), "{body}");
        calls += 1;
        shown.insert(body);
        shown.len() > RENEWALS
    });
    println!("{calls} calls with {} SVIDs", shown.len());
    for proxy in [&mesh.left, &mesh.right] {
        assert!(proxy.count("sds.default.update_success") > 2);
        assert_eq!(proxy.count("sds.ROOTCA.update_success"), 1, "what has not changed is not sent again");
        assert_eq!(proxy.count("sds.default.update_rejected"), 0);
    }
}

/// Shows: MESH-A2, MESH-C4, MESH-E5.
#[test]
fn production_deploys_of_payments_may_call_ledger_and_nothing_else_may() {
    let mesh = Mesh::start(HOUR, HOUR);
    let (folder, _output) = mesh.deploy.svid("own");
    let bundle = folder.join("svid_bundle.pem");
    let prefix = "prefix: spiffe://ci.example.org/acme/payments/api/-/environments/production/pipelines/";
    let exactly = changed(&before_ledger(HOUR), prefix, page::block("exact.yaml").lines().nth(1).unwrap().trim());
    let exact = mesh.another(&mesh.ledger, &exactly);
    let verdicts = |svid: &Svid| [mesh.right.port, exact.port].map(|port| verdict(svid, &bundle, port, Dialogue::Http));
    let neighbour = ["project_id=4713", "project_path=acme/payments/api-v2"];
    let subgroup = ["project_id=4714", "project_path=acme/payments/api/tools"];
    for (pipeline, claims, expected) in [
        ("574", [&PRODUCTION[..], &[]].concat(), [Verdict::Allowed, Verdict::Allowed]),
        ("575", [&PRODUCTION[..], &[]].concat(), [Verdict::Allowed, Verdict::Forbidden]),
        ("574", vec!["environment=production", "environment_protected=false"], [Verdict::Forbidden; 2]),
        ("574", vec![], [Verdict::Forbidden; 2]),
        ("574", [&PRODUCTION[..], &neighbour].concat(), [Verdict::Forbidden; 2]),
        ("574", [&PRODUCTION[..], &subgroup].concat(), [Verdict::Forbidden; 2]),
        ("574", [&PRODUCTION[..], &OF_LEDGER].concat(), [Verdict::Forbidden; 2]),
    ] {
        let svid = mesh.world.svid_by(mesh.world.token_with(&Job { number: 7, pipeline }, &claims));
        assert_eq!(verdicts(&svid), expected, "pipeline {pipeline}, {claims:?}");
    }
    let (claimed, _) = Authority::new().issue_as(DEPLOY_ID, HOUR);
    assert_eq!(verdicts(&claimed), [Verdict::Unverified; 2], "another root's");
}

/// Whole IDs and expressions come out of rules of other kinds; prefixes are the page's.
#[test]
fn whole_ids_and_expressions_that_are_rendered_admit_their_rules_jobs_and_nobody_else() {
    let mesh = Mesh::start(HOUR, HOUR);
    let (folder, _output) = mesh.deploy.svid("own");
    let bundle = folder.join("svid_bundle.pem");
    let by_project = ["--rule", "ledger", "--project", "4712=acme/ledger/api"];
    let by_group = ["--rule", "production deploys of the group", "--group", "812=acme/payments"];
    let envoys = [&by_project, &by_group].map(|arguments| mesh.another(&mesh.ledger, &mesh.rendered(arguments)));
    let neighbour = ["project_id=4713", "project_path=acme/payments/api-v2"];
    let subgroup = ["project_id=4714", "project_path=acme/payments/api/tools"];
    for (claims, expected) in [
        ([&PRODUCTION[..], &OF_LEDGER].concat(), [Verdict::Allowed, Verdict::Forbidden]),
        ([&PRODUCTION[..], &[]].concat(), [Verdict::Forbidden, Verdict::Allowed]),
        ([&PRODUCTION[..], &neighbour].concat(), [Verdict::Forbidden, Verdict::Allowed]),
        ([&PRODUCTION[..], &subgroup].concat(), [Verdict::Forbidden; 2]),
        (vec![], [Verdict::Forbidden; 2]),
    ] {
        let svid = mesh.world.svid_by(mesh.world.token_with(&Job { number: 7, pipeline: "574" }, &claims));
        let verdicts = [&envoys[0], &envoys[1]].map(|envoy| verdict(&svid, &bundle, envoy.port, Dialogue::Http));
        assert_eq!(verdicts, expected, "{claims:?}");
    }
}

#[test]
fn a_deploy_calls_nobody_who_is_not_ledger() {
    let mesh = Mesh::start(HOUR, HOUR);
    assert_eq!(mesh.call().status, 200);
    let impostor = mesh.another(&mesh.deploy, &before_ledger(HOUR));
    let misled = mesh.another(&mesh.deploy, &beside_the_deploy(impostor.port));
    assert_eq!(misled.call().status, 503);
    assert!(misled.count("cluster.ledger.ssl.fail_verify_san") > 0);
}

/// Shows: MESH-C12.
#[test]
fn an_agent_that_is_killed_takes_no_secret_away_and_its_successor_brings_a_new_one() {
    let mut mesh = Mesh::start(HOUR, A_SECOND);
    let before = mesh.call();
    assert_eq!(before.status, 200);
    mesh.deploy.kill_agent();
    let connections = mesh.left.count("cluster.ledger.upstream_cx_total");
    eventually("new connections without an agent", || {
        assert_eq!(mesh.call(), before);
        mesh.left.count("cluster.ledger.upstream_cx_total") > connections + 1
    });
    mesh.deploy.start_agent();
    eventually("the successor's SVID", || {
        let now = mesh.call();
        assert_eq!(now.status, 200);
        now != before
    });
}

/// Shows: MESH-C7.
#[test]
fn an_envoy_that_starts_before_the_login_has_its_secrets_after_it() {
    let mesh = Mesh::start(HOUR, HOUR);
    let early = Side::start(&mesh.world, "early");
    let proxy = mesh.another(&early, &beside_the_deploy(mesh.right.port));
    assert_eq!(proxy.call().status, 503);
    early.login(&mesh.world.token_with(&Job { number: 8, pipeline: "574" }, &PRODUCTION));
    eventually("ledger can be called", || proxy.call().status == 200);
}

/// The page's configuration with its listener twice; the second asks for another secret, at a port of its own.
fn with_a_second_listener(text: &str, name: &str, port: u16) -> String {
    let (head, rest) = text.split_once("  listeners:\n").unwrap();
    let (listener, tail) = rest.split_once("  clusters:\n").unwrap();
    let second = changed(&changed(listener, "name: default", &format!("name: {name}")), "8443", &port.to_string());
    format!("{head}  listeners:\n{listener}{second}  clusters:\n{tail}")
}

/// Shows: MESH-C3.
#[test]
fn a_name_that_means_nothing_is_told_and_harms_no_other() {
    let mesh = Mesh::start(HOUR, HOUR);
    let dead = free_port();
    let proxy = mesh.another(&mesh.ledger, &with_a_second_listener(&before_ledger(HOUR), "nonsense", dead));
    let (folder, _output) = mesh.deploy.svid("own");
    let svid = mesh.world.svid_by(mesh.world.token_with(&Job { number: 7, pipeline: "574" }, &PRODUCTION));
    let client = Client::new(&svid, &folder.join("svid_bundle.pem"), &TLS13);
    assert_eq!([proxy.port, dead].map(|port| client.visit(port, Dialogue::Http).is_ok()), [true, false]);
    assert_eq!(proxy.count("sds.default.update_success"), 1);
    assert_eq!(proxy.count("sds.nonsense.update_success"), 0);
    assert!(proxy.count("sds.nonsense.update_failure") > 0);
    assert_eq!(proxy.count("sds.nonsense.init_fetch_timeout"), 1);
    let log = proxy.running.log().replace("%20", " ").replace("%22", "\"");
    assert!(log.contains("no secret is called \"nonsense\"; there are ALL, ROOTCA, default"), "{log}");
}

/// Shows: MESH-C6.
#[test]
fn a_key_of_another_chain_is_refused_once_and_the_next_svid_is_taken() {
    let (mesh, metrics) = (Mesh::start(HOUR, A_SECOND), free_port());
    let side = Side::listening(&mesh.world, "counting", (&format!("metrics = \"127.0.0.1:{metrics}\"\n"), ""));
    let relay = Relay::before(&side);
    let text = beside_the_deploy(mesh.right.port);
    let text = changed(&text, "/run/lanyard/sockets/api.sock", &relay.socket.display().to_string());
    let next_svid = || side.login(&mesh.world.token_with(&DEPLOY, &PRODUCTION));
    next_svid();
    let proxy = mesh.another(&side, &text);
    let shown = || {
        let Answer { status, body } = proxy.call();
        assert_eq!(status, 200, "{body}\n{}", proxy.running.log());
        body
    };
    let rejected = || proxy.count("sds.default.update_rejected");
    let first = shown();

    next_svid();
    eventually("a refusal", || rejected() == 1);
    let connections = proxy.count("cluster.ledger.upstream_cx_total");
    eventually("new connections with what it had", || {
        assert_eq!(shown(), first);
        proxy.count("cluster.ledger.upstream_cx_total") > connections + 1
    });
    next_svid();
    eventually("the next one", || shown() != first);

    assert_eq!((rejected(), relay.seen.chains().len()), (1, 3), "what was refused is not sent again");
    let counted = fetched(metrics, "/metrics");
    assert!(counted.lines().any(|line| line == "lanyard_agent_sds_refusals_total 1"), "{counted}");
    let log = side.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("a proxy refused its secrets")).collect();
    assert!(told.len() == 1 && told[0].contains("KEY_VALUES_MISMATCH"), "{told:?}");
}

/// The identity changes below a connection that is open: it is spoken in for as long as the rendered age lets it live.
/// Shows: MESH-E5.
#[test]
fn the_next_job_at_an_agent_calls_by_its_own_name_once_connections_are_too_old() {
    let mesh = Mesh::start(HOUR, AGE);
    let next = DEPLOY_ID.replace("574", "575");
    assert!(mesh.call().body.contains(&format!("URI={DEPLOY_ID}")));
    mesh.deploy.login(&mesh.world.token_with(&Job { number: 2, pipeline: "575" }, &PRODUCTION));
    eventually("the next SVID is taken", || mesh.left.count("sds.default.update_success") == 2);
    let connections = || mesh.left.count("cluster.ledger.upstream_cx_total");
    let (open, mut made) = (connections(), None);
    let mut names = Vec::new();
    // A caller on a machine with much else to do is late by himself: no call began longer after the one before.
    let (changed_at, mut former, mut pause) = (Instant::now(), Duration::ZERO, Duration::ZERO);
    let mut last_began = changed_at.elapsed();
    eventually("a call by the next name", || {
        let began = changed_at.elapsed();
        pause = pause.max(began.saturating_sub(last_began));
        last_began = began;
        let Answer { status, body } = mesh.call();
        assert_eq!(status, 200);
        if !body.contains(&format!("URI={next}")) {
            former = began;
        }
        names.push(body.contains(&format!("URI={next}")));
        if names.ends_with(&[true]) {
            made.get_or_insert_with(&connections);
        }
        names.ends_with(&[true; 20])
    });
    assert!(names.is_sorted(), "and none by the former one after it: {names:?}");
    // The one that was open is as old as it may be, one may have been begun meanwhile, and the next has the next name.
    assert!(made.unwrap() <= open + 2, "{open} connections, then {made:?}");
    let limit = AGE + DRAINED_WITHIN;
    println!("the last call by the former name began after {former:?}, and {limit:?} are rendered");
    assert!(former <= limit + pause, "{former:?} after the change, with {limit:?} allowed and {pause:?} of our own");
    assert!(pause < limit, "too busy to tell: no call began for {pause:?}");
}

#[test]
fn an_open_connection_ends_by_its_age() {
    let mesh = Mesh::start(HOUR, A_SECOND);
    let (folder, _output) = mesh.deploy.svid("own");
    let svid = mesh.world.svid_by(mesh.world.token_with(&Job { number: 7, pipeline: "574" }, &PRODUCTION));
    let client = Client::new(&svid, &folder.join("svid_bundle.pem"), &TLS13);
    let mut connection = client.visit(mesh.right.port, Dialogue::Http).unwrap();
    connection.ask().unwrap();
    eventually("the connection ends", || {
        thread::sleep(AGAIN_AFTER);
        connection.ask().is_err()
    });
}

#[test]
fn envoy_calls_with_its_last_svid_after_the_jobs_end_until_that_has_run_out() {
    let mesh = Mesh::start(Duration::from_secs(30), A_SECOND);
    let first = mesh.call();
    eventually("a fresh SVID", || mesh.call() != first);
    let last = mesh.call();
    mesh.world.tell_the_end_of(&DEPLOY);
    eventually("the agent serves nothing", || !mesh.deploy.svid("ended").1.status.success());
    assert_eq!(mesh.call(), last);
    eventually("the last SVID has run out", || match mesh.call().status {
        200 => false,
        status => {
            assert_eq!(status, 503);
            true
        }
    });
    assert!(mesh.left.count("cluster.ledger.upstream_cx_connect_fail") > 0);
    assert_eq!(mesh.left.count("sds.default.update_rejected"), 0);
}

//! `lanyard bench`: only against a server that is typed, with tokens that are named; and what it then shows.

use crate::callers::now;
use crate::place::Place;
use crate::server::{Server, lanyard, words};
use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

/// `lanyard bench`, with the place's CA.
fn bench(place: &Place, load: &str) -> Command {
    let mut command = lanyard();
    command.args(["bench", load, "--server-ca"]).arg(place.file("data/door-ca.pem"));
    command
}

fn server(place: &Place) -> [String; 2] {
    ["--server".to_owned(), format!("https://127.0.0.1:{}", place.port)]
}

/// A file of so many tokens that nobody has used.
fn tokens(place: &Place, count: usize) -> [String; 2] {
    let lines: Vec<_> = (0..count).map(|_| place.issuer.token(now())).collect();
    let file = place.file("tokens");
    fs::write(&file, lines.join("\n")).unwrap();
    ["--tokens-file".to_owned(), file.display().to_string()]
}

fn rows(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", words(output));
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_load_is_put_on_nobody_by_mistake() {
    let place = Place::new();
    let named = tokens(&place, 1);
    // The variable that other commands take the server from counts for nothing here.
    let variable = ["LANYARD_SERVER", "https://127.0.0.1:9"];
    let untyped = bench(&place, "exchange").args(named).env(variable[0], variable[1]).output().unwrap();
    assert_eq!(untyped.status.code(), Some(2), "{}", words(&untyped));
    assert!(words(&untyped).contains("--server"), "{}", words(&untyped));
    let no_tokens = bench(&place, "exchange").args(server(&place)).output().unwrap();
    assert_eq!(no_tokens.status.code(), Some(2), "{}", words(&no_tokens));
}

#[test]
fn loads_closed_and_open_are_measured_and_drawn() {
    let place = Place::new();
    let _server = Server::start(&place);
    let (server, picture) = (server(&place), place.file("load.svg"));
    let closed = bench(&place, "exchange")
        .args(server.clone())
        .args(tokens(&place, 16))
        .args(["--count", "8", "--in-flight", "1,4", "--agents", "2", "--json", "--plot"])
        .arg(&picture)
        .output()
        .unwrap();
    let answered: Vec<_> = rows(&closed).iter().map(|row| row["answered"].as_u64()).collect();
    assert_eq!(answered, [Some(8), Some(8)]);
    assert!(fs::read_to_string(&picture).unwrap().contains("<polyline"));
    let open = bench(&place, "renew")
        .args(server.clone())
        .args(tokens(&place, 100))
        .args(["--count", "20", "--rate", "50", "--json"])
        .output()
        .unwrap();
    assert_eq!(rows(&open)[0]["answered"], 20);
    // Those tokens belong to other keys by now.
    let used = bench(&place, "exchange")
        .args(server)
        .args(["--tokens-file".into(), place.file("tokens")])
        .args(["--count", "4", "--in-flight", "2", "--json"])
        .output()
        .unwrap();
    assert_eq!(used.status.code(), Some(1), "{}", words(&used));
    assert!(words(&used).contains("\"token_replayed\":4"), "{}", words(&used));
}

/// What a server's own operator adds.
fn operator(place: &Place, server: &Server) -> [String; 4] {
    let socket = place.data().join("admin.sock").display().to_string();
    ["--admin-socket".to_owned(), socket, "--pid".to_owned(), server.pid().to_string()]
}

fn answered(output: &Output) -> Vec<(String, u64)> {
    let row = |row: Value| (row["load"].as_str().unwrap().to_owned(), row["answered"].as_u64().unwrap());
    rows(output).into_iter().map(row).collect()
}

fn told<const N: usize>(rows: [(&str, u64); N]) -> Vec<(String, u64)> {
    rows.into_iter().map(|(load, answered)| (load.to_owned(), answered)).collect()
}

fn keys(place: &Place) -> Vec<(String, String)> {
    let keys = crate::fleet::authority(place, &["list"])["keys"].clone();
    let roots = keys.as_array().unwrap().iter().filter(|key| key["kind"] == "x509-root");
    let said = |key: &Value, field: &str| key[field].as_str().unwrap().to_owned();
    roots.map(|key| (said(key, "key_id"), said(key, "state"))).collect()
}

#[test]
fn open_streams_hear_of_a_change_and_the_keys_are_as_before() {
    let place = Place::new();
    let daemon = Server::start(&place);
    let (before, picture) = (keys(&place), place.file("streams.svg"));
    let streams = bench(&place, "streams")
        .args(server(&place))
        .args(tokens(&place, 12))
        .args(operator(&place, &daemon))
        .args(["--agents", "4,8", "--at-once", "3", "--json", "--plot"])
        .arg(&picture)
        .output()
        .unwrap();
    let all = [
        ("4 agents come, 3 in flight", 4),
        ("4 agents have the new bundle", 4),
        ("4 agents have said so", 4),
        ("8 agents come, 3 in flight", 8),
        ("8 agents have the new bundle", 8),
        ("8 agents have said so", 8),
    ];
    assert_eq!(answered(&streams), told(all));
    assert!(rows(&streams)[3]["server_kib_each"].is_u64(), "{}", words(&streams));
    assert!(fs::read_to_string(&picture).unwrap().contains("latency over agents"));
    let active: Vec<_> = keys(&place).into_iter().filter(|(_, state)| state != "removed").collect();
    assert_eq!(active, before, "the root that was prepared is gone again");
    let open = bench(&place, "streams")
        .args(server(&place))
        .args(tokens(&place, 5))
        .args(["--agents", "5", "--rate", "50", "--json"])
        .output()
        .unwrap();
    assert_eq!(answered(&open), told([("5 agents come, 50/s", 5)]), "without an operator nothing changes");
}

#[test]
fn a_rotation_is_measured_from_the_first_bundle_to_the_last_and_on_no_other_server() {
    let (place, other) = (Place::new(), Place::new());
    let (daemon, elsewhere) = (Server::start(&place), Server::start(&other));
    let before = keys(&place);
    let rotation = |more: &[String]| {
        let mut command = bench(&place, "rotation");
        command.args(server(&place)).args(tokens(&place, 3)).args(["--agents", "3", "--json"]).args(more);
        command.output().unwrap()
    };
    let nobodys = rotation(&[]);
    assert_eq!(nobodys.status.code(), Some(2), "{}", words(&nobodys));
    let anothers = rotation(&operator(&other, &elsewhere));
    assert_eq!(anothers.status.code(), Some(2), "{}", words(&anothers));
    assert!(words(&anothers).contains("another server"), "{}", words(&anothers));
    assert_eq!((keys(&place), keys(&other).len()), (before.clone(), 1), "nothing was changed");
    let whole = rotation(&operator(&place, &daemon));
    let all = [
        ("3 agents come, 32 in flight", 3),
        ("3 agents have the new bundle", 3),
        ("3 agents have said so", 3),
        ("3 agents are on another key", 3),
        ("3 agents trust the former no more", 3),
    ];
    assert_eq!(answered(&whole), told(all));
    let now: Vec<_> = keys(&place).into_iter().filter(|(_, state)| state != "removed").collect();
    assert_eq!((now.len(), now[0].1.as_str()), (1, "active"));
    assert_ne!(now[0].0, before[0].0, "another root signs");
}

#[test]
fn streams_are_counted_right_beside_a_tainted_root_and_renew_only_what_it_signed() {
    let place = Place::new();
    let daemon = Server::start(&place);
    let old = keys(&place)[0].0.clone();
    let new = crate::fleet::authority(&place, &["prepare"])["key_id"].as_str().unwrap().to_owned();
    crate::fleet::authority(&place, &["activate", &new, "--force", "--reason", "drill"]);
    crate::fleet::authority(&place, &["taint", &old, "--no-wait", "--reason", "drill"]);
    let streams = bench(&place, "streams")
        .args(server(&place))
        .args(tokens(&place, 8))
        .args(operator(&place, &daemon))
        .args(["--agents", "8", "--json"])
        .output()
        .unwrap();
    for row in rows(&streams) {
        // The server lets those who hold what is tainted renew within 20 s, each at a moment of its own.
        assert!(row["answered"] == 8 && row["max"].as_u64() < Some(8_000_000), "{row}");
    }
    let signed =
        lanyard().args(["audit", "show", "--kind", "intent", "--json", "--data-dir"]).arg(place.data()).output();
    let signed = String::from_utf8(signed.unwrap().stdout).unwrap();
    assert_eq!(signed.lines().count(), 8, "one SVID each, and no renewal: {signed}");
}

#[test]
fn a_rotation_that_does_not_finish_fails_and_says_what_is_left_to_do() {
    let place = Place::new();
    let daemon = Server::start(&place);
    let started = || {
        let mut command = bench(&place, "rotation");
        command.args(server(&place)).args(tokens(&place, 8)).args(operator(&place, &daemon));
        command.args(["--agents", "8", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut stopped = started();
    let mut told = BufReader::new(stopped.stdout.take().unwrap()).lines();
    told.find(|line| line.as_ref().unwrap().contains("have said so")).unwrap().unwrap();
    let asked = Command::new("kill").args(["-INT", &stopped.id().to_string()]).status().unwrap();
    assert!(asked.success());
    let stopped = stopped.wait_with_output().unwrap();
    assert_eq!(stopped.status.code(), Some(1), "{}", words(&stopped));
    let socket = place.data().join("admin.sock");
    for part in ["lanyard authority", &socket.display().to_string()] {
        assert!(words(&stopped).contains(part), "{part}: {}", words(&stopped));
    }
    assert!(keys(&place).iter().any(|(key, _)| words(&stopped).contains(key)), "{}", words(&stopped));
    // The command that was told is the one that goes on.
    let line =
        words(&stopped).lines().find_map(|line| line.trim().strip_prefix("lanyard ").map(str::to_owned)).unwrap();
    let next = lanyard().args(line.split(' ').filter(|word| !word.is_empty())).arg("--help").output().unwrap();
    assert!(next.status.success(), "{line}: {}", words(&next));
}

#[test]
fn a_rotation_beside_somebody_else_s_job_is_not_finished() {
    let place = Place::new();
    let daemon = Server::start(&place);
    let former = keys(&place)[0].0.clone();
    let other = bench(&place, "exchange")
        .args(server(&place))
        .args(tokens(&place, 1))
        .args(["--count", "1", "--in-flight", "1"])
        .output()
        .unwrap();
    assert!(other.status.success(), "{}", words(&other));
    let rotation = bench(&place, "rotation")
        .args(server(&place))
        .args(tokens(&place, 2))
        .args(operator(&place, &daemon))
        .args(["--agents", "2", "--json"])
        .output()
        .unwrap();
    assert_eq!(rotation.status.code(), Some(1), "{}", words(&rotation));
    assert!(words(&rotation).contains(&format!("lanyard authority revoke {former}")), "{}", words(&rotation));
}

#[test]
fn what_is_typed_for_a_load_counts_or_is_refused() {
    let place = Place::new();
    let _daemon = Server::start(&place);
    let help = lanyard().args(["bench", "streams", "--help"]).output().unwrap();
    assert!(!words(&help).contains("[env: LANYARD_SERVER]"), "{}", words(&help));
    let refused = |arguments: &[String], told: &str| {
        let output = bench(&place, "streams").args(server(&place)).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", words(&output));
        assert!(words(&output).contains(told), "{told}: {}", words(&output));
    };
    let [flag, file] = tokens(&place, 2);
    let own = [flag.clone(), file.clone(), "--agents".to_owned(), "2".to_owned()];
    let nobody = [&own[..], &["--pid".to_owned(), "4194304".to_owned()]].concat();
    refused(&nobody, "--pid 4194304");
    let token = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{token}\n\n{}\n", token.lines().next().unwrap())).unwrap();
    refused(&[flag, file, "--agents".to_owned(), "2".to_owned()], "lines 1 and 4");
}

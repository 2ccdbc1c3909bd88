//! `lanyard bench`: only against a server that is typed, with tokens that are named; and what it then shows.

use crate::callers::now;
use crate::place::Place;
use crate::server::{Server, lanyard, words};
use serde_json::Value;
use std::fs;
use std::process::{Command, Output};

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

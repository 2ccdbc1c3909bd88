//! An agent that was away while the root changed: it comes back to a bundle that has nothing in common with its own.

use crate::fleet::authority;
use crate::memory::agent_config;
use crate::place::Place;
use crate::server::Server;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Seconds for what takes hours.
const SETTINGS: &str = "[svid]\nttl = \"10s\"\n[keys]\nrefresh_hint = \"1s\"\npropagation = \"3s\"";

#[test]
fn an_agent_that_was_away_while_the_root_changed_comes_back_and_gets_on() {
    let place = Place::with(SETTINGS);
    let policy = fs::read_to_string(place.file("policy.toml")).unwrap().replace("\"15m\"", "\"10s\"");
    fs::write(place.file("policy.toml"), policy).unwrap();
    let mut server = Server::start(&place);
    let mut agent = Server::spawn_agent(&agent_config(&place));
    let [svid, bundle] = ["svids/svid.pem", "svids/svid_bundle.pem"].map(|name| place.file(name));
    agent.wait_until(|| svid.exists());
    fs::copy(&svid, place.file("former.pem")).unwrap();
    assert!(is_believed(&place.file("former.pem"), &bundle));
    signal(&agent, "-STOP");

    let former = authority(&place, &["list"])["keys"][0]["key_id"].as_str().unwrap().to_owned();
    authority(&place, &["prepare"]);
    // Whoever is silent is waited for as long as its SVID lives.
    server.wait_until(|| {
        let plan = authority(&place, &["plan"]);
        let activate = plan["steps"].as_array().unwrap().iter().find(|step| step["step"] == "activate");
        activate.is_some_and(|step| step["breaks"].is_null())
    });
    let taken = authority(&place, &["activate"]);
    assert!(taken["in_spite_of"].is_null(), "nobody was left aside: {taken}");
    authority(&place, &["revoke", &former, "--force", "--reason", "a drill"]);

    signal(&agent, "-CONT");
    let is_back = || !is_believed(&place.file("former.pem"), &bundle) && is_believed(&svid, &bundle);
    agent.wait_until(is_back);
    drop(server);
}

fn signal(process: &Server, which: &str) {
    assert!(Command::new("kill").args([which, &process.pid().to_string()]).status().unwrap().success());
}

/// Whether openssl takes a chain by this bundle, whatever the hour.
fn is_believed(chain: &Path, bundle: &Path) -> bool {
    let mut openssl = Command::new("openssl");
    openssl.args(["verify", "-no_check_time", "-no-CApath", "-no-CAstore", "-CAfile"]).arg(bundle);
    openssl.arg("-untrusted").arg(chain).arg(chain).output().unwrap().status.success()
}

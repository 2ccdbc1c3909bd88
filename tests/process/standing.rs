//! What `lanyard explain` and `lanyard doctor` know of a server besides its rules: bans, used tokens, and a data folder at rest.

use crate::callers::now;
use crate::place::Place;
use crate::server::{Server, lanyard, words};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

fn explained(place: &Place, token: &str) -> Output {
    let mut command = lanyard();
    command.args(["explain", "--server-ca"]).arg(place.file("data/door-ca.pem"));
    command.arg("--server").arg(format!("https://127.0.0.1:{}", place.port)).args(["--token-file"]);
    let file = place.file("explained");
    fs::write(&file, token).unwrap();
    command.arg(file).output().unwrap()
}

fn operator(place: &Place, arguments: &[&str]) -> Command {
    let mut command = lanyard();
    command.args(arguments).env("LANYARD_ADMIN_SOCKET", place.data().join("admin.sock"));
    command
}

fn used_up(place: &Place, token: &str) {
    let file = place.file("used");
    fs::write(&file, token).unwrap();
    let mut bench = lanyard();
    bench.args(["bench", "exchange", "--count", "1", "--in-flight", "1", "--agents", "1", "--tokens-file"]).arg(&file);
    bench.arg("--server").arg(format!("https://127.0.0.1:{}", place.port));
    let output = bench.arg("--server-ca").arg(place.file("data/door-ca.pem")).output().unwrap();
    assert!(output.status.success(), "{}", words(&output));
}

#[test]
fn whoever_is_banned_hears_it_from_explain_and_a_used_token_is_called_used() {
    let place = Place::new();
    let _server = Server::start(&place);
    let token = place.issuer.token(now());
    let fresh = explained(&place, &token);
    assert!(fresh.status.success() && !words(&fresh).contains("used"), "{}", words(&fresh));
    used_up(&place, &token);
    let used = explained(&place, &token);
    // Its agent has the session, and is well: that is no refusal.
    assert!(used.status.success() && words(&used).contains("the token is used"), "{}", words(&used));
    for ban in [["--rule", "every project, its pipelines"], ["--issuer", "corp"]] {
        let banned = operator(&place, &["ban", "add", ban[0], ban[1], "--reason", "drill"]).output().unwrap();
        assert!(banned.status.success(), "{}", words(&banned));
        let told = explained(&place, &place.issuer.token(now()));
        assert_eq!(told.status.code(), Some(1), "{}", words(&told));
        assert!(words(&told).contains("banned"), "{}", words(&told));
        let listed = operator(&place, &["ban", "list", "--json"]).output().unwrap();
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
        let name = listed["bans"][0]["ban"].as_str().unwrap();
        assert!(words(&told).contains(name), "{}", words(&told));
        let removed = operator(&place, &["ban", "remove", name, "--reason", "drill"]).output().unwrap();
        assert!(removed.status.success(), "{}", words(&removed));
    }
    // The ban has closed the job, which a lifted ban does not open again.
    let ended = explained(&place, &token);
    assert!(ended.status.code() == Some(1) && words(&ended).contains("session_ended"), "{}", words(&ended));
}

fn doctor(place: &Place) -> Vec<(String, String, String)> {
    let output = lanyard().args(["doctor", "--json", "--config"]).arg(place.config()).output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_odd| panic!("{}", words(&output)));
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    let row = |of: &Value| (text(of, "check"), text(of, "verdict"), text(of, "found") + "\n" + &text(of, "remedy"));
    told["findings"].as_array().unwrap().iter().map(row).collect()
}

fn verdict(place: &Place, check: &str) -> (String, String) {
    let all = doctor(place);
    let found = all.iter().find(|(name, ..)| name == check).unwrap_or_else(|| panic!("no {check}: {all:#?}"));
    (found.1.clone(), found.2.clone())
}

#[test]
fn a_stopped_server_s_keys_journal_and_files_are_looked_at_and_left_as_they_are() {
    let place = Place::new();
    let server = Server::start(&place);
    used_up(&place, &place.issuer.token(now()));
    server.ask_to_end();
    assert!(server.wait().0.success());
    for check in ["files", "keys", "journal"] {
        assert_eq!(verdict(&place, check).0, "good", "{check}: {:?}", verdict(&place, check));
    }
    let key = place.file("data/sealing.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let (how, told) = verdict(&place, "files");
    assert!(how == "wrong" && told.contains("sealing.key") && told.contains("chmod 600"), "{told}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let segment = place.segments().remove(0);
    let text = fs::read_to_string(&segment).unwrap();
    fs::write(&segment, text.replacen("every project", "every PROJECT", 1)).unwrap();
    let (how, told) = verdict(&place, "journal");
    assert!(how == "wrong" && told.contains("lanyard audit verify"), "{told}");
    fs::write(&segment, text).unwrap();
    let whole = fs::read(&key).unwrap();
    fs::write(&key, [7; 32]).unwrap();
    let (how, told) = verdict(&place, "keys");
    assert!(how == "wrong", "{told}");
    fs::write(&key, whole).unwrap();
    assert_eq!(verdict(&place, "keys").0, "good", "nothing was changed");
}

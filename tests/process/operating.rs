//! What operators type: whom they mean, whom they believe, and which key they show.

use crate::callers::now;
use crate::fleet::authority;
use crate::place::{Place, free_port};
use crate::server::{Server, lanyard, words};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

fn asked(place: &Place, arguments: &[&str]) -> Output {
    lanyard().args(arguments).env("LANYARD_ADMIN_SOCKET", place.data().join("admin.sock")).output().unwrap()
}

#[test]
fn whom_nobody_can_be_is_refused_and_whom_nobody_is_today_is_told() {
    let place = Place::new();
    let _server = Server::start(&place);
    let commands = [
        &["session", "list"][..],
        &["session", "revoke", "--reason", "drill"],
        &["ban", "add", "--reason", "drill", "--until", "1h"],
    ];
    for (flag, whom) in [
        ("--namespace", "/"),
        ("--namespace", "acme//api"),
        ("--namespace", "acme api"),
        ("--project", "acme/*"),
        ("--project", "acme/api\u{1b}[2J"),
        ("--project", "0"),
        ("--user", "ada*"),
        ("--user", "ada lovelace"),
        ("--user", "ada\n"),
        ("--ref", "refs/heads/*"),
        ("--ref", "main\u{7}"),
        ("--rule", "every\nproject"),
        ("--signer", "af5f"),
        ("--signer", "*"),
        ("--signer", "not a key"),
    ] {
        for command in commands {
            let output = asked(&place, &[command, &[flag, whom]].concat());
            assert_eq!(output.status.code(), Some(1), "{command:?} {flag} {whom:?}: {}", words(&output));
            assert!(words(&output).contains(flag.trim_start_matches('-')), "{command:?} {whom:?}: {}", words(&output));
            assert!(!words(&output).contains(['\u{1b}', '\u{7}']), "{command:?} {whom:?}");
        }
    }
    for (flag, whom) in [("--rule", "some day"), ("--signer", &*"ab".repeat(32))] {
        for command in commands {
            let output = asked(&place, &[command, &[flag, whom]].concat());
            assert!(output.status.success(), "{command:?} {flag} {whom}: {}", words(&output));
            assert!(words(&output).contains("nobody is meant by it now"), "{command:?} {flag}: {}", words(&output));
        }
        let machine = asked(&place, &["session", "list", "--json", flag, whom]);
        assert!(words(&machine).contains("\"doubt\":\""), "{}", words(&machine));
    }
    let root = authority(&place, &["list", "--kind", "x509-intermediate"])["keys"].clone();
    let signer = root.as_array().unwrap().iter().find(|key| key["kind"] == "x509-intermediate").unwrap();
    for (flag, whom) in [
        ("--rule", "every project, its pipelines"),
        ("--signer", signer["key_id"].as_str().unwrap()),
        ("--namespace", "acme"),
        ("--project", "acme/payments/api"),
        ("--user", "ada.lovelace@corp-x_y"),
        ("--ref", "refs/heads/größer"),
    ] {
        let output = asked(&place, &["session", "list", flag, whom]);
        assert!(output.status.success() && !words(&output).contains("nobody is meant"), "{}", words(&output));
    }
}

fn pem(folder: &Path, name: &str, text: &str, mode: u32) -> String {
    let file = folder.join(name);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    file.display().to_string()
}

#[test]
fn a_server_that_is_not_believed_and_a_key_that_others_can_read_are_told_as_that() {
    let port = free_port();
    let made = rcgen::generate_simple_self_signed(["ada".to_owned()]).unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = ca.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    let place = Place::with(&format!(
        "[operators]\nlisten = [\"127.0.0.1:{port}\"]\n[operators.certificates]\nname = \"ca\"\nca_file = \"operators.pem\"\n\
         people.\"email:ada@corp.example\" = \"ada\"\n"
    ));
    fs::write(place.file("operators.pem"), ca.pem()).unwrap();
    let _server = Server::start(&place);
    let folder = place.file("");
    let certificate = pem(&folder, "ada.pem", &made.cert.pem(), 0o644);
    let key = pem(&folder, "ada.key", &made.signing_key.serialize_pem(), 0o600);
    let open = pem(&folder, "open.key", &made.signing_key.serialize_pem(), 0o644);
    let locked = made.signing_key.serialize_pem().replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let locked = pem(&folder, "locked.key", &locked, 0o600);
    let other = pem(&folder, "other.pem", &ca.pem(), 0o644);
    let door = place.file("data/door-ca.pem").display().to_string();
    for (believed, shown, code, told) in [
        (&*other, &*key, 3, &[&*other, "--admin-ca", "UnknownIssuer"][..]),
        ("/nowhere/ca.pem", &*key, 1, &["/nowhere/ca.pem", "--admin-ca", "no such file"]),
        (&*door, &*open, 1, &[&*open, "chmod 600"]),
        (&*door, &*locked, 1, &[&*locked, "encrypted", "openssl pkey -in"]),
        (&*door, &*key, 1, &["operator_certificate_refused"]),
    ] {
        let mut command = lanyard();
        command.args(["ban", "list", "--admin-url", &format!("https://127.0.0.1:{port}"), "--admin-ca", believed]);
        let output = command.args(["--operator-cert", &certificate, "--operator-key", shown]).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{told:?}: {}", words(&output));
        for part in told {
            assert!(words(&output).contains(part), "{part}: {}", words(&output));
        }
        assert!(!words(&output).contains("speaks a server's admin API"), "{}", words(&output));
    }
}

#[test]
fn of_many_agents_that_lack_a_key_the_log_names_a_few_and_counts_the_others() {
    let place = Place::new();
    let server = Server::start(&place);
    let tokens: Vec<_> = (0..9).map(|_| place.issuer.token(now())).collect();
    let file = place.file("tokens");
    fs::write(&file, tokens.join("\n")).unwrap();
    let mut bench = lanyard();
    bench.args(["bench", "streams", "--agents", "9", "--tokens-file"]).arg(&file);
    bench.arg("--server").arg(format!("https://127.0.0.1:{}", place.port));
    let came = bench.arg("--server-ca").arg(place.file("data/door-ca.pem")).output().unwrap();
    assert!(came.status.success(), "{}", words(&came));
    let key = authority(&place, &["prepare"])["key_id"].as_str().unwrap().to_owned();
    let forced = asked(&place, &["authority", "activate", &key, "--force", "--reason", "drill"]);
    assert!(forced.status.success(), "{}", words(&forced));
    let log = server.log();
    let line = log.lines().find(|line| line.contains("without proof that everybody holds it")).unwrap();
    for told in [line, &words(&forced)] {
        assert!(told.contains("agent") && told.contains(" and 5 more"), "{told}");
        assert_eq!(told.matches("agent").count(), 4, "with the minimum time, five are named: {told}");
    }
}

//! A server of its own that believes the stand-in GitLab and asks it for a fact: either can be ended without the other.

use crate::gitlab::Gitlab;
use crate::place::free_port;
use crate::server::{Server, words};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// The server, its folder, and its GitLab.
pub(crate) struct OwnServer {
    folder: TempDir,
    gitlab: Gitlab,
    server: Server,
    port: u16,
    pub(crate) health_port: u16,
}

impl OwnServer {
    /// With more sections in its configuration.
    pub(crate) fn with(sections: &str) -> Self {
        let (folder, gitlab, port, health_port) = (TempDir::new().unwrap(), Gitlab::start(), free_port(), free_port());
        let text = fs::read_to_string(gitlab.file("server.toml")).unwrap();
        let line = |line: &str| match line.split_once(" = ").map_or("", |(key, _)| key) {
            "data_dir" => "data_dir = \"data\"".to_owned(),
            "issuer" => format!("issuer = \"127.0.0.1:{port}\""),
            "health" => format!("health = \"127.0.0.1:{health_port}\""),
            "admin_socket" => "admin_socket = \"admin.sock\"".to_owned(),
            "policy_file" => "policy_file = \"policy.toml\"".to_owned(),
            _ => line.to_owned(),
        };
        let text: Vec<String> = text.lines().map(line).collect();
        let config = folder.path().join("server.toml");
        fs::write(&config, format!("{}\n{sections}", text.join("\n"))).unwrap();
        let policy = fs::read_to_string(gitlab.file("policy.toml")).unwrap();
        fs::write(folder.path().join("policy.toml"), policy.replace("# [rule.need]\n# ", "[rule.need]\n")).unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        let mut server = Server::spawn(&config);
        let ready = format!("http://127.0.0.1:{health_port}/ready");
        let is_ready = || Command::new("curl").args(["--silent", "--fail", &ready]).output().unwrap().status.success();
        server.wait_until(is_ready);
        Self { folder, gitlab, server, port, health_port }
    }

    /// A file of the server's.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// A new job's token; also when its GitLab is away.
    pub(crate) fn token_for(&self, audience: &str) -> String {
        self.gitlab.token_for(audience, &[])
    }

    /// The same with other claims.
    pub(crate) fn token_with(&self, audience: &str, claims: &[&str]) -> String {
        self.gitlab.token_for(audience, claims)
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.server.log()
    }

    /// From now on nobody answers for GitLab.
    pub(crate) fn lose_gitlab(&mut self) {
        self.gitlab.end();
    }

    /// Asks for an identity as curl does, with a header more; the answer.
    pub(crate) fn ask(&self, token: &str, header: &str) -> Value {
        let key = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-subj", "/", "-keyout"];
        let made =
            Command::new("openssl").args(["req", "-new", "-newkey"]).args(key).arg(self.file("key.pem")).output();
        let csr = String::from_utf8(made.unwrap().stdout).unwrap();
        fs::write(self.file("body"), json!({ "token": token, "csr": csr }).to_string()).unwrap();
        let answer = Command::new("curl")
            .args(["--silent", "--header", header, "--cacert"])
            .arg(self.file("data/door-ca.pem"))
            .arg("--json")
            .arg(format!("@{}", self.file("body").display()))
            .arg(format!("{}/v1/svid/x509", self.url()))
            .output()
            .unwrap();
        serde_json::from_slice(&answer.stdout).unwrap_or_else(|_| panic!("{}", words(&answer)))
    }
}

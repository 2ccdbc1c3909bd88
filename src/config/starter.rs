//! The first files of a new server, as `lanyard init` writes them: they load as they are, and say what can be changed.

use crate::crypto::Digest;
use crate::identity::TrustDomain;
use crate::wire::ServerUrl;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What is known of a new server.
#[derive(Clone, Debug)]
pub struct Starter {
    /// How its IDs begin.
    pub trust_domain: TrustDomain,
    /// The issuer URL of its GitLab.
    pub gitlab: String,
    /// The only CA that is believed for GitLab; none for the machine's.
    pub ca_file: Option<PathBuf>,
    /// What jobs write as `aud`.
    pub audience: String,
    /// Top-level groups whose tokens count; all, where there are none.
    pub namespaces: Vec<String>,
    /// How jobs reach it.
    pub server: ServerUrl,
    /// The names in its TLS certificate.
    pub names: Vec<String>,
    /// The issuer port.
    pub listen: SocketAddr,
    /// The plain port.
    pub health: SocketAddr,
}

impl Starter {
    /// The server's configuration.
    pub const SERVER: &'static str = "server.toml";
    /// Its policy.
    pub const POLICY: &'static str = "policy.toml";
    /// What the policy must say.
    pub const CASES: &'static str = "policy.cases.toml";
    /// An agent's configuration.
    pub const AGENT: &'static str = "agent.toml";
    /// What a job needs.
    pub const JOB: &'static str = "job.gitlab-ci.yml";
    /// The data folder that the configuration names.
    pub const DATA: &'static str = "data";
    /// All files, in the order in which people read them; the data folder is not one.
    pub const FILES: [&'static str; 5] = [Self::SERVER, Self::POLICY, Self::CASES, Self::AGENT, Self::JOB];

    /// The text of each of [`Self::FILES`], for a server whose door CA has this SHA-256.
    pub fn texts(&self, door_ca: &Digest) -> [String; 5] {
        [
            self.server_text(),
            include_str!("starter_files/policy.toml").to_owned(),
            self.cases_text(),
            self.client_text(include_str!("starter_files/agent.toml"), door_ca),
            self.client_text(include_str!("starter_files/job.gitlab-ci.yml"), door_ca),
        ]
    }

    fn server_text(&self) -> String {
        let ca_file = self.ca_file.as_deref().map(Path::to_string_lossy);
        let ca_file = ca_file.map_or_else(
            || "# ca_file = \"/etc/lanyard/gitlab-ca.pem\"".to_owned(),
            |path| format!("ca_file = {}", quoted(&path)),
        );
        let namespaces = match &*self.namespaces {
            [] => "# namespaces = [\"acme\"]".to_owned(),
            names => format!("namespaces = {}", list(names)),
        };
        filled(
            include_str!("starter_files/server.toml"),
            &[
                ("@TRUST_DOMAIN@", quoted(self.trust_domain.as_str())),
                ("@LISTEN@", quoted(&self.listen.to_string())),
                ("@HEALTH@", quoted(&self.health.to_string())),
                ("@NAMES@", list(&self.names)),
                ("@GITLAB@", quoted(&self.gitlab)),
                ("@AUDIENCE@", quoted(&self.audience)),
                ("@CA_FILE@", ca_file),
                ("@NAMESPACES@", namespaces),
            ],
        )
    }

    fn cases_text(&self) -> String {
        let project = format!("{}/payments/api", self.namespaces.first().map_or("acme", String::as_str));
        // Where a case says nothing of its pipeline, that is the first.
        let id = |layout: &str| quoted(&format!("/{project}/-/{layout}pipelines/1"));
        filled(
            include_str!("starter_files/policy.cases.toml"),
            &[
                ("@PROJECT@", quoted(&project)),
                ("@PRODUCTION_ID@", id("environments/production/")),
                ("@PROTECTED_ID@", id("protected/")),
                ("@PIPELINE_ID@", id("")),
            ],
        )
    }

    fn client_text(&self, template: &str, door_ca: &Digest) -> String {
        let values = [
            ("@SERVER@", quoted(&self.server.to_string())),
            ("@AUDIENCE@", quoted(&self.audience)),
            ("@DOOR_CA@", door_ca.to_string()),
        ];
        filled(template, &values)
    }
}

/// No value is looked through for the next name: whoever chooses one puts nothing else into the file.
fn filled(template: &str, values: &[(&str, String)]) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((at, name, value)) =
        values.iter().filter_map(|(name, value)| Some((rest.find(name)?, name, value))).min_by_key(|(at, ..)| *at)
    {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        text.push_str(value);
        rest = from.strip_prefix(name).unwrap_or_default();
    }
    text.push_str(rest);
    text
}

/// A text that TOML and YAML read alike.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn list(texts: &[String]) -> String {
    let all: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::{MapEnvironment, check_policy, load_agent, load_cases, load_server};
    use super::*;

    fn starter() -> Starter {
        Starter {
            trust_domain: TrustDomain::parse("ci.example.org").unwrap(),
            gitlab: "https://gitlab.example".to_owned(),
            ca_file: None,
            audience: "https://\"odd\" @GITLAB@".to_owned(),
            namespaces: vec!["acme".to_owned(), "ops".to_owned()],
            server: "https://lanyard.example:8443".parse().unwrap(),
            names: vec!["lanyard.example".to_owned()],
            listen: "0.0.0.0:8443".parse().unwrap(),
            health: "127.0.0.1:8081".parse().unwrap(),
        }
    }

    fn written(starter: &Starter, change: impl Fn(&str) -> String) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in Starter::FILES.iter().zip(starter.texts(&Digest::of(b"a CA"))) {
            std::fs::write(folder.path().join(name), change(&text)).unwrap();
        }
        folder
    }

    #[test]
    fn the_files_load_without_a_warning_and_the_cases_hold() {
        let folder = written(&starter(), str::to_owned);
        let place = |name: &str| folder.path().join(name);
        let settings = load_server(&place(Starter::SERVER), &MapEnvironment::default()).unwrap();
        assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
        assert_eq!(settings.issuers.audience(), Some("https://\"odd\" @GITLAB@"));
        assert_eq!(settings.issuers.by_name("gitlab").unwrap().namespaces, ["acme", "ops"]);
        let checked = check_policy(&place(Starter::POLICY), &[], settings.keys.lifetimes.svid).unwrap();
        assert!(checked.warnings.is_empty(), "{:?}", checked.warnings);
        let cases = load_cases(&place(Starter::CASES), &checked.policy, &[]).unwrap();
        assert_eq!(cases.len(), 5);
        let agent = load_agent(&place(Starter::AGENT), &MapEnvironment::default()).unwrap();
        assert_eq!(agent.server, starter().server);
    }

    /// What is commented out is there to be used.
    #[test]
    fn what_is_commented_out_loads_too() {
        let is_setting = |line: &&str| {
            let name = line.strip_prefix("# ").and_then(|line| line.split_once(" = ")).map(|(name, _)| name);
            name.is_some_and(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        };
        let shows = |line: &&str| is_setting(line) && !line.contains("_file = \"/");
        let bare = Starter { namespaces: Vec::new(), ..starter() };
        let count = bare.texts(&Digest::of(b"")).iter().flat_map(|text| text.lines()).filter(shows).count();
        assert_eq!(count, 10, "the names of settings that are commented out");
        let used = |text: &str| {
            let line =
                |line: &str| if shows(&line) { line.trim_start_matches("# ").to_owned() } else { line.to_owned() };
            text.lines().map(line).collect::<Vec<_>>().join("\n")
        };
        let folder = written(&bare, used);
        let settings = load_server(&folder.path().join(Starter::SERVER), &MapEnvironment::default()).unwrap();
        assert_eq!(settings.doors.admin_socket, folder.path().join("data/admin.sock"));
        assert_eq!(settings.policy.rules()[2].gives.audiences, ["https://vault.corp.example"]);
        let agent = load_agent(&folder.path().join(Starter::AGENT), &MapEnvironment::default()).unwrap();
        assert!(agent.sds_socket.is_some() && agent.program.is_some());
    }
}

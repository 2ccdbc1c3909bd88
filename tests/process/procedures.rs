//! The procedures of `docs/operations/`, typed as they stand there: a real server, a real agent, lifetimes of seconds.

use crate::console::{Stage, hold, procedures};
use crate::gitlab::Gitlab;
use crate::place::{Place, free_port};
use crate::server::{Server, lanyard};
use crate::vault::ScriptedVault;
use crate::vault::transit::Transit;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use tokio::runtime::Runtime;

/// By page; each has a test below.
const PROCEDURES: [(&str, &str); 9] = [
    ("backup.md", "lost root"),
    ("backup.md", "restore"),
    ("custody.md", "move to Vault"),
    ("custody.md", "change the sealing key"),
    ("first-server.md", "first set-up"),
    ("rotation.md", "planned rotation"),
    ("rotation.md", "planned rotation of a JWT key"),
    ("rotation.md", "stolen intermediate"),
    ("rotation.md", "stolen root"),
];

/// Seconds for what takes hours; all else as in the page.
const SETTINGS: &str = r#"
[svid]
ttl = "10s"

[keys]
refresh_hint = "1s"
propagation = "6s"

[[holder]]
name = "payments mesh"
"#;

fn pages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations")
}

/// A machine with a service manager, the files of the page in a folder of ours.
struct Machine {
    place: Place,
    _gitlab: Option<Gitlab>,
    server: Option<Server>,
    _agent: Option<Server>,
    vault: Option<(ScriptedVault, Runtime)>,
    /// What the page says, and what it is here.
    names: Vec<(String, String)>,
}

impl Machine {
    /// Nothing but a GitLab.
    fn bare() -> Self {
        let (place, gitlab) = (Place::new(), Gitlab::start());
        fs::create_dir(place.file("new")).unwrap();
        fs::copy(gitlab.file("gitlab-ca.pem"), place.file("new/corp-ca.pem")).unwrap();
        fs::create_dir(place.file("etc")).unwrap();
        let (port, health) = (free_port(), free_port());
        let names = vec![
            ("https://gitlab.corp.example".to_owned(), gitlab.url()),
            ("/etc/lanyard".to_owned(), place.file("etc/lanyard").display().to_string()),
            ("/root/corp-ca.pem".to_owned(), place.file("new/corp-ca.pem").display().to_string()),
            ("0.0.0.0:8443".to_owned(), format!("127.0.0.1:{port}")),
            ("https://localhost:8443".to_owned(), format!("https://localhost:{port}")),
            ("127.0.0.1:8081".to_owned(), format!("127.0.0.1:{health}")),
        ];
        Self { place, _gitlab: Some(gitlab), server: None, _agent: None, vault: None, names }
    }

    /// A server at work, an agent with a job's identity, a mesh that an operator answers for.
    fn at_work() -> Self {
        let place = Place::with(SETTINGS);
        let policy = fs::read_to_string(place.file("policy.toml")).unwrap().replace("\"15m\"", "\"10s\"");
        fs::write(place.file("policy.toml"), policy).unwrap();
        fs::create_dir(place.file("backup")).unwrap();
        let server = Server::start(&place);
        let mut agent = Server::spawn_agent(&crate::memory::agent_config(&place));
        agent.wait_until(|| place.file("svids/svid.pem").exists());
        let names = vec![
            ("https://localhost:8443".to_owned(), format!("https://localhost:{}", place.port)),
            ("127.0.0.1:8081".to_owned(), format!("127.0.0.1:{}", place.health_port)),
            ("/mnt/backup".to_owned(), place.file("backup").display().to_string()),
            ("/etc/lanyard".to_owned(), place.file("").display().to_string().trim_end_matches('/').to_owned()),
        ];
        Self { place, _gitlab: None, server: Some(server), _agent: Some(agent), vault: None, names }
    }

    /// The same, where the company has a Vault; its CA and a token lie beside the configuration.
    fn beside_a_vault() -> Self {
        let runtime = Runtime::new().unwrap();
        let vault = runtime.block_on(ScriptedVault::with(vec![("transit", Arc::new(Transit::default()))]));
        let mut machine = Self::at_work();
        for (name, here) in [("ca.pem", "vault-ca.pem"), ("token", "vault.token")] {
            fs::copy(vault.file(name), machine.place.file(here)).unwrap();
        }
        machine.names.push(("https://vault.corp.example:8200".to_owned(), vault.address()));
        machine.vault = Some((vault, runtime));
        machine
    }

    fn here(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (page, here)| text.replace(page, here))
    }

    fn in_the_page(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (page, here)| text.replace(here, page))
    }

    /// What the machine's service manager does.
    fn service(&mut self, verb: &str) {
        if let Some(server) = self.server.take() {
            server.ask_to_end();
            assert!(server.wait().0.success());
        }
        if verb != "stop" {
            let config = self.config();
            let mut server = Server::spawn(&config);
            let is_ready = || lanyard().args(["health", "--config"]).arg(&config).output().unwrap().status.success();
            server.wait_until(is_ready);
            self.server = Some(server);
        }
    }

    fn config(&self) -> PathBuf {
        PathBuf::from(self.here("/etc/lanyard/server.toml"))
    }
}

impl Stage for Machine {
    fn run(&mut self, command: &str) -> (bool, String) {
        let bare = command.split('#').next().unwrap_or_default().trim();
        if let Some(verb) = bare.strip_prefix("systemctl ").and_then(|rest| rest.strip_suffix(" lanyard")) {
            self.service(verb);
            return (true, String::new());
        }
        if let (Some(verb), Some((vault, _))) = (bare.strip_prefix("vault operator "), &self.vault) {
            vault.seal(verb == "seal");
            return (true, String::new());
        }
        let (script, environment) = (self.place.file("typed.sh"), self.place.file("typed.env"));
        // What a command sets stays set for the next.
        let (kept, command) = (environment.display(), self.here(command));
        let typed =
            format!("[ -f {kept} ] && . {kept}\nset -a\n{command}\nended=$?\nexport -p > {kept}\nexit $ended\n");
        fs::write(&script, typed).unwrap();
        let binary = lanyard();
        let own = Path::new(binary.get_program()).parent().unwrap().display().to_string();
        // A terminal, as an operator has one: tables are tables there.
        let output = Command::new("script")
            .args(["-qec", &format!("sh {}", script.display()), "/dev/null"])
            .env_clear()
            .env("PATH", format!("{own}:/usr/sbin:/usr/bin:/sbin:/bin"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (output.status.success(), self.in_the_page(&shown(&String::from_utf8(output.stdout).unwrap())))
    }
}

/// What stands on a terminal in the end: of a line that was written over, the last.
fn shown(text: &str) -> String {
    let line = |line: &str| {
        let line = line.trim_end_matches(['\r', '\n']);
        let last = line.rsplit('\r').next().unwrap_or_default();
        format!("{}\n", last.trim_start_matches("\u{1b}[K").trim_end())
    };
    text.split_inclusive('\n').map(line).collect()
}

#[test]
fn every_procedure_of_the_pages_is_tried() {
    let mut pages: Vec<_> = fs::read_dir(pages()).unwrap().map(|page| page.unwrap().path()).collect();
    pages.sort();
    let of = |page: &PathBuf| {
        let name = page.file_name().unwrap().to_str().unwrap().to_owned();
        procedures(page).into_iter().map(move |procedure| (name.clone(), procedure))
    };
    let found: Vec<_> = pages.iter().flat_map(of).collect();
    assert_eq!(found, PROCEDURES.map(|(page, procedure)| (page.to_owned(), procedure.to_owned())));
}

fn as_the_page_says(procedure: &str) {
    let (page, _) = PROCEDURES.iter().find(|(_, name)| *name == procedure).unwrap();
    hold(&pages().join(page), procedure, || match procedure {
        "first set-up" => Box::new(Machine::bare()),
        "move to Vault" | "change the sealing key" => Box::new(Machine::beside_a_vault()),
        _ => Box::new(Machine::at_work()),
    });
}

#[test]
fn the_first_set_up_is_as_the_page_says() {
    as_the_page_says("first set-up");
}

#[test]
fn a_lost_root_is_as_the_page_says() {
    as_the_page_says("lost root");
}

#[test]
fn a_restore_is_as_the_page_says() {
    as_the_page_says("restore");
}

#[test]
fn a_planned_rotation_is_as_the_page_says() {
    as_the_page_says("planned rotation");
}

#[test]
fn a_planned_rotation_of_a_jwt_key_is_as_the_page_says() {
    as_the_page_says("planned rotation of a JWT key");
}

#[test]
fn a_stolen_intermediate_is_as_the_page_says() {
    as_the_page_says("stolen intermediate");
}

#[test]
fn a_stolen_root_is_as_the_page_says() {
    as_the_page_says("stolen root");
}

#[test]
fn a_move_to_vault_is_as_the_page_says() {
    as_the_page_says("move to Vault");
}

#[test]
fn a_change_of_the_sealing_key_is_as_the_page_says() {
    as_the_page_says("change the sealing key");
}

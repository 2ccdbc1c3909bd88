//! The quickstarts, typed word for word: files are written as they are shown, commands run in the order of the page, and the
//! job at the end has its identity. They stay as short as they promise to be.

use crate::gitlab::Gitlab;
use crate::installed::installed;
use crate::place::free_port;
use crate::python;
use crate::server::{lanyard, words};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const STAND_INS: [&str; 8] = ["apt-get", "cargo", "chown", "helm", "install", "kubectl", "sudo", "systemctl"];
const AUDIENCE: &str = "https://ci.corp.example/lanyard";

/// A machine that has what a reader of the page has: a checkout, a GitLab, and stand-ins for the rest.
struct Desk {
    gitlab: Gitlab,
    folder: TempDir,
    ports: [u16; 3],
    agent: Option<Child>,
}

/// A block of a page: a file to write, or lines to type.
struct Block {
    step: String,
    kind: String,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let (mut all, mut open, mut step) = (Vec::new(), None::<Block>, String::new());
    for line in fs::read_to_string(format!("{ROOT}/docs/quickstart/{page}")).unwrap().lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(kind)) => {
                open = Some(Block { step: step.clone(), kind: kind.to_owned(), text: String::new() });
            }
            (Some(_), Some(_)) => all.extend(open.take()),
            (Some(block), None) => block.text.extend([line, "\n"]),
            (None, None) => step = if line.starts_with('#') { line.to_owned() } else { step },
        }
    }
    all
}

impl Desk {
    fn new() -> Self {
        let (gitlab, folder) = (Gitlab::start(), TempDir::new().unwrap());
        let ports = [free_port(), free_port(), free_port()];
        let desk = Self { gitlab, folder, ports, agent: None };
        for place in ["bin", "desk", "etc/ssl", "etc/gitlab-runner", "run/lanyard/workload", "tmp"] {
            fs::create_dir_all(desk.at(place)).unwrap();
        }
        for place in ["helm", "docs"] {
            symlink(format!("{ROOT}/{place}"), desk.at("desk").join(place)).unwrap();
        }
        let [issuer, health, bundle] = ports;
        let ports = json!({ "issuer": issuer, "health": health, "bundle": bundle });
        fs::write(desk.at("ports.json"), ports.to_string()).unwrap();
        for place in ["etc/ssl/corp-ca.pem", "desk/corp-ca.pem"] {
            fs::copy(desk.gitlab.file("gitlab-ca.pem"), desk.at(place)).unwrap();
        }
        fs::copy(desk.gitlab.file("server/door-ca.pem"), desk.at("mesh-root.pem")).unwrap();
        let deploy = desk.at("desk/deploy.sh");
        fs::write(&deploy, "#!/bin/sh\nlanyard svid x509\n").unwrap();
        fs::set_permissions(deploy, Permissions::from_mode(0o755)).unwrap();
        let [python, script] = python::python("stand_ins.py");
        for name in STAND_INS {
            let program = desk.at("bin").join(name);
            fs::write(&program, format!("#!/bin/sh\nexec {python} {script} {name} \"$@\"\n")).unwrap();
            fs::set_permissions(program, Permissions::from_mode(0o755)).unwrap();
        }
        desk
    }

    fn at(&self, place: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(place)
    }

    /// The places of this machine, in place of those that the page shows.
    fn here(&self, text: &str) -> String {
        let [issuer, health, _] = self.ports;
        let here = |place: &str| self.at(place).display().to_string();
        let init = format!("--dir {} --listen 127.0.0.1:{issuer} --health 127.0.0.1:{health}", here("etc/lanyard"));
        text.replace("--host lanyard.corp.example", "--host localhost")
            .replace("--dir /etc/lanyard", &init)
            .replace("https://gitlab.corp.example", &self.gitlab.url())
            .replace("https://lanyard.corp.example:8443", &format!("https://localhost:{issuer}"))
            .replace("https://lanyard.lanyard.svc:8443", &format!("https://localhost:{issuer}"))
            .replace("/etc/", &here("etc/"))
            .replace("/var/lib/lanyard", &here("var/lib/lanyard"))
            .replace("/run/lanyard", &here("run/lanyard"))
            .replace(&format!("{0}{0}", self.folder.path().display()), &self.folder.path().display().to_string())
    }

    /// Types lines, in a shell that stops at the first that fails.
    fn types(&self, lines: &str, more: &BTreeMap<String, String>) -> Output {
        let binary = lanyard();
        let own = Path::new(binary.get_program()).parent().unwrap().display().to_string();
        let mut shell = Command::new("bash");
        shell.args(["-eo", "pipefail", "-c", lines]).current_dir(self.at("desk")).env_clear().stdin(Stdio::null());
        shell
            .env("PATH", format!("{}:{own}:/usr/bin:/bin", self.at("bin").display()))
            .env("STAND_IN", self.folder.path());
        shell.env("CHECKOUT", ROOT).env("TMPDIR", self.at("tmp")).env("XDG_RUNTIME_DIR", self.at("tmp"));
        let output = shell.envs(more).output().unwrap();
        assert!(output.status.success(), "{lines}: {}", words(&output));
        output
    }

    /// Does what the page says; the job's YAML and the runner's TOML are what its end is made of.
    fn follows(&self, page: &str) -> BTreeMap<String, String> {
        let mut shown = BTreeMap::new();
        for Block { kind, text, .. } in blocks(page) {
            let text = self.here(&text);
            if kind == "sh" {
                self.types(&text, &BTreeMap::new());
                continue;
            }
            assert!(["toml", "yaml"].contains(&&*kind), "{page}: {kind} is neither typed nor written");
            let name = text.lines().next().unwrap().trim_start_matches("# ").split(',').next().unwrap().to_owned();
            let place = self.at("desk").join(name.trim_start_matches('/'));
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, &text).unwrap();
            shown.insert(name, text);
        }
        shown
    }

    /// The job of the page, as a runner that sets these variables would start it.
    fn job(&self, pipeline: &str, more: BTreeMap<String, String>, before: &str) -> Output {
        let documents = python::run("yaml_to_json.py", pipeline.as_bytes());
        let job = serde_json::from_slice::<Value>(&documents).unwrap()[0]["deploy"].clone();
        assert_eq!(job["id_tokens"]["LANYARD_ID_TOKEN"]["aud"], AUDIENCE);
        let mut variables = more;
        let token = self.gitlab.token_for(AUDIENCE, &["project_id=4711", "ref_protected=true"]);
        variables.insert("LANYARD_ID_TOKEN".to_owned(), token);
        let lines: Vec<_> = job["script"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        self.types(&format!("{before}\n{}", lines.join("\n")), &variables)
    }

    /// The pod of a job: its agent, and the lines by which the runner logs it in.
    fn in_pod(&mut self, shown: &BTreeMap<String, String>) -> Output {
        let agent = self.at("configmaps/ci/lanyard-agent/agent.toml");
        let mut daemon = lanyard();
        daemon.args(["agent", "--config"]).arg(agent).env_clear().stdout(Stdio::null()).stderr(Stdio::null());
        self.agent = Some(daemon.spawn().unwrap());
        let runner: toml::Table =
            toml::from_str(&fs::read_to_string(format!("{ROOT}/docs/runners/kubernetes.toml")).unwrap()).unwrap();
        let runner = &runner["runners"][0];
        let variables = environment(runner).into_iter().map(|(name, value)| (name, self.here(&value))).collect();
        let before = self.here(runner["pre_build_script"].as_str().unwrap());
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.at("run/lanyard/workload/agent.sock").exists() {
            assert!(Instant::now() < deadline, "no agent");
            thread::sleep(Duration::from_millis(20));
        }
        self.job(&shown[".gitlab-ci.yml"], variables, &before)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            let _dead = agent.kill().and_then(|()| agent.wait());
        }
        for pid in fs::read_dir(self.at("pids")).into_iter().flatten().flatten() {
            let _gone = Command::new("kill").arg(pid.file_name()).stderr(Stdio::null()).status();
        }
    }
}

/// What a runner sets in every job.
fn environment(runner: &toml::Value) -> BTreeMap<String, String> {
    let lines = runner["environment"].as_array().unwrap().iter().filter_map(toml::Value::as_str);
    lines.filter_map(|line| line.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn a_laptop_takes_one_command() {
    let desk = Desk::new();
    let [block] = &blocks("README.md")[..] else { panic!("one block") };
    assert_eq!(block.kind, "sh");
    assert_eq!(block.text.lines().count(), 1);
    let said = desk.types(&block.text, &BTreeMap::new());
    assert!(words(&said).contains("spiffe://dev.lanyard.test/"), "{}", words(&said));
}

#[test]
fn a_gitlab_of_one_s_own_with_a_runner_on_a_virtual_machine() {
    let desk = Desk::new();
    let shown = desk.follows("vm.md");
    let runner: toml::Table = toml::from_str(&shown[&desk.here("/etc/gitlab-runner/config.toml")]).unwrap();
    for file in ["server.toml", "policy.toml"] {
        let mode = fs::metadata(desk.at("etc/lanyard").join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644, "{file}: root's, and the server reads it");
    }
    assert!(!desk.at("etc/lanyard/data").exists(), "the keys are where the server may write");
    let said = desk.job(&shown[".gitlab-ci.yml"], environment(&runner["runners"][0]), "");
    assert!(
        words(&said).contains("spiffe://ci.corp.example/acme/payments/api/-/protected/pipelines/"),
        "{}",
        words(&said)
    );
}

#[test]
fn kubernetes_with_istio() {
    let mut desk = Desk::new();
    let shown = desk.follows("istio.md");
    let said = desk.in_pod(&shown);
    assert!(
        words(&said).contains("spiffe://ci.corp.example/acme/payments/api/-/protected/pipelines/"),
        "{}",
        words(&said)
    );
    let callers = fs::read_to_string(desk.at("desk/callers.yaml")).unwrap();
    assert!(callers.contains("- ci.corp.example/acme/payments/api/-/protected/pipelines/*"), "{callers}");
}

#[test]
fn kubernetes_with_linkerd() {
    let mut desk = Desk::new();
    let shown = desk.follows("linkerd.md");
    let said = desk.in_pod(&shown);
    let id = "spiffe://ci.corp.example/projects/4711/-/protected";
    assert!(words(&said).contains(id), "{}", words(&said));
    let callers = fs::read_to_string(desk.at("desk/callers.yaml")).unwrap();
    assert!(callers.contains(&format!("- {id}\n")), "{callers}");
}

/// That the tests are there and run is held by the house's own rules.
#[test]
fn each_addition_over_the_peers_names_a_test() {
    let page = fs::read_to_string(format!("{ROOT}/docs/compare.md")).unwrap();
    let (choose, adds) = page.split_once("## What Lanyard adds").unwrap();
    let rows = |text: &str| -> Vec<String> {
        let all = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| addition"));
        all.map(str::to_owned).collect()
    };
    let additions = rows(adds);
    assert!(additions.len() > 10, "{additions:?}");
    for row in additions {
        assert!(row.contains(".rs)"), "{row}");
    }
    for peer in [
        "SPIRE",
        "spire-identity-exchange",
        "Teleport",
        "Fulcio",
        "Vault",
        "OpenBao",
        "step-ca",
        "cert-manager",
        "Istio",
        "Linkerd",
    ] {
        assert!(rows(choose).iter().any(|row| row.contains(peer)), "{peer}");
    }
}

#[test]
fn a_quickstart_is_at_most_six_steps_for_the_platform_and_three_for_an_author() {
    let index = fs::read_to_string(format!("{ROOT}/docs/quickstart/README.md")).unwrap();
    for page in ["vm.md", "istio.md", "linkerd.md"] {
        let text = fs::read_to_string(format!("{ROOT}/docs/quickstart/{page}")).unwrap();
        let (platform, author) = text.split_once("## The author of a pipeline").unwrap();
        let steps = [platform, author].map(|part| part.lines().filter(|line| line.starts_with("### ")).count());
        assert!((1..=6).contains(&steps[0]) && (1..=3).contains(&steps[1]), "{page}: {steps:?}");
        let row = index.lines().find(|line| line.contains(&format!("]({page})"))).unwrap();
        assert!(row.ends_with(&format!("| {} | {} |", steps[0], steps[1])), "{row}: {steps:?}");
        assert!(blocks(page).iter().all(|block| block.step.starts_with("###") || block.kind == "toml"), "{page}");
    }
    assert!(!installed("LANYARD_TEST_PYTHON").is_empty());
}

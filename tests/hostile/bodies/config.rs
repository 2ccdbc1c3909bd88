//! The files of a server and of an agent: what loads is whole, what does not is told by line.

use super::policy::{COST, are_told, grants_only_ids};
use super::{Seed, bundle, jwks, place, policy};
use lanyard::config::{MapEnvironment, load_agent, load_server};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

/// What the files may name: a policy, a key set, a CA, a secret.
static BESIDE: LazyLock<place::Files> = LazyLock::new(|| {
    let ca = lanyard::bundle::Bundle::parse(
        lanyard::identity::TrustDomain::parse("example.org").unwrap(),
        &bundle::seeds()[0].bytes,
    );
    let files = [("policy.toml", policy::seeds()[0].bytes.clone()), ("jwks.json", jwks::seeds()[0].bytes.clone())];
    let files = files.into_iter().chain([("ca.pem", ca.unwrap().to_pem().into_bytes())]);
    // The last are whatever secrets the file names.
    let signing_token = |text: &str| text.as_bytes().to_vec();
    let files = files.chain([
        ("secret", signing_token("whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=")),
        ("another", signing_token("whsec_QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=")),
    ]);
    files.map(|(name, bytes)| (PathBuf::from(name), bytes)).collect()
});

const SERVER: &str = r#"
trust_domain = "ci.example.org"
data_dir = "data"
policy_file = "policy.toml"
store = "memory"
segment_bytes = "16MiB"
[listen]
issuer = ["127.0.0.1:0", "[::1]:8443"]
health = "off"
admin_socket = "/run/lanyard/admin.sock"
[tls]
names = ["localhost", "10.0.0.1"]
[keys]
root_lifetime = "3650d"
intermediate_lifetime = "1d"
sealing_key_file = "sealing.key"
[svid]
ttl = "15m"
[[issuer]]
name = "corp"
url = "https://gitlab.example.com"
audience = "https://lanyard.example"
algorithms = ["RS256", "ES256"]
namespaces = ["acme"]
pins = "declared"
max_token_age = "1h30m"
ca_file = "ca.pem"
on_replay = "end"
[issuer.api]
url = "https://inside.example.com/api/v4"
token_file = "secret"
ca_file = "ca.pem"
[[issuer.hook]]
group = "acme"
secret_file = "secret"
signing_token_file = "secret"
canceling = true
[[issuer.hook]]
project = 4711
signing_token_file = "another"
[[issuer]]
name = "other"
url = "https://other.example.com"
audience = "https://lanyard.example"
jwks_file = "jwks.json"
"#;

const AGENT: &str = r#"
server = "https://lanyard.example:8443"
server_ca_file = "ca.pem"
mode = "pod"
state_dir = "/run/lanyard/agent"
[listen]
workload = "/run/lanyard/workload.sock"
agent = "/run/lanyard/agent.sock"
[token]
source = "file"
file = "/run/token"
[files]
folder = "svid"
hook = ["systemctl", "reload", "haproxy"]
hook_timeout = "30s"
"#;

const HOST: &str = r#"
server = "https://lanyard.example:8443"
server_ca_file = "ca.pem"
mode = "host"
state_dir = "/run/lanyard/agent"
[listen]
workload = "/run/lanyard/workload.sock"
agent = "/run/lanyard/agent.sock"
[host]
hierarchy = "pids"
jobs = ["/docker/*", "/system.slice/docker-*.scope"]
[host.accept]
host_pid = "builds see the host"
privileged = "builds make images"
shared_cgroup = "one user's shell executor"
"#;

/// Files that have every part between them.
pub fn seeds() -> Vec<Seed> {
    vec![Seed::new("a-server", SERVER), Seed::new("an-agent", AGENT), Seed::new("a-host", HOST)]
}

/// See the file's words.
pub fn body(bytes: &[u8]) -> bool {
    let environment = MapEnvironment::default();
    let mut files = BESIDE.clone();
    files.push((PathBuf::from("lanyard.toml"), bytes.to_vec()));
    // What the file names is read too.
    let size = bytes.len() + BESIDE.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
    let (server, agent) = place::with(&files, |folder| {
        let file = folder.join("lanyard.toml");
        let server = COST.of(size, || load_server(&file, &environment));
        (server, COST.of(size, || load_agent(&file, &environment)))
    });
    let accepted = server.is_ok() || agent.is_ok();
    match server {
        Ok(settings) => {
            let lifetimes = settings.keys.lifetimes;
            assert!(lifetimes.svid < lifetimes.intermediate && lifetimes.intermediate < lifetimes.root);
            assert!(lifetimes.svid > Duration::ZERO && lifetimes.root <= Duration::from_secs(50 * 365 * 86_400));
            assert!(settings.issuers.iter().count() > 0);
            grants_only_ids(&settings.policy);
        }
        Err(problems) => {
            let own: Vec<_> = problems.into_iter().filter(|problem| problem.file.ends_with("lanyard.toml")).collect();
            if !own.is_empty() {
                are_told(&own, bytes);
            }
        }
    }
    match agent {
        Ok(settings) => assert!(settings.workload_socket.is_absolute()),
        Err(problems) => are_told(&problems, bytes),
    }
    accepted
}

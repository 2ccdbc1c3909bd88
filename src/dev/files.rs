//! The files of a dev run: real ones, that `lanyard server` and a shell can use too.

use super::jobs::API_TOKEN;
use super::keys::CA_PEM;
use super::{DevError, DevFolder};
use std::net::{Ipv4Addr, TcpListener as Listener};
use std::path::PathBuf;

/// `.test` can never be a real name (RFC 2606 §2).
pub(super) const TRUST_DOMAIN: &str = "dev.lanyard.test";
/// What jobs write as `aud` to reach this server.
pub(super) const AUDIENCE: &str = "https://lanyard.test";
/// The name that rules use for the stand-in.
pub(super) const ISSUER_NAME: &str = "dev";
const ISSUER_FILE: &str = "gitlab-issuer";
const PORTS_FILE: &str = "ports";

/// Where everything of a run is.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// The stand-in's issuer URL.
    pub(super) gitlab: String,
    /// The server's URL.
    pub(super) server: String,
    /// The certificate that clients of the server trust.
    pub(super) server_ca: PathBuf,
    /// The server's configuration.
    pub(super) config: PathBuf,
    /// The Workload API.
    pub(super) workload_socket: PathBuf,
    /// The agent's own socket.
    pub(super) agent_socket: PathBuf,
    /// The server's socket for operators.
    pub(super) admin_socket: PathBuf,
    ports: [u16; 3],
}

impl Places {
    /// The same ports as last time where they are free, so that tokens and shells of before still fit.
    ///
    /// # Errors
    /// `Port`, `File`.
    pub(super) fn choose(folder: &DevFolder) -> Result<Self, DevError> {
        let kept = folder.read(PORTS_FILE)?.unwrap_or_default();
        let kept: Vec<u16> =
            String::from_utf8_lossy(&kept).split_whitespace().filter_map(|port| port.parse().ok()).collect();
        let mut held = Vec::new();
        let mut ports = [0; 3];
        for (index, port) in ports.iter_mut().enumerate() {
            let bound = kept.get(index).map(|port| Listener::bind((Ipv4Addr::LOCALHOST, *port)));
            let listener = match bound {
                Some(Ok(listener)) => listener,
                _ => Listener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(DevError::Port)?,
            };
            *port = listener.local_addr().map_err(DevError::Port)?.port();
            held.push(listener);
        }
        let [gitlab, server, health] = ports;
        folder.write(PORTS_FILE, format!("{gitlab} {server} {health}\n").as_bytes())?;
        Ok(Self {
            gitlab: format!("https://127.0.0.1:{gitlab}"),
            server: format!("https://127.0.0.1:{server}"),
            server_ca: folder.place("server").join("door-ca.pem"),
            config: folder.place("server.toml"),
            workload_socket: folder.place("workload.sock"),
            agent_socket: folder.place("agent.sock"),
            admin_socket: folder.place("admin.sock"),
            ports,
        })
    }

    /// The stand-in's port.
    pub(super) const fn gitlab_port(&self) -> u16 {
        let [gitlab, _, _] = self.ports;
        gitlab
    }

    /// Writes the server's configuration and policy, and whose tokens `dev token` mints.
    ///
    /// # Errors
    /// `File`.
    pub(super) fn write_settings(&self, folder: &DevFolder) -> Result<(), DevError> {
        folder.make("server")?;
        folder.write(ISSUER_FILE, self.gitlab.as_bytes())?;
        folder.write("policy.toml", POLICY.as_bytes())?;
        folder.write("server.toml", self.server_settings(folder).as_bytes())
    }

    fn server_settings(&self, folder: &DevFolder) -> String {
        let [_, server, health] = self.ports;
        let quoted = |name: &str| toml::Value::from(folder.place(name).to_string_lossy().into_owned()).to_string();
        let (data_dir, policy, admin) = (quoted("server"), quoted("policy.toml"), quoted("admin.sock"));
        let (ca, api_token) = (quoted(CA_PEM), quoted(API_TOKEN));
        let gitlab = &self.gitlab;
        format!(
            r#"# Written by `lanyard dev` at each start; edits are lost. `lanyard server --config` takes it as it is.

# Every SPIFFE ID of this server begins with spiffe://{TRUST_DOMAIN}/.
trust_domain = "{TRUST_DOMAIN}"
# The journal, its index, and the sealed keys.
data_dir = {data_dir}
policy_file = {policy}

[listen]
issuer = "127.0.0.1:{server}"
health = "127.0.0.1:{health}"
admin_socket = {admin}

# Whose tokens count. The issuer is compared as a string; its keys come from its own discovery document.
[[issuer]]
name = "{ISSUER_NAME}"
url = "{gitlab}"
audience = "{AUDIENCE}"
ca_file = {ca}

# Lets the server ask whether a job still runs, for rules with a need. The stand-in shows jobs/*.json of this folder.
[issuer.api]
token_file = {api_token}
"#
        )
    }

    /// Writes what a shell can source. Comes last: whoever finds it finds everything ready.
    ///
    /// # Errors
    /// `File`.
    pub(super) fn write_env(&self, folder: &DevFolder) -> Result<(), DevError> {
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        let variables = [
            ("LANYARD_SERVER", self.server.clone()),
            ("LANYARD_SERVER_CA", path(&self.server_ca)),
            ("LANYARD_GITLAB", self.gitlab.clone()),
            ("LANYARD_AUDIENCE", AUDIENCE.to_owned()),
            ("LANYARD_TRUST_DOMAIN", TRUST_DOMAIN.to_owned()),
            ("SPIFFE_ENDPOINT_SOCKET", format!("unix://{}", path(&self.workload_socket))),
            ("LANYARD_AGENT_SOCKET", path(&self.agent_socket)),
            ("LANYARD_ADMIN_SOCKET", path(&self.admin_socket)),
            ("LANYARD_CONFIG", path(&self.config)),
            ("LANYARD_DEV_DIR", path(&folder.path().to_owned())),
        ];
        // Single quotes keep everything as it is but themselves (POSIX shell, 2.2.2).
        let line = |(name, value): (&str, String)| format!("export {name}='{}'\n", value.replace('\'', r"'\''"));
        folder.write("dev.env", variables.map(line).concat().as_bytes())
    }
}

/// The issuer that `dev token` mints for.
pub(super) fn issuer_of(folder: &DevFolder) -> Result<String, DevError> {
    let missing = || DevError::NoGitlab { folder: folder.path().to_owned() };
    let text = folder.read(ISSUER_FILE)?.ok_or_else(missing)?;
    String::from_utf8(text).map_err(|_not_text| missing())
}

const POLICY: &str = r#"# Written by `lanyard dev` at each start; edits are lost. Try: lanyard policy check policy.toml

# Every project of the stand-in GitLab gets the usual ID: its path, then its pipeline.
# Nothing named in GitLab can hold the segment "-", so no project can pass for another's pipeline.
[[rule]]
name = "every pipeline"
id = "/{project_path}/-/pipelines/{pipeline_id}"
ttl = "15m"
kinds = ["x509", "jwt"]
audiences = ["https://service.test"]
jwt_without_key = true

[rule.when]
issuer = "dev"

# To try what a rule may need of other systems: take the marks off, and write another "status" into a file of jobs/.
# [rule.need]
# "job.state" = "running"
"#;

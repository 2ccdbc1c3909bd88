//! A server and agents as processes, a GitLab that tells of jobs' ends, and a service that jobs call.

use crate::callers::{csr, p256, session_channel};
use crate::client::Svid;
use crate::consumer::run;
use crate::gitlab::Gitlab;
use crate::issuer::{AUDIENCE, URL};
use crate::page;
use crate::place::Place;
use crate::server::Server;
use lanyard::crypto::PemLabel;
use lanyard::wire::lanyard::issuer_client::IssuerClient;
use lanyard::wire::lanyard::{ExchangeRequest, RenewRequest};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tonic::transport::Channel;

/// Identities of jobs that run, by GitLab's own word.
const POLICY: &str = r#"
[[rule]]
name = "every project, its pipelines that run"
id = "/{project_path}/-/running/pipelines/{pipeline_id}"
ttl = "TTL"
when = { issuer = "corp" }
need = { "job.state" = "running" }
"#;

const SECRET: &str = "f3a9c1d27be84650a1b2c3d4e5f60718";

/// A server on a place of its own.
pub(crate) struct World {
    pub(crate) place: Place,
    gitlab: Gitlab,
    _server: Server,
}

/// The usual policy, with SVIDs that live for so many seconds.
fn policy(ttl: Duration) -> String {
    POLICY.replace("TTL", &format!("{}s", ttl.as_secs()))
}

/// A job of GitLab's.
pub(crate) struct Job {
    pub(crate) number: u64,
    pub(crate) pipeline: &'static str,
}

/// The job of a service, which has an agent as well.
pub(crate) const SERVICE: Job = Job { number: 900, pipeline: "900" };

/// An agent, its socket and its files.
pub(crate) struct Agent {
    _process: Server,
    pub(crate) socket: PathBuf,
    pub(crate) files: PathBuf,
}

/// Another session of a job, held by its key.
pub(crate) struct Session {
    issuer: IssuerClient<Channel>,
    id: String,
    pub(crate) svid: Svid,
}

impl World {
    /// SVIDs live for so many seconds: few enough that a dozen renewals fit into a test.
    pub(crate) fn start(ttl: Duration) -> Self {
        Self::under(&policy(ttl))
    }

    /// The same with more settings.
    pub(crate) fn with_keys(ttl: Duration, settings: &str) -> Self {
        Self::set(&policy(ttl), settings)
    }

    /// Under a policy.
    pub(crate) fn under(policy: &str) -> Self {
        Self::set(policy, "")
    }

    /// The same with more settings.
    pub(crate) fn configured(policy: &str, settings: &str) -> Self {
        Self::set(policy, settings)
    }

    fn set(policy: &str, settings: &str) -> Self {
        let settings = format!("[crl]\n\n[svid]\nsubject = \"project\"\n\n{settings}");
        let (place, gitlab) = (Place::with(&settings), Gitlab::start());
        fs::write(place.file("policy.toml"), policy).unwrap();
        let secret = place.file("hook.secret");
        fs::write(&secret, SECRET).unwrap();
        fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
        let issuer = format!(
            "ca_file = \"{}\"\n[issuer.api]\ntoken_file = \"{}\"\n\
             [[issuer.hook]]\nproject = 4711\nsecret_file = \"hook.secret\"",
            gitlab.file("gitlab-ca.pem").display(),
            gitlab.file("gitlab-api-token").display(),
        );
        let config = fs::read_to_string(place.config()).unwrap();
        let config = config.replace(URL, &gitlab.url()).replace("jwks_file = \"jwks.json\"", &issuer);
        fs::write(place.config(), config).unwrap();
        let server = Server::start(&place);
        Self { place, gitlab, _server: server }
    }

    /// SVIDs live for so long from the next renewal on that the server has seen it.
    pub(crate) fn let_svids_live_for(&self, ttl: Duration) {
        fs::write(self.place.file("policy.toml"), policy(ttl)).unwrap();
    }

    /// A token of a job, as it asks for in its `.gitlab-ci.yml`; each is another.
    fn token(&self, job: &Job) -> String {
        self.token_with(job, &[])
    }

    /// The same with more claims, or with others.
    pub(crate) fn token_with(&self, job: &Job, more: &[&str]) -> String {
        let Job { number, pipeline } = job;
        let claims = [format!("job_id={number}"), format!("pipeline_id={pipeline}")];
        self.gitlab.token_for(AUDIENCE, &[&["project_id=4711", &claims[0], &claims[1]], more].concat())
    }

    /// An agent with a job's token, and what it runs after each change of its files; ready when it has an SVID.
    pub(crate) fn agent(&self, name: &str, job: &Job, hook: &[&str]) -> Agent {
        let file = |kind: &str| self.place.file(format!("{name}{kind}"));
        fs::write(file(".token"), self.token(job)).unwrap();
        let (socket, files) = (file(".sock"), file("-files"));
        let port = self.place.port;
        let files_section = page::block("files.toml")
            .replace("/run/lanyard/files", &files.display().to_string())
            .replace(r#"["nginx", "-s", "reload"]"#, &json!(hook).to_string());
        let text = format!(
            r#"
server = "https://127.0.0.1:{port}"
server_ca_file = "data/door-ca.pem"
mode = "own-uid"
state_dir = "{name}-state"

[token]
file = "{name}.token"

[listen]
workload = "{socket}"

[sds]
crl = true

{files_section}"#,
            socket = socket.display()
        );
        fs::write(file(".toml"), text).unwrap();
        let mut process = Server::spawn_agent(&file(".toml"));
        process.wait_until(|| files.join("svid_crl.pem").exists());
        Agent { _process: process, socket, files }
    }

    /// A session that a token of the job opens, by a key of its own.
    pub(crate) async fn session(&self, job: &Job) -> Session {
        self.session_by(self.token(job)).await
    }

    async fn session_by(&self, token: String) -> Session {
        let key = p256();
        let mut issuer = IssuerClient::new(session_channel(&self.place));
        let request = ExchangeRequest { token, csr: csr(&key).into(), profile: String::new() };
        let answer = issuer.exchange(request).await.unwrap().into_inner();
        let chain = answer.certificate_chain.iter().map(|der| PemLabel::Certificate.armour(der).to_string()).collect();
        let key = PemLabel::PrivateKey.armour(key.pkcs8_der()).to_string();
        Session { issuer, id: answer.session, svid: Svid { chain, key } }
    }

    /// An SVID of a job whose session nobody will renew.
    pub(crate) fn svid(&self, job: &Job) -> Svid {
        self.svid_by(self.token(job))
    }

    pub(crate) fn svid_by(&self, token: String) -> Svid {
        tokio::runtime::Runtime::new().unwrap().block_on(self.session_by(token)).svid
    }

    /// The job is over, and GitLab says so to those who ask.
    pub(crate) fn end(&self, job: &Job) {
        let shown = self.gitlab.file("jobs").join(format!("4711-{}.json", job.number));
        let text = fs::read_to_string(&shown).unwrap();
        fs::write(shown, text.replace("\"running\"", "\"success\"")).unwrap();
    }

    /// GitLab's own words, when a job is over.
    pub(crate) fn tell_the_end_of(&self, job: &Job) {
        let event =
            json!({"object_kind": "build", "build_id": job.number, "build_status": "success", "project_id": 4711});
        let mut curl = Command::new("curl");
        curl.args(["-sSf", "--max-time", "20", "-H", "Content-Type: application/json", "--cacert"]);
        curl.arg(self.place.data().join("door-ca.pem"));
        curl.args(["-H", &format!("X-Gitlab-Token: {SECRET}"), "-d", &event.to_string()]);
        run(curl.arg(format!("https://127.0.0.1:{}/v1/hooks/gitlab/corp", self.place.port)));
    }
}

impl Session {
    /// An SVID more, or the code of the no.
    pub(crate) async fn renew(&mut self) -> Result<(), String> {
        let request = RenewRequest {
            session: self.id.clone(),
            csr: csr(&p256()).into(),
            profile: String::new(),
            bundle_sequence: 0,
        };
        let Err(status) = self.issuer.renew(request).await else { return Ok(()) };
        let code = status.metadata().get("lanyard-code").map(|code| code.to_str().unwrap().to_owned());
        Err(code.unwrap_or_else(|| status.to_string()))
    }
}

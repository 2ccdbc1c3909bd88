//! A client of ours that keeps spiffe-helper's rules, over plain gRPC.
//!
//! - Once: the first message of each kind. A denial is asked about again, ten times in all, the wait growing fivefold
//!   from 10 ms; any other answer is final.
//! - Daemon: both streams as long as it runs. After an error it waits a second, then two, up to thirty, and anew after
//!   each message; a wrong request is final. A JWT-SVID is fetched again a second after half of its life, a failed
//!   fetch after 1 s, 2 s, 4 s.
//! - The SVID's own bundle has to come with it. A JWT-SVID is held against the JWT bundles before it is written.
//! - Files are overwritten in place; then the process in the pid file is signalled.

use super::SERVICE;
use crate::running::call;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper_util::rt::TokioIo;
use lanyard::wire::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use lanyard::wire::workload::{
    JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, X509svid, X509svidRequest, X509svidResponse,
};
use rustix::process::{Pid, Signal, kill_process};
use spiffe::{JwtBundle, JwtBundleSet, JwtSvid, JwtSvidError, TrustDomain};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status, Streaming};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mode {
    Once,
    Daemon,
}

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) socket: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) mode: Mode,
    pub(super) pid_file: Option<PathBuf>,
}

type Api = SpiffeWorkloadApiClient<Channel>;

pub(super) async fn run(settings: Settings) -> Result<(), Status> {
    let socket = settings.socket.clone();
    let connect = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect);
    let helper = Helper { api: Api::new(channel), settings };
    match helper.settings.mode {
        Mode::Once => helper.once().await,
        Mode::Daemon => {
            tokio::try_join!(helper.keep_x509(), helper.keep_jwt_bundles(), helper.keep_jwt_svid())?;
            Ok(())
        }
    }
}

struct Helper {
    api: Api,
    settings: Settings,
}

impl Helper {
    async fn once(&self) -> Result<(), Status> {
        let svids = patient(|| async { first(self.x509().await?).await }).await?;
        self.write_x509(&svids)?;
        let bundles = patient(|| async { first(self.jwt_bundles().await?).await }).await?;
        self.write_jwt_bundles(&bundles)?;
        patient(|| async { self.fetch_jwt_svid().await.map(drop) }).await
    }

    async fn keep_x509(&self) -> Result<(), Status> {
        let mut failures = 0;
        loop {
            let ended = match self.x509().await {
                Ok(mut stream) => loop {
                    match one(&mut stream).await {
                        Ok(message) => self.write_x509(&message)?,
                        Err(ended) => break ended,
                    }
                    failures = 0;
                },
                Err(refused) => refused,
            };
            wait_after(ended, &mut failures).await?;
        }
    }

    async fn keep_jwt_bundles(&self) -> Result<(), Status> {
        let mut failures = 0;
        loop {
            let ended = match self.jwt_bundles().await {
                Ok(mut stream) => loop {
                    match one(&mut stream).await {
                        Ok(message) => self.write_jwt_bundles(&message)?,
                        Err(ended) => break ended,
                    }
                    failures = 0;
                },
                Err(refused) => refused,
            };
            wait_after(ended, &mut failures).await?;
        }
    }

    async fn keep_jwt_svid(&self) -> Result<(), Status> {
        let mut failures = 0;
        loop {
            let wait = if let Ok(lives_for) = self.fetch_jwt_svid().await {
                failures = 0;
                lives_for / 2 + Duration::from_secs(1)
            } else {
                failures += 1;
                Duration::from_secs(1 << (failures - 1).min(5))
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn x509(&self) -> Result<Streaming<X509svidResponse>, Status> {
        let request = call(X509svidRequest {}, &["true"]);
        Ok(self.api.clone().fetch_x509svid(request).await?.into_inner())
    }

    async fn jwt_bundles(&self) -> Result<Streaming<JwtBundlesResponse>, Status> {
        let request = call(JwtBundlesRequest {}, &["true"]);
        Ok(self.api.clone().fetch_jwt_bundles(request).await?.into_inner())
    }

    /// Fetches, holds against the bundles and writes; how long it lives.
    async fn fetch_jwt_svid(&self) -> Result<Duration, Status> {
        let bundles = first(self.jwt_bundles().await?).await?;
        let wanted = JwtsvidRequest { audience: vec![SERVICE.to_owned()], spiffe_id: String::new() };
        let svids = self.api.clone().fetch_jwtsvid(call(wanted, &["true"])).await?.into_inner().svids;
        let token = &svids.first().expect("a JWT-SVID").svid;
        let (domain, keys) = bundles.bundles.iter().next().expect("a JWT bundle");
        let svid = held_against(domain, keys, token).map_err(unusable)?;
        self.write("jwt_svid.token", 0o600, token)?;
        let lives_for = svid.expiry().unix_timestamp() - time::OffsetDateTime::now_utc().unix_timestamp();
        Ok(Duration::from_secs(lives_for.unsigned_abs()))
    }

    fn write_x509(&self, message: &X509svidResponse) -> Result<(), Status> {
        let X509svid { x509_svid, x509_svid_key, bundle, .. } = message.svids.first().expect("an SVID");
        assert!(!bundle.is_empty(), "the SVID's own bundle comes with it");
        self.write("svid.pem", 0o644, &certificates(x509_svid))?;
        self.write("svid_key.pem", 0o600, &pem("PRIVATE KEY", x509_svid_key))?;
        self.write("svid_bundle.pem", 0o644, &certificates(bundle))?;
        if let Some(file) = &self.settings.pid_file {
            let pid = std::fs::read_to_string(file)?.trim().parse().ok().and_then(Pid::from_raw);
            kill_process(pid.expect("a process"), Signal::USR1).map_err(std::io::Error::from)?;
        }
        Ok(())
    }

    fn write_jwt_bundles(&self, message: &JwtBundlesResponse) -> Result<(), Status> {
        let bare = |domain: &str| domain.strip_prefix("spiffe://").unwrap_or(domain).to_owned();
        let bundles: serde_json::Map<_, _> =
            message.bundles.iter().map(|(domain, keys)| (bare(domain), STANDARD.encode(keys).into())).collect();
        self.write("jwt_bundle.json", 0o600, &serde_json::Value::Object(bundles).to_string())
    }

    fn write(&self, name: &str, mode: u32, text: &str) -> Result<(), Status> {
        let mut to = OpenOptions::new();
        let mut file = to.write(true).create(true).truncate(true).mode(mode).open(self.settings.folder.join(name))?;
        Ok(file.write_all(text.as_bytes())?)
    }
}

/// Asks again after a denial, and only then.
async fn patient<T, F: Future<Output = Result<T, Status>>>(mut ask: impl FnMut() -> F) -> Result<T, Status> {
    let mut wait = Duration::from_millis(10);
    for _ in 1..10 {
        match ask().await {
            Err(denied) if denied.code() == Code::PermissionDenied => tokio::time::sleep(wait).await,
            final_one => return final_one,
        }
        wait *= 5;
    }
    ask().await
}

async fn first<T>(mut stream: Streaming<T>) -> Result<T, Status> {
    one(&mut stream).await
}

/// The end of a stream is an error too, whatever its status.
async fn one<T>(stream: &mut Streaming<T>) -> Result<T, Status> {
    stream.message().await?.ok_or_else(|| Status::unknown("the stream ended"))
}

async fn wait_after(ended: Status, failures: &mut u64) -> Result<(), Status> {
    if matches!(ended.code(), Code::Cancelled | Code::InvalidArgument) {
        return Err(ended);
    }
    *failures += 1;
    tokio::time::sleep(Duration::from_secs((*failures).min(30))).await;
    Ok(())
}

/// A JWT-SVID judged by the JWT bundle of one trust domain.
pub(super) fn held_against(domain: &str, keys: &[u8], token: &str) -> Result<JwtSvid, JwtSvidError> {
    let mut bundles = JwtBundleSet::new();
    bundles.add_bundle(JwtBundle::from_jwt_authorities(TrustDomain::new(domain).unwrap(), keys).unwrap());
    JwtSvid::parse_and_validate(token, &bundles, &[SERVICE])
}

fn unusable(error: impl std::fmt::Display) -> Status {
    Status::unknown(error.to_string())
}

/// Certificates one after another as DER, to PEM.
fn certificates(mut der: &[u8]) -> String {
    let mut text = String::new();
    while !der.is_empty() {
        let (rest, _) = x509_parser::parse_x509_certificate(der).unwrap();
        let (one, _) = der.split_at(der.len() - rest.len());
        text.push_str(&pem("CERTIFICATE", one));
        der = rest;
    }
    text
}

fn pem(label: &str, der: &[u8]) -> String {
    let lines: String =
        STANDARD.encode(der).as_bytes().chunks(64).flat_map(|line| [line, b"\n"].concat()).map(char::from).collect();
    format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
}

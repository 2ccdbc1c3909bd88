//! `lanyard svid`: asks any Workload API socket, ours or another agent's.

use super::failure::{NotReachable, WrongSocket, WrongUsage};
use super::render;
use crate::agent::SvidFiles;
use crate::crypto::Digest;
use crate::svid::{CertificateFacts, inspect_certificate, inspect_jwt};
use crate::wire::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use crate::wire::workload::{JwtsvidRequest, X509svid, X509svidRequest, X509svidResponse};
use crate::wire::{NotAnAddress, WorkloadAddress};
use anyhow::Context;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::error::Elapsed;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

/// How long an agent that has gone is left alone before it is asked again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Who waits longer wonders.
const TOLD_AFTER: Duration = Duration::from_secs(1);

/// Asks any Workload API socket for an SVID
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(clap::Subcommand, Debug)]
enum Kind {
    /// The X.509-SVIDs that the socket gives us, with their trust bundle
    X509(X509),
    /// A JWT-SVID for an audience
    Jwt(Jwt),
}

#[derive(clap::Args, Debug)]
struct X509 {
    #[command(flatten)]
    socket: Socket,
    /// Write certificate, key and bundle as PEM files into this folder
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
    /// Follow: show, or write, each new one until interrupted
    #[arg(long)]
    watch: bool,
}

#[derive(clap::Args, Debug)]
struct Jwt {
    #[command(flatten)]
    socket: Socket,
    /// Who is to accept it
    #[arg(long, required = true, value_name = "AUDIENCE")]
    audience: Vec<String>,
    /// Which of our identities [default: all]
    #[arg(long, default_value = "", value_name = "ID", hide_default_value = true)]
    spiffe_id: String,
}

#[derive(clap::Args, Debug)]
struct Socket {
    /// The Workload API
    #[arg(long, env = "SPIFFE_ENDPOINT_SOCKET", value_name = "unix:PATH")]
    endpoint: String,
    /// How long to wait for an SVID, in seconds
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    wait: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What one SVID says, without its key.
#[derive(Serialize)]
struct Shown {
    spiffe_id: String,
    hint: String,
    serial: String,
    not_before: String,
    not_after: String,
    key_sha256: String,
    chain_length: usize,
    authorities_sha256: Vec<Digest>,
}

#[derive(Serialize)]
struct ShownJwt {
    spiffe_id: String,
    hint: String,
    audience: Vec<String>,
    not_after: String,
    jwt_svid: String,
}

/// Asks.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.kind {
        Kind::X509(args) => Box::pin(x509(args)).await,
        Kind::Jwt(args) => jwt(args).await,
    }
}

async fn x509(args: X509) -> anyhow::Result<ExitCode> {
    let mut client = args.socket.client().await?;
    let first = args.socket.in_time(first_svids(&mut client)).await;
    let (stream, svids) = match first {
        Ok(Ok(first)) => first,
        Ok(Err(status)) => return args.socket.complain(&status),
        Err(_late) => return Ok(silent(args.socket.wait)),
    };
    args.tell(&svids)?;
    if args.watch { Box::pin(args.follow(stream, svids)).await } else { Ok(ExitCode::SUCCESS) }
}

/// Opens the stream and waits for its first message.
pub(super) async fn first_svids(
    client: &mut SpiffeWorkloadApiClient<Channel>,
) -> Result<(Streaming<X509svidResponse>, X509svidResponse), Status> {
    let mut stream = client.fetch_x509svid(call(X509svidRequest {})).await?.into_inner();
    let message = stream.message().await?;
    Ok((stream, message.ok_or_else(|| Status::unavailable("the stream ended"))?))
}

impl X509 {
    fn tell(&self, svids: &X509svidResponse) -> anyhow::Result<()> {
        match &self.write {
            Some(folder) => write(svids, folder, self.socket.json),
            None => show(svids, self.socket.json),
        }
    }

    /// Tells each new one until interrupted; an agent that restarts is waited for.
    async fn follow(
        &self,
        mut stream: Streaming<X509svidResponse>,
        mut told: X509svidResponse,
    ) -> anyhow::Result<ExitCode> {
        loop {
            let svids = match stream.message().await {
                Ok(Some(svids)) => svids,
                ended => {
                    let why = ended.err().unwrap_or_else(|| Status::unavailable("the stream ended"));
                    let (opened, svids) = self.open_again(why).await?;
                    stream = opened;
                    svids
                }
            };
            if svids != told {
                self.tell(&svids)?;
                told = svids;
            }
        }
    }

    /// Tries until somebody serves SVIDs there.
    async fn open_again(&self, mut why: Status) -> anyhow::Result<(Streaming<X509svidResponse>, X509svidResponse)> {
        let mut logged = String::new();
        let mut client = SpiffeWorkloadApiClient::new(self.socket.address()?.channel());
        loop {
            // Once for each new reason, not once a second.
            if logged != why.message() {
                why.message().clone_into(&mut logged);
                tracing::warn!(why = logged, endpoint = self.socket.endpoint, "the SVIDs have ended; trying again");
            }
            tokio::time::sleep(AGAIN_AFTER).await;
            match first_svids(&mut client).await {
                Ok(opened) => {
                    tracing::warn!(endpoint = self.socket.endpoint, "SVIDs come again");
                    return Ok(opened);
                }
                Err(status) => why = status,
            }
        }
    }
}

async fn jwt(args: Jwt) -> anyhow::Result<ExitCode> {
    let mut client = args.socket.client().await?;
    let wait = Duration::from_secs(args.socket.wait);
    let request = call(JwtsvidRequest { audience: args.audience, spiffe_id: args.spiffe_id.clone() });
    let svids = match args.socket.in_time(client.fetch_jwtsvid(request)).await {
        Ok(Ok(answer)) => answer.into_inner().svids,
        Ok(Err(status)) => {
            // An agent says the same of an ID that others hold as of one that nobody does; what we hold tells more.
            if status.code() == Code::PermissionDenied
                && !args.spiffe_id.is_empty()
                && let Ok(Ok((_, held))) = tokio::time::timeout(wait, first_svids(&mut client)).await
                && held.svids.iter().all(|own| own.spiffe_id != args.spiffe_id)
            {
                let held: Vec<_> = held.svids.iter().map(|own| own.spiffe_id.as_str()).collect();
                render::aside(&format!("this process has no identity {}; it has: {}", args.spiffe_id, held.join(", ")));
                return Ok(ExitCode::FAILURE);
            }
            return args.socket.complain(&status);
        }
        Err(_late) => return Ok(silent(args.socket.wait)),
    };
    for own in svids {
        // A token on its own line is what scripts want; only --json says more.
        if args.socket.json {
            let facts = inspect_jwt(&own.svid)?;
            let (audience, not_after) = (facts.audience, render::time(facts.not_after));
            let (spiffe_id, hint, jwt_svid) = (own.spiffe_id, own.hint, own.svid);
            render::json(&ShownJwt { spiffe_id, hint, audience, not_after, jwt_svid })?;
        } else {
            render::say(&own.svid)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Socket {
    fn address(&self) -> Result<WorkloadAddress, WrongUsage> {
        self.endpoint.parse().map_err(|wrong: NotAnAddress| WrongUsage::new(wrong.to_string()))
    }

    /// Waits as long as it may; who looks on is told after a second.
    async fn in_time<T>(&self, answer: impl Future<Output = T>) -> Result<T, Elapsed> {
        let told = async {
            tokio::time::sleep(TOLD_AFTER).await;
            render::aside(&format!(
                "no SVID yet: has the job logged in, and does the agent reach the server? Waiting {} s at most (--wait)",
                self.wait
            ));
            std::future::pending().await
        };
        tokio::select! {
            biased;
            answer = tokio::time::timeout(Duration::from_secs(self.wait), answer) => answer,
            never = told => match never {},
        }
    }

    /// A client of a socket where somebody listens.
    async fn client(&self) -> anyhow::Result<SpiffeWorkloadApiClient<Channel>> {
        let address = self.address()?;
        // A try beforehand: what the transport says later no longer tells a missing file from a silent agent.
        let tried = address.reach().await;
        tried.map_err(|error| NotReachable::agent("the Workload API", self.endpoint.as_str(), &error))?;
        Ok(SpiffeWorkloadApiClient::new(address.channel()))
    }

    fn complain(&self, status: &Status) -> anyhow::Result<ExitCode> {
        // Something else answers: another gRPC service, or one that does not speak gRPC at all.
        if status.code() == Code::Unimplemented || is_of_transport(status) {
            return Err(WrongSocket { place: self.endpoint.clone(), what: "the Workload API" }.into());
        }
        if status.code() == Code::Unavailable {
            let (what, place) = ("the Workload API", self.endpoint.clone());
            return Err(NotReachable { what, place, why: status.message().to_owned() }.into());
        }
        let advice = if status.message() == "no identity issued" {
            "no identity for this process: log in first, or see the agent's log"
        } else {
            "the Workload API refused"
        };
        render::aside(&format!("{:?}: {}\n{advice}", status.code(), status.message()));
        Ok(ExitCode::FAILURE)
    }
}

/// Whether this comes from our own transport, not from whoever answers.
pub(super) fn is_of_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some_and(<dyn std::error::Error>::is::<tonic::transport::Error>)
}

fn silent(seconds: u64) -> ExitCode {
    render::aside(&format!("no SVID within {seconds} s: the agent has none yet; has the job logged in?"));
    ExitCode::FAILURE
}

pub(super) fn call<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
    request
}

fn show(svids: &X509svidResponse, json: bool) -> anyhow::Result<()> {
    for own in &svids.svids {
        let shown = shown(own)?;
        if json {
            render::json(&shown)?;
            continue;
        }
        let row = |name: &str, value: String| vec![name.to_owned(), value];
        let mut rows = vec![row("SPIFFE ID", shown.spiffe_id)];
        if !shown.hint.is_empty() {
            rows.push(row("hint", shown.hint));
        }
        rows.extend([
            row("serial", shown.serial),
            row("not before", shown.not_before),
            row("not after", shown.not_after),
            row("key SHA-256", shown.key_sha256),
            row("chain", format!("{}, leaf first", render::count(shown.chain_length, "certificate"))),
        ]);
        rows.extend(shown.authorities_sha256.iter().map(|root| row("trusted root SHA-256", root.to_string())));
        render::rows(&["X.509-SVID", ""], rows)?;
    }
    Ok(())
}

/// What the certificate of an SVID says.
pub(super) fn leaf_of(own: &X509svid) -> anyhow::Result<CertificateFacts> {
    let chain = split(&own.x509_svid).context("the SVID is not DER certificates back to back")?;
    Ok(inspect_certificate(chain.first().context("the SVID is empty")?)?)
}

fn shown(own: &X509svid) -> anyhow::Result<Shown> {
    let chain = split(&own.x509_svid).context("the SVID is not DER certificates back to back")?;
    let bundle = split(&own.bundle).context("the bundle is not DER certificates back to back")?;
    let leaf = leaf_of(own)?;
    Ok(Shown {
        spiffe_id: own.spiffe_id.clone(),
        hint: own.hint.clone(),
        serial: leaf.serial.to_string(),
        not_before: render::time(leaf.not_before),
        not_after: render::time(leaf.not_after),
        key_sha256: leaf.key_id.to_string(),
        chain_length: chain.len(),
        authorities_sha256: bundle.into_iter().map(Digest::of).collect(),
    })
}

fn write(svids: &X509svidResponse, folder: &Path, json: bool) -> anyhow::Result<()> {
    let mut files = SvidFiles::new();
    for (place, own) in svids.svids.iter().enumerate() {
        let chain = split(&own.x509_svid).context("the SVID is not DER certificates back to back")?;
        let bundle = split(&own.bundle).context("the bundle is not DER certificates back to back")?;
        let name = if place == 0 { "" } else { &own.hint };
        files.add(name, chain, &own.x509_svid_key, bundle);
    }
    let leaf = svids.svids.first().map(|own| Digest::of(&own.x509_svid).to_string()).unwrap_or_default();
    files.publish(folder, &leaf).with_context(|| format!("{} cannot be written", folder.display()))?;
    if json { show(svids, true) } else { told(folder) }
}

#[expect(clippy::unnecessary_wraps, reason = "the other way to tell can fail")]
fn told(folder: &Path) -> anyhow::Result<()> {
    render::aside(&format!("wrote svid.pem, svid_key.pem and svid_bundle.pem into {}", folder.display()));
    Ok(())
}

/// Cuts DER values that stand back to back (X.690 §8.1.3: definite lengths only).
fn split(mut der: &[u8]) -> Option<Vec<&[u8]>> {
    let mut values = Vec::new();
    while !der.is_empty() {
        let first = *der.get(1)?;
        let octets = usize::from(first & 0x7f);
        let (header, length) = if first < 0x80 {
            (2, octets)
        } else {
            let length = der.get(2..2 + octets).filter(|octets| (1..=4).contains(&octets.len()))?;
            (2 + octets, length.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)))
        };
        let (value, rest) = der.split_at_checked(header + length)?;
        values.push(value);
        der = rest;
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn der_values_are_cut_where_they_end() {
        let long = [&[0x30, 0x81, 0x80], [7; 128].as_slice()].concat();
        let both = [&[0x30, 1, 9], &*long].concat();
        assert_eq!(split(&both), Some(vec![[0x30, 1, 9].as_slice(), &long]));
        assert_eq!(split(&both[..20]), None);
        assert_eq!(split(&[0x30, 0x80, 0, 0]), None);
    }
}

//! `lanyard health`: whether a server is ready.

use super::failure::{NotReachable, WrongUsage, plain};
use super::remote::named_config;
use super::render;
use crate::config::{SystemEnvironment, load_health};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpStream;

/// A probe that takes longer is a no.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[arg(
        long,
        value_name = "FILE",
        help = "The server's configuration; its health address is asked [env: LANYARD_CONFIG]"
    )]
    config: Option<PathBuf>,
    /// The health address itself, such as 127.0.0.1:8081
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    address: Option<SocketAddr>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Asks `/ready`.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let address = match (args.address, named_config(args.config)) {
        (Some(address), _) => address,
        (None, Some(file)) => match render::needed(&file, load_health(&file, &SystemEnvironment)) {
            Some(address) => {
                address.ok_or_else(|| WrongUsage::new("this server has no health address: set listen.health"))?
            }
            None => return Ok(ExitCode::FAILURE),
        },
        (None, None) => {
            return Err(WrongUsage::new("name the server: --config FILE, --address ADDRESS, or LANYARD_CONFIG").into());
        }
    };
    let form = if args.json { "application/json" } else { "text/plain" };
    let (ready, words) = ask_for(form, reachable(address)).await.map_err(|error| NotReachable {
        what: "the server's health",
        place: address.to_string(),
        why: error.downcast_ref().map_or_else(|| error.to_string(), plain),
    })?;
    render::unless_closed(if args.json {
        // A server before this one knows words only.
        let in_words = || serde_json::json!({ "ready": ready, "answer": words.trim() });
        render::json(&serde_json::from_str::<serde_json::Value>(&words).unwrap_or_else(|_words| in_words()))
    } else {
        render::say(words.trim())
    })?;
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What listens everywhere is reached on loopback.
pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    address
}

/// Whether it is ready, in its words.
pub(super) async fn ask(address: SocketAddr) -> anyhow::Result<(bool, String)> {
    ask_for("text/plain", address).await
}

async fn ask_for(form: &'static str, address: SocketAddr) -> anyhow::Result<(bool, String)> {
    let exchange = async {
        let tcp = TcpStream::connect(address).await?;
        let (mut requests, connection) = http1::handshake(TokioIo::new(tcp)).await?;
        let request = http::Request::get("/ready")
            .header(http::header::HOST, address.to_string())
            .header(http::header::ACCEPT, form)
            .body(Empty::<bytes::Bytes>::new())?;
        let answer = async {
            let answer = requests.send_request(request).await?;
            let ready = answer.status().is_success();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await
                .map_err(anyhow::Error::from_boxed)?;
            anyhow::Ok((ready, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
        };
        tokio::select! {
            answer = answer => answer,
            Err(error) = connection => Err(error.into()),
        }
    };
    tokio::time::timeout(ANSWER_WITHIN, exchange).await?
}

//! The agents' process: each opens a session over a connection of its own, closes that, and then listens over another. They come
//! from several addresses: one has no more than half of a server's places.

use crate::SAID;
use crate::callers::{csr, now, p256};
use hyper_util::rt::TokioIo;
use lanyard::crypto::{Random, install_providers};
use lanyard::tls::{ServerTrust, SessionCertificate, TlsClient};
use lanyard::wire::lanyard::issuer_client::IssuerClient;
use lanyard::wire::lanyard::{Event, ExchangeRequest, WatchRequest, event::Kind};
use lanyard::wire::raise_open_files;
use serde_json::Value;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

/// Come at a time.
const AT_ONCE: usize = 32;
/// Of those on one machine.
const FROM_ONE_ADDRESS: usize = 2000;
/// As agents ask whether the server is there.
const PING_EVERY: Duration = Duration::from_secs(20);

struct Agent {
    from: Ipv4Addr,
    tls: TlsClient,
    session: String,
    /// Of the bundle that it holds.
    sequence: u64,
}

/// Says how many there are, and waits for a word; says when all listen, and then how long a change took.
pub(crate) fn listen(order: &Value) {
    install_providers();
    raise_open_files();
    let port = u16::try_from(order["port"].as_u64().unwrap()).unwrap();
    let trust = ServerTrust::from_pem(&fs::read(order["ca"].as_str().unwrap()).unwrap(), "the door CA").unwrap();
    let tokens = fs::read_to_string(order["tokens"].as_str().unwrap()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let tokens = (0..).map(address_of).zip(tokens.lines().map(str::to_owned));
    let agents = runtime.block_on(at_once(tokens, |(from, token)| open((port, trust.clone()), from, token)));
    println!("{SAID}{}", agents.len());
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let streams = runtime.block_on(at_once(agents, |agent| watch(port, agent)));
    println!("{SAID}up");
    let mut told = runtime.block_on(at_once_all(streams));
    told.sort();
    println!("{SAID}{}", (*told.last().unwrap() - told[0]).as_micros().max(1));
}

fn address_of(agent: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, u8::try_from(agent / FROM_ONE_ADDRESS).unwrap() + 1)
}

/// A channel of the agent's own, from its address.
fn channel(port: u16, from: Ipv4Addr, tls: TlsClient) -> Channel {
    let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{port}")).unwrap();
    let endpoint = endpoint.http2_keep_alive_interval(PING_EVERY).keep_alive_while_idle(true);
    endpoint.connect_with_connector_lazy(service_fn(move |_server: Uri| {
        let tls = tls.clone();
        async move {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from((from, 0))).unwrap();
            let connected = socket.connect((Ipv4Addr::LOCALHOST, port).into()).await.unwrap();
            connected.set_nodelay(true).unwrap();
            tls.shake_hands("127.0.0.1", port, connected).await.map(TokioIo::new)
        }
    }))
}

async fn at_once<T, O, F>(all: impl IntoIterator<Item = T>, each: impl Fn(T) -> F) -> Vec<O>
where
    O: Send + 'static,
    F: Future<Output = O> + Send + 'static,
{
    let (mut coming, places) = (JoinSet::new(), Arc::new(Semaphore::new(AT_ONCE)));
    for one in all {
        let (place, each) = (Arc::clone(&places).acquire_owned().await.unwrap(), each(one));
        coming.spawn(async move {
            let _place = place;
            each.await
        });
    }
    coming.join_all().await
}

async fn open((port, trust): (u16, ServerTrust), from: Ipv4Addr, token: String) -> Agent {
    let certificate = SessionCertificate::of(&p256(), &Random::system(), now()).unwrap();
    let tls = TlsClient::new(&trust, Some(&certificate), &["h2"]).unwrap();
    let mut client = IssuerClient::new(channel(port, from, tls.clone()));
    let request = ExchangeRequest { token, csr: csr(&p256()).into(), profile: String::new() };
    let answer = client.exchange(request).await.unwrap().into_inner();
    let bundle: Value = serde_json::from_slice(&answer.bundle).unwrap();
    Agent { from, tls, session: answer.session, sequence: bundle["spiffe_sequence"].as_u64().unwrap() }
}

/// The client stays with its stream: without it the connection would end.
async fn watch(port: u16, agent: Agent) -> (IssuerClient<Channel>, Streaming<Event>) {
    let mut client = IssuerClient::new(channel(port, agent.from, agent.tls));
    let (session, bundle_sequence) = (vec![agent.session], agent.sequence);
    let held = WatchRequest { bundle_sequence, session, crls: None, federated: Vec::new() };
    let mut events = client.watch(held).await.unwrap().into_inner();
    events.message().await.unwrap().unwrap();
    (client, events)
}

/// When each heard of the bundle.
async fn at_once_all(streams: Vec<(IssuerClient<Channel>, Streaming<Event>)>) -> Vec<Instant> {
    let mut listening = JoinSet::new();
    for (client, events) in streams {
        listening.spawn(hears(client, events));
    }
    listening.join_all().await.into_iter().map(|(at, _open)| at).collect()
}

/// The client and the stream stay until all have heard.
async fn hears(
    client: IssuerClient<Channel>,
    mut events: Streaming<Event>,
) -> (Instant, (IssuerClient<Channel>, Streaming<Event>)) {
    loop {
        if let Some(Kind::Bundle(_)) = events.message().await.unwrap().unwrap().kind {
            return (Instant::now(), (client, events));
        }
    }
}

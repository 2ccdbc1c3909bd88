//! Agents that listen: each with a key, a connection, a session and a stream of its own, as real ones have.

use super::agents::code;
use super::measured::Measured;
use crate::agent::fresh_key;
use crate::cli::remote::ServerArgs;
use crate::clock::{Clock as _, SystemClock};
use crate::crypto::{KeyAlgorithm, KeyPair, Random};
use crate::svid::inspect_authority;
use crate::tls::{ServerTrust, SessionCertificate, TlsClient};
use crate::wire::lanyard::issuer_client::IssuerClient;
use crate::wire::lanyard::{
    AcknowledgeRequest, Event, ExchangeRequest, RenewRequest, Tainted, WatchRequest, X509Answer, event::Kind,
};
use crate::wire::{ServerUrl, channel};
use serde_json::Value;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// An agent that has yet to come, with a token of its own.
#[derive(Debug)]
pub(super) struct Newcomer {
    client: IssuerClient<Channel>,
    request: ExchangeRequest,
}

/// One whose stream is open.
#[derive(Debug)]
pub(super) struct Listener {
    client: IssuerClient<Channel>,
    session: String,
    /// The intermediate that its SVID is of, by key id.
    signer: Option<String>,
    events: Streaming<Event>,
}

/// Another SVID that is due, by its signer.
type Renewal = Pin<Box<dyn Future<Output = Result<Option<String>, Status>> + Send>>;

/// What an agent heard, or did since.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Heard {
    /// It told the server that it has the bundle of this sequence.
    Acknowledged(u64),
    /// The bundle of this sequence.
    Bundle(u64),
    /// Its stream has ended, or a call of its own was refused.
    Lost(String),
    /// What it had was on a tainted key, and it has another SVID.
    Rekeyed,
}

/// Which agent, what, and when.
type News = (usize, Heard, Instant);

/// All of them, each in a task of its own, until this is dropped.
#[derive(Debug)]
pub(super) struct Listeners {
    agents: JoinSet<()>,
    news: UnboundedReceiver<News>,
    /// All that was heard so far.
    heard: Vec<News>,
}

impl Newcomer {
    /// One a token; keys and requests are made before anything is timed.
    pub(super) fn of(server: &ServerArgs, tokens: Vec<String>) -> anyhow::Result<Vec<Self>> {
        let (url, trust) = (server.url()?, server.trust()?);
        tokens.into_iter().map(|token| Self::with((&url, &trust), token)).collect()
    }

    fn with((url, trust): (&ServerUrl, &ServerTrust), token: String) -> anyhow::Result<Self> {
        let key = KeyPair::generate(KeyAlgorithm::EcP256)?;
        let session = SessionCertificate::of(&key, &Random::system(), SystemClock.now())?;
        let client = IssuerClient::new(channel(url, TlsClient::new(trust, Some(&session), &["h2"])?)?);
        let (_key, csr) = fresh_key()?;
        Ok(Self { client, request: ExchangeRequest { token, csr: csr.into(), profile: String::new() } })
    }

    /// Shakes hands, opens a session and a stream, and has its first event; or a no, by its code.
    pub(super) async fn join(self) -> Result<Listener, String> {
        self.open().await.map_err(|status| code(&status))
    }

    async fn open(self) -> Result<Listener, Status> {
        let Self { mut client, request } = self;
        let answer = client.exchange(request).await?.into_inner();
        let signer = signer(&answer);
        let (session, bundle_sequence) = (answer.session, sequence(&answer.bundle));
        let held = WatchRequest { bundle_sequence, session: vec![session.clone()], crls: None, federated: Vec::new() };
        let mut events = client.watch(held).await?.into_inner();
        events.message().await?.ok_or_else(|| Status::unavailable("the stream has ended"))?;
        Ok(Listener { client, session, signer, events })
    }
}

impl Listener {
    /// What waits for its moment keeps nobody from hearing.
    async fn listen(mut self, number: usize, news: UnboundedSender<News>) {
        // Where nobody waits for news any more, the task is about to be dropped.
        let tell = |heard| news.send((number, heard, Instant::now())).unwrap_or_default();
        let mut renewal = None;
        let lost = loop {
            let outcome = tokio::select! {
                event = self.events.message() => match event {
                    Ok(Some(Event { kind })) => self.take(kind, &mut renewal, tell).await,
                    Ok(None) => Err(Status::unavailable("the stream has ended")),
                    Err(status) => Err(status),
                },
                renewed = due(&mut renewal) => {
                    renewal = None;
                    renewed.map(|signer| {
                        self.signer = signer;
                        tell(Heard::Rekeyed);
                    })
                }
            };
            if let Err(status) = outcome {
                break code(&status);
            }
        };
        tell(Heard::Lost(lost));
    }

    async fn take(
        &mut self,
        kind: Option<Kind>,
        renewal: &mut Option<Renewal>,
        tell: impl Fn(Heard),
    ) -> Result<(), Status> {
        match kind {
            Some(Kind::Bundle(json)) => {
                let bundle_sequence = sequence(&json);
                tell(Heard::Bundle(bundle_sequence));
                self.acknowledge(bundle_sequence).await?;
                tell(Heard::Acknowledged(bundle_sequence));
            }
            Some(Kind::Tainted(Tainted { signer, within_seconds, .. })) => {
                let is_ours = self.signer.as_ref().is_some_and(|ours| signer.contains(ours));
                if is_ours && renewal.is_none() {
                    let within = Duration::from_secs(within_seconds.into());
                    *renewal = Some(Box::pin(renew((self.client.clone(), self.session.clone()), within)));
                }
            }
            Some(_) | None => {}
        }
        Ok(())
    }

    async fn acknowledge(&mut self, bundle_sequence: u64) -> Result<(), Status> {
        let request = AcknowledgeRequest { session: self.session.clone(), bundle_sequence };
        self.client.acknowledge(request).await.map(drop)
    }
}

/// At a moment of its own within the time that the server names, as real agents do.
async fn renew(
    (mut client, session): (IssuerClient<Channel>, String),
    within: Duration,
) -> Result<Option<String>, Status> {
    sleep(Random::system().jitter(within)).await;
    let (_key, csr) = fresh_key().map_err(|_none| Status::internal("no key"))?;
    let request = RenewRequest { session, csr: csr.into(), profile: String::new(), bundle_sequence: 0 };
    client.renew(request).await.map(|answer| signer(answer.get_ref()))
}

async fn due(renewal: &mut Option<Renewal>) -> Result<Option<String>, Status> {
    match renewal {
        Some(renewal) => renewal.await,
        None => std::future::pending().await,
    }
}

/// The key id of the intermediate behind the leaf.
fn signer(answer: &X509Answer) -> Option<String> {
    Some(inspect_authority(answer.certificate_chain.get(1)?).ok()?.key_id.to_string())
}

impl Listeners {
    /// Listens from now on.
    pub(super) fn of(listeners: Vec<Listener>) -> Self {
        let (tell, news) = unbounded_channel();
        let mut agents = JoinSet::new();
        for (number, listener) in listeners.into_iter().enumerate() {
            agents.spawn(listener.listen(number, tell.clone()));
        }
        Self { agents, news, heard: Vec::new() }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.agents.len()
    }

    /// How long after `since` each has heard what is waited for; whoever has not in this time counts as refused.
    pub(super) async fn hear(
        &mut self,
        awaited: impl Fn(&Heard) -> bool,
        since: Instant,
        within: Duration,
    ) -> Measured {
        let (mut measured, mut done) = (Measured::default(), BTreeSet::new());
        let mut take = |(number, heard, at): &News| {
            let outcome = match heard {
                Heard::Lost(code) => Err(code.clone()),
                heard if awaited(heard) && *at >= since => Ok(()),
                Heard::Acknowledged(_) | Heard::Bundle(_) | Heard::Rekeyed => return done.len(),
            };
            if done.insert(*number) {
                measured.take(at.saturating_duration_since(since), outcome);
                measured.took = measured.took.max(at.saturating_duration_since(since));
            }
            done.len()
        };
        let mut heard = self.heard.iter().map(&mut take).max().unwrap_or_default();
        while heard < self.count()
            && let Ok(Some(news)) = timeout_at(since + within, self.news.recv()).await
        {
            heard = take(&news);
            self.heard.push(news);
        }
        for _ in heard..self.count() {
            measured.take(within, Err("not_heard".to_owned()));
        }
        measured
    }
}

/// A bundle document's own; 0 where it has none.
pub(super) fn sequence(bundle: &[u8]) -> u64 {
    let document: Value = serde_json::from_slice(bundle).unwrap_or_default();
    document.get("spiffe_sequence").and_then(Value::as_u64).unwrap_or_default()
}

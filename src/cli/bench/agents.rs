//! Agents that call: each with a session key and a connection of its own, as real ones have.

use crate::agent::fresh_key;
use crate::cli::failure::NotReachable;
use crate::cli::remote::ServerArgs;
use crate::clock::{Clock as _, SystemClock};
use crate::crypto::{KeyAlgorithm, KeyPair, Random};
use crate::tls::{SessionCertificate, TlsClient};
use crate::wire::channel;
use crate::wire::lanyard::issuer_client::IssuerClient;
use crate::wire::lanyard::{AcknowledgeRequest, ExchangeRequest, RenewRequest, X509Answer};
use tonic::Status;
use tonic::transport::Channel;

/// Metadata of a refusal: its stable code.
const CODE: &str = "lanyard-code";

/// So many agents, connected.
#[derive(Clone, Debug)]
pub(super) struct Agents(Vec<IssuerClient<Channel>>);

/// One call, whose key and request are made before it is timed.
#[derive(Clone, Debug)]
pub(super) enum Call {
    /// A new job's.
    Exchange(ExchangeRequest),
    /// A running job's, by the agent that has its session.
    Renew(usize, RenewRequest),
}

impl Agents {
    /// Shakes hands with the server, once each.
    pub(super) async fn connect(server: &ServerArgs, count: usize) -> anyhow::Result<Self> {
        let (url, trust, random) = (server.url()?, server.trust()?, Random::system());
        let mut agents = Vec::new();
        for _ in 0..count {
            let session =
                SessionCertificate::of(&KeyPair::generate(KeyAlgorithm::EcP256)?, &random, SystemClock.now())?;
            let mut agent = IssuerClient::new(channel(&url, TlsClient::new(&trust, Some(&session), &["h2"])?)?);
            // Nobody has this session; that the server says so shows that it is one.
            let nobodys = AcknowledgeRequest { session: "0".repeat(64), bundle_sequence: 0 };
            if let Err(status) = agent.acknowledge(nobodys).await
                && status.metadata().get(CODE).is_none()
            {
                let why = status.message().to_owned();
                return Err(NotReachable { what: "the server", place: url.to_string(), why }.into());
            }
            agents.push(agent);
        }
        Ok(Self(agents))
    }

    /// The calls that use these tokens up.
    pub(super) fn exchanges(tokens: Vec<String>) -> anyhow::Result<Vec<Call>> {
        let call = |token| {
            let (_key, csr) = fresh_key()?;
            Ok(Call::Exchange(ExchangeRequest { token, csr: csr.into(), profile: String::new() }))
        };
        tokens.into_iter().map(call).collect()
    }

    /// So many renewals of the sessions that these tokens open, in turns.
    pub(super) async fn renewals(&self, tokens: Vec<String>, count: usize) -> anyhow::Result<Vec<Call>> {
        let mut sessions = Vec::new();
        for (call, agent) in Self::exchanges(tokens)?.into_iter().zip((0..self.0.len()).cycle()) {
            let answer = self.answer(call, agent).await;
            let answer = answer.map_err(|status| anyhow::anyhow!("a session cannot be opened: {}", code(&status)))?;
            sessions.push((agent, answer.session));
        }
        let call = |(agent, session): &(usize, String)| {
            let (_key, csr) = fresh_key()?;
            let (session, profile) = (session.clone(), String::new());
            Ok(Call::Renew(*agent, RenewRequest { session, csr: csr.into(), profile, bundle_sequence: 0 }))
        };
        sessions.iter().cycle().take(count).map(call).collect()
    }

    /// Calls as the agent whose turn it is; a no by its code.
    pub(super) async fn call(self, call: Call, turn: usize) -> Result<(), String> {
        self.answer(call, turn).await.map(drop).map_err(|status| code(&status))
    }

    async fn answer(&self, call: Call, turn: usize) -> Result<X509Answer, Status> {
        let whose = if let Call::Renew(agent, _) = &call { *agent } else { turn };
        let agent = self.0.get(whose.checked_rem(self.0.len()).unwrap_or_default());
        let mut agent = agent.ok_or_else(|| Status::unavailable("no agent"))?.clone();
        let answer = match call {
            Call::Exchange(request) => agent.exchange(request).await,
            Call::Renew(_, request) => agent.renew(request).await,
        };
        Ok(answer?.into_inner())
    }
}

/// The stable code of a refusal; gRPC's own where the answer is none of ours.
pub(super) fn code(status: &Status) -> String {
    let stable = status.metadata().get(CODE).and_then(|code| code.to_str().ok());
    stable.map_or_else(|| format!("{:?}", status.code()), str::to_owned)
}

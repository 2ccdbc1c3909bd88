//! An agent with one session key, which any replica serves.

use crate::callers::{csr, now, p256};
use crate::place::Place;
use lanyard::crypto::{KeyPair, Random, install_providers};
use lanyard::tls::{ServerTrust, SessionCertificate, TlsClient};
use lanyard::wire::lanyard::issuer_client::IssuerClient;
use lanyard::wire::lanyard::{ExchangeRequest, RenewRequest, X509Answer};
use tonic::Status;
use tonic::transport::Channel;

/// Its key.
pub(crate) struct Agent(KeyPair);

/// How a replica is reached.
#[derive(Clone)]
pub(crate) struct Way {
    ca: Vec<u8>,
    url: String,
}

impl Way {
    pub(crate) fn to(place: &Place, url: String) -> Self {
        Self { ca: place.door_ca(), url }
    }
}

impl From<&Place> for Way {
    /// On loopback.
    fn from(place: &Place) -> Self {
        Self::to(place, format!("https://127.0.0.1:{}", place.port))
    }
}

impl Agent {
    pub(crate) fn new() -> Self {
        install_providers();
        Self(p256())
    }

    /// Its connection to one replica.
    pub(crate) fn at(&self, way: &Way) -> IssuerClient<Channel> {
        let trust = ServerTrust::from_pem(&way.ca, "the door CA").unwrap();
        let session = SessionCertificate::of(&self.0, &Random::system(), now()).unwrap();
        let tls = TlsClient::new(&trust, Some(&session), &["h2"]).unwrap();
        IssuerClient::new(lanyard::wire::channel(&way.url.parse().unwrap(), tls).unwrap())
    }

    pub(crate) async fn exchange(&self, way: impl Into<Way>, token: &str) -> Result<X509Answer, String> {
        exchange(self.at(&way.into()), token).await
    }

    pub(crate) async fn renew(&self, way: impl Into<Way>, session: &str) -> Result<X509Answer, String> {
        renew(self.at(&way.into()), session).await
    }
}

/// Over a connection that stands.
pub(crate) async fn exchange(mut at: IssuerClient<Channel>, token: &str) -> Result<X509Answer, String> {
    let request = ExchangeRequest { token: token.to_owned(), csr: csr(&p256()).into(), profile: String::new() };
    Ok(at.exchange(request).await.map_err(|status| code(&status))?.into_inner())
}

/// Over a connection that stands.
pub(crate) async fn renew(mut at: IssuerClient<Channel>, session: &str) -> Result<X509Answer, String> {
    let request = RenewRequest { session: session.to_owned(), csr: csr(&p256()).into(), ..RenewRequest::default() };
    Ok(at.renew(request).await.map_err(|status| code(&status))?.into_inner())
}

/// The stable code of a refusal, or what the transport says.
fn code(status: &Status) -> String {
    let code = status.metadata().get("lanyard-code").and_then(|code| code.to_str().ok());
    code.map_or_else(|| status.to_string(), str::to_owned)
}

//! Asks bundle endpoints for their document: as nobody, once a question, and no further than the URL says (SPIFFE Federation §5).

use super::FetchError;
use super::https::{answered, builder, certificates, told, unreachable, whole};
use crate::clock::Clock;
use crate::telemetry::quotable;
use crate::tls::{CertificateFault, SpiffePeer, not_the_peer};
use reqwest::header::{ACCEPT, ETAG, IF_NONE_MATCH, LOCATION};
use reqwest::{Client, ClientBuilder, StatusCode};
use std::sync::Arc;
use std::time::Duration;

/// The most that is read of a document, and the most time from connecting to its last byte (FED-7).
const BODY_BYTES_MAX: usize = 1024 * 1024;
const WITHIN: Duration = Duration::from_secs(30);

/// Asks endpoints that prove themselves in one way.
#[derive(Clone, Debug)]
pub struct BundleAsker {
    client: Client,
    within: Duration,
}

/// What an endpoint shows.
#[derive(Debug)]
pub enum Shown {
    /// What it showed before, by the name that it gave it then.
    AsBefore,
    /// A document.
    Document {
        /// As it came.
        body: Vec<u8>,
        /// How it may be asked for the next.
        etag: Option<String>,
    },
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The certificate there is not to be believed.
    #[error("{}", certificate_told(*.0))]
    Certificate(CertificateFault),
    /// No document came.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Whoever answers there is not the one whose ID is configured.
    #[error("{0}; if the endpoint shows a certificate for its host's name, its profile is https_web")]
    NotThePeer(String),
    /// It sends us somewhere else.
    #[error("{url} redirects to {to}, and no redirect is followed: configure the URL that answers with the bundle")]
    Redirected {
        /// The URL.
        url: String,
        /// Whereto.
        to: String,
    },
}

impl BundleAsker {
    /// For endpoints with a certificate for their host's name, by these CAs alone or the system's.
    ///
    /// # Errors
    /// `Ca`, `Client`.
    pub fn of_web(ca_pem: Option<&[u8]>) -> Result<Self, FetchError> {
        Self::of(certificates(builder(), ca_pem)?)
    }

    /// For the endpoint with this peer's SVID.
    ///
    /// # Errors
    /// `Client`.
    pub fn of_spiffe(peer: &SpiffePeer, clock: Arc<dyn Clock>) -> Result<Self, FetchError> {
        let config = peer.client_config(clock).map_err(|fault| FetchError::Tls(Box::new(fault)))?;
        Self::of(builder().tls_backend_preconfigured(config))
    }

    /// Peers are asked minutes apart: a connection that is kept is a connection that is lost.
    fn of(builder: ClientBuilder) -> Result<Self, FetchError> {
        let client = builder.http1_only().pool_max_idle_per_host(0).build().map_err(FetchError::Client)?;
        Ok(Self { client, within: WITHIN })
    }

    /// What is there now; 200 alone counts, and 304 for whoever names what it holds.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn ask(&self, url: &str, held: Option<&str>) -> Result<Shown, AskError> {
        match tokio::time::timeout(self.within, self.read(url, held)).await {
            Ok(shown) => shown,
            Err(_elapsed) => Err(FetchError::Slow { url: url.to_owned(), within: self.within }.into()),
        }
    }

    async fn read(&self, url: &str, held: Option<&str>) -> Result<Shown, AskError> {
        let mut request = self.client.get(url).header(ACCEPT, "application/json");
        if let Some(held) = held {
            request = request.header(IF_NONE_MATCH, held);
        }
        let answer = request.send().await.map_err(|fault| refused(url, fault))?;
        if answer.status() == StatusCode::NOT_MODIFIED && held.is_some() {
            return Ok(Shown::AsBefore);
        }
        if let Some(to) = told(&answer, LOCATION.as_str()).filter(|_| answer.status().is_redirection()) {
            return Err(AskError::Redirected { url: url.to_owned(), to: quotable(&to) });
        }
        let answer = answered(answer, url)?;
        let etag = told(&answer, ETAG.as_str());
        Ok(Shown::Document { etag, body: whole(answer, url, BODY_BYTES_MAX).await? })
    }
}

fn refused(url: &str, fault: reqwest::Error) -> AskError {
    if let Some(why) = not_the_peer(&fault) {
        return AskError::NotThePeer(why);
    }
    match CertificateFault::within(&fault) {
        Some(fault) => AskError::Certificate(fault),
        None => unreachable(url)(fault).into(),
    }
}

const fn certificate_told(fault: CertificateFault) -> &'static str {
    match fault {
        CertificateFault::Dates => "the endpoint's certificate is over, or not yet valid; its operator must renew it",
        CertificateFault::OtherName => {
            "the endpoint's certificate is for another host; mend the URL, or the certificate"
        }
        CertificateFault::UnknownIssuer => {
            "the endpoint's certificate is signed by none that is believed here; name its CA in ca_file, or, if it shows \
             an X509-SVID, its profile is https_spiffe"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::crypto::Random;
    use crate::tls::{BundleDoor, DoorCa, DoorCertificate};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// What a client makes of an endpoint that answers so, over TLS, and then stays silent.
    async fn asked(answer: Vec<u8>, within: Duration) -> Result<Shown, AskError> {
        let (random, now) = (Random::system(), SystemClock.now());
        let ca = DoorCa::make(&random, now).unwrap();
        let pem = ca.to_pem();
        let names = vec!["localhost".to_owned()];
        let door = BundleDoor::new(Arc::new(DoorCertificate::from_ca(ca, names, now).unwrap())).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/bundle", listener.local_addr().unwrap().port());
        let serve = async {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut stream = door.shake(tcp).await.unwrap().stream;
            assert_ne!(stream.read(&mut [0; 4096]).await.unwrap(), 0);
            // Whoever has read enough goes away.
            drop(stream.write_all(&answer).await);
            std::future::pending::<()>().await;
        };
        let reader = BundleAsker { within, ..BundleAsker::of_web(Some(pem.as_bytes())).unwrap() };
        tokio::select! {
            asked = reader.ask(&url, Some("\"held\"")) => asked,
            () = serve => panic!("it serves on"),
        }
    }

    fn http(head: &str, body: &str) -> Vec<u8> {
        format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    const SOON: Duration = Duration::from_secs(20);

    /// Shows: FED-18.
    #[tokio::test]
    async fn a_redirect_is_a_failure_that_names_its_target_wherever_that_is() {
        let targets = ["https://a.example/b", "http://127.0.0.1:1/", "https://user@a.example/", "file:///etc/passwd"];
        let statuses = ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"];
        for (to, status) in targets.into_iter().flat_map(|to| statuses.map(|status| (to, status))) {
            let refused = asked(http(&format!("{status}\r\nLocation: {to}"), "{}"), SOON).await.unwrap_err();
            assert!(matches!(&refused, AskError::Redirected { to: named, .. } if named == to), "{refused}");
        }
    }

    /// Shows: FED-7.
    #[tokio::test]
    async fn a_document_of_more_than_a_mebibyte_or_that_never_ends_is_not_waited_for() {
        let huge = asked(http("200 OK", &" ".repeat(BODY_BYTES_MAX + 1)), SOON).await.unwrap_err();
        assert!(matches!(huge, AskError::Fetch(FetchError::TooLarge { max: BODY_BYTES_MAX, .. })), "{huge}");
        let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec();
        let slow = asked(half, Duration::from_millis(300)).await.unwrap_err();
        assert!(matches!(slow, AskError::Fetch(FetchError::Slow { .. })), "{slow}");
    }

    #[tokio::test]
    async fn nothing_but_200_is_a_document_and_304_says_that_it_is_the_same() {
        let shown = asked(http("200 OK\r\nETag: \"new\"", "{}"), SOON).await.unwrap();
        assert!(matches!(shown, Shown::Document { body, etag } if body == b"{}" && etag.as_deref() == Some("\"new\"")));
        assert!(matches!(asked(http("304 Not Modified", ""), SOON).await.unwrap(), Shown::AsBefore));
        for status in ["204 No Content", "404 Not Found", "503 Busy"] {
            let refused = asked(http(status, "{\"keys\":[]}"), SOON).await.unwrap_err();
            assert!(matches!(refused, AskError::Fetch(FetchError::Status { .. })), "{refused}");
        }
    }
}

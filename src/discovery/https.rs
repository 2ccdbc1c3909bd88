//! One HTTPS client for documents of others: small, quick, no redirects, no proxy.

use crate::crypto::{Digest, install_providers};
use crate::tls::TlsError;
use reqwest::header::{CONTENT_TYPE, HeaderValue, LINK, RETRY_AFTER};
use reqwest::{Certificate, Client, ClientBuilder, Method, RequestBuilder, Response, StatusCode, redirect};
use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// A key set of a hundred RSA keys is about 50 KiB.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// How GitLab says that a list goes on (its REST API, "Offset-based pagination").
const NEXT_PAGE: &str = "x-next-page";
/// How Okta says when it may be asked again, in Unix seconds.
const RATE_LIMIT_RESET: &str = "x-rate-limit-reset";
/// From connecting to the last byte.
const WITHIN: Duration = Duration::from_secs(5);

/// An answer to come.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, FetchError>> + Send + 'a>>;
/// What an API says, to come.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Answered, FetchError>> + Send + 'a>>;

/// Gets a document.
pub trait Fetch: Debug + Send + Sync + 'static {
    /// The body at `url`. With `ca_pem` only these CAs are believed, else the fetcher's own choice.
    fn get<'a>(&'a self, url: &'a str, ca_pem: Option<&'a [u8]>) -> Fetching<'a>;

    /// What an API answers whom a secret lets in: any status is an answer. A fetcher that keeps no secrets asks without it.
    fn ask<'a>(&'a self, url: &'a str, ca_pem: Option<&'a [u8]>, secret: Secret<'a>) -> Answering<'a> {
        let Secret { .. } = secret;
        Box::pin(async move { Ok(Answered::of(self.get(url, ca_pem).await?)) })
    }

    /// What is answered to something sent. A fetcher that sends nothing asks without it.
    fn send<'a>(&'a self, url: &'a str, ca_pem: Option<&'a [u8]>, sent: Sent<'a>) -> Answering<'a> {
        let Sent { .. } = sent;
        Box::pin(async move { Ok(Answered::of(self.get(url, ca_pem).await?)) })
    }
}

/// A header that lets us in.
#[derive(Clone, Copy)]
pub struct Secret<'a> {
    /// Its name.
    pub header: &'static str,
    /// What nobody else may read.
    pub value: &'a str,
}

/// By its header only.
impl Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.header)
    }
}

/// A request to somebody's API.
#[derive(Clone)]
pub struct Call<'a> {
    /// What is to be done.
    pub method: Method,
    /// To what.
    pub url: &'a str,
    /// What lets us in, if anything must.
    pub headers: &'a [Secret<'a>],
    /// What is sent, if anything; it may hold secrets.
    pub body: Option<Sent<'a>>,
}

/// What a request carries.
#[derive(Clone, Copy)]
pub struct Sent<'a> {
    /// What it is, as `Content-Type` says it.
    pub media_type: &'static str,
    /// All of it.
    pub bytes: &'a [u8],
}

impl<'a> Sent<'a> {
    /// JSON.
    pub const fn json(bytes: &'a [u8]) -> Self {
        Self { media_type: "application/json", bytes }
    }
}

/// By its kind only.
impl Debug for Sent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sent({})", self.media_type)
    }
}

/// Without what is sent.
impl Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({} {})", self.method, self.url)
    }
}

/// What an API answered.
#[derive(Clone, Debug, Default)]
pub struct Answered {
    /// Whatever it is: a redirect is an answer too.
    pub status: StatusCode,
    /// Its `Retry-After`, as it came.
    pub retry_after: Option<String>,
    /// Its `X-Rate-Limit-Reset`, as it came.
    pub rate_limit_reset: Option<String>,
    /// Its `X-Next-Page`, as it came.
    pub next_page: Option<String>,
    /// The targets of its `Link` headers that say where a list goes on (RFC 8288), as they came.
    pub next_links: Vec<String>,
    /// What came with it.
    pub body: Vec<u8>,
}

impl Answered {
    /// A document, and nothing said beside it.
    pub fn of(body: Vec<u8>) -> Self {
        Self { body, ..Self::default() }
    }

    /// The document that it is, where it is one.
    ///
    /// # Errors
    /// `Status`, unless it is 200.
    pub fn document(self, url: &str) -> Result<Vec<u8>, FetchError> {
        let Self { status, retry_after, body, .. } = self;
        if status == StatusCode::OK {
            return Ok(body);
        }
        Err(FetchError::Status { url: url.to_owned(), status, retry_after })
    }
}

/// A text as one segment of a path, or one value of a query: all but unreserved characters encoded (RFC 3986 §2.3).
pub fn path_segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// How long a `Retry-After` wants us to wait (RFC 9110 §10.2.3); none where it is neither seconds nor a date.
pub fn wait_of(retry_after: &str, now: OffsetDateTime) -> Option<Duration> {
    let text = retry_after.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    Some(Duration::try_from(at - now).unwrap_or(Duration::ZERO))
}

/// Why a document was not got.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The PEM of a CA holds no usable certificate.
    #[error("the CA file is not usable PEM")]
    Ca(#[source] reqwest::Error),
    /// No client could be made.
    #[error("no HTTPS client could be made: install ca-certificates, or name a CA file")]
    Client(#[source] reqwest::Error),
    /// The URL is not one that we fetch.
    #[error("{url} is not https")]
    NotHttps {
        /// The URL.
        url: String,
    },
    /// The secret cannot stand in a header.
    #[error("what should let us in at {url} cannot stand in a header")]
    Secret {
        /// The URL.
        url: String,
    },
    /// The answer took too long.
    #[error("{url} gave no whole answer within {} s", within.as_secs_f32())]
    Slow {
        /// The URL.
        url: String,
        /// The limit.
        within: Duration,
    },
    /// Another answer than 200; a redirect is one too.
    #[error("{url} answered {status}")]
    Status {
        /// The URL.
        url: String,
        /// The answer.
        status: StatusCode,
        /// Its `Retry-After`, as it came.
        retry_after: Option<String>,
    },
    /// There is no TLS with which to ask.
    #[error(transparent)]
    Tls(Box<TlsError>),
    /// More than we read.
    #[error("{url} has more than {max} bytes")]
    TooLarge {
        /// The URL.
        url: String,
        /// The limit.
        max: usize,
    },
    /// No connection, no trust, no answer in time.
    #[error("{url} could not be read")]
    Unreachable {
        /// The URL.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
}

/// The client.
#[derive(Debug)]
pub struct HttpsFetch {
    /// Whom to believe where a call does not say; the system's CAs where this does not either.
    ca_pem: Option<Vec<u8>>,
    loopback_http: bool,
    /// Made when they are first needed, since the system's CAs are some hundred files, and an image may have none; by the digest of the
    /// CA that each believes alone, as many as issuers with a `ca_file`.
    clients: Mutex<BTreeMap<Option<Digest>, Client>>,
}

impl HttpsFetch {
    /// A client that believes `ca_pem` only, or the system's CAs.
    ///
    /// # Errors
    /// `Ca`, `Client`; without a CA none.
    pub fn new(ca_pem: Option<&[u8]>) -> Result<Self, FetchError> {
        let fetch = Self { ca_pem: ca_pem.map(<[u8]>::to_vec), loopback_http: false, clients: Mutex::default() };
        if ca_pem.is_some() {
            fetch.client(None)?;
        }
        Ok(fetch)
    }

    /// Lets plain HTTP through where it cannot leave the machine.
    #[must_use]
    pub fn with_loopback_http(self) -> Self {
        Self { loopback_http: true, ..self }
    }

    fn client(&self, ca_pem: Option<&[u8]>) -> Result<Client, FetchError> {
        let ca_pem = ca_pem.or(self.ca_pem.as_deref());
        let believes = ca_pem.map(Digest::of);
        let clients = || self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let known = clients().get(&believes).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let new = client(ca_pem)?;
        clients().insert(believes, new.clone());
        Ok(new)
    }

    fn check_scheme(&self, url: &str) -> Result<(), FetchError> {
        let host = url.strip_prefix("http://").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or(rest));
        let stays_here = |host: &str| {
            let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
            matches!(name, "127.0.0.1" | "[::1]" | "localhost")
        };
        if url.starts_with("https://") || (self.loopback_http && host.is_some_and(stays_here)) {
            return Ok(());
        }
        Err(FetchError::NotHttps { url: url.to_owned() })
    }

    async fn read(&self, url: &str, ca_pem: Option<&[u8]>) -> Result<Vec<u8>, FetchError> {
        self.check_scheme(url)?;
        let answer = self.client(ca_pem)?.get(url).send().await.map_err(unreachable(url))?;
        whole(answered(answer, url)?, url, BODY_BYTES_MAX).await
    }

    /// Calls an API of which more matters than a document: any status is an answer.
    ///
    /// # Errors
    /// All but `Status`.
    pub async fn call(&self, call: &Call<'_>) -> Result<Answered, FetchError> {
        self.call_at(call, None).await
    }

    async fn call_at(&self, call: &Call<'_>, ca_pem: Option<&[u8]>) -> Result<Answered, FetchError> {
        let Call { method, url, headers, body } = call;
        self.check_scheme(url)?;
        let mut request = let_in(self.client(ca_pem)?.request(method.clone(), *url), url, headers)?;
        if let Some(Sent { media_type, bytes }) = body {
            request = request.header(CONTENT_TYPE, *media_type).body(bytes.to_vec());
        }
        let answer = request.send().await.map_err(unreachable(url))?;
        let told = |name: &str| told(&answer, name);
        Ok(Answered {
            status: answer.status(),
            retry_after: told(RETRY_AFTER.as_str()),
            rate_limit_reset: told(RATE_LIMIT_RESET),
            next_page: told(NEXT_PAGE),
            next_links: next_links(&answer),
            body: whole(answer, url, BODY_BYTES_MAX).await?,
        })
    }
}

/// Each link stands in a header of its own, or several in one, parted by commas that no URL in angle brackets holds bare.
fn next_links(answer: &Response) -> Vec<String> {
    let texts = answer.headers().get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let links = texts.flat_map(|text| text.split(','));
    let next = links.filter_map(|link| {
        let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
        rest.split(';').any(|part| part.trim() == "rel=\"next\"").then(|| target.to_owned())
    });
    next.collect()
}

/// An answer of 200.
pub(super) fn answered(answer: Response, url: &str) -> Result<Response, FetchError> {
    if answer.status() == StatusCode::OK {
        return Ok(answer);
    }
    let retry_after = told(&answer, RETRY_AFTER.as_str());
    Err(FetchError::Status { url: url.to_owned(), status: answer.status(), retry_after })
}

pub(super) fn unreachable(url: &str) -> impl Fn(reqwest::Error) -> FetchError {
    |source| FetchError::Unreachable { url: url.to_owned(), source: source.without_url() }
}

pub(super) fn told(answer: &Response, header: &str) -> Option<String> {
    answer.headers().get(header).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// All of a body, if it is no more than we read.
pub(super) async fn whole(mut answer: Response, url: &str, max: usize) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(unreachable(url))? {
        if body.len() + piece.len() > max {
            return Err(FetchError::TooLarge { url: url.to_owned(), max });
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

impl Fetch for HttpsFetch {
    fn get<'a>(&'a self, url: &'a str, ca_pem: Option<&'a [u8]>) -> Fetching<'a> {
        Box::pin(self.read(url, ca_pem))
    }

    fn ask<'a>(&'a self, url: &'a str, ca_pem: Option<&'a [u8]>, secret: Secret<'a>) -> Answering<'a> {
        Box::pin(async move {
            self.call_at(&Call { method: Method::GET, url, headers: &[secret], body: None }, ca_pem).await
        })
    }

    fn send<'a>(&'a self, url: &'a str, ca_pem: Option<&'a [u8]>, sent: Sent<'a>) -> Answering<'a> {
        Box::pin(async move {
            self.call_at(&Call { method: Method::POST, url, headers: &[], body: Some(sent) }, ca_pem).await
        })
    }
}

/// Sensitive: no library between here and the line shows it, nor keeps it in a table for later requests.
fn let_in(request: RequestBuilder, url: &str, headers: &[Secret<'_>]) -> Result<RequestBuilder, FetchError> {
    let odd = |_odd| FetchError::Secret { url: url.to_owned() };
    headers.iter().try_fold(request, |request, Secret { header, value }| {
        let mut value = HeaderValue::from_str(value).map_err(odd)?;
        value.set_sensitive(true);
        Ok(request.header(*header, value))
    })
}

fn client(ca_pem: Option<&[u8]>) -> Result<Client, FetchError> {
    certificates(builder().timeout(WITHIN), ca_pem)?.build().map_err(FetchError::Client)
}

/// What all our clients keep to.
pub(super) fn builder() -> ClientBuilder {
    install_providers();
    Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .tls_version_min(reqwest::tls::Version::TLS_1_2)
        .user_agent(concat!("lanyard/", env!("CARGO_PKG_VERSION")))
}

/// Believes these CAs only, or the system's.
pub(super) fn certificates(builder: ClientBuilder, ca_pem: Option<&[u8]>) -> Result<ClientBuilder, FetchError> {
    Ok(match ca_pem {
        Some(pem) => builder.tls_certs_only(Certificate::from_pem_bundle(pem).map_err(FetchError::Ca)?),
        None => builder,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn plain_http_is_refused_unless_it_is_allowed_and_stays_on_the_machine() {
        let strict = HttpsFetch::new(None).unwrap();
        let loopback = HttpsFetch::new(None).unwrap().with_loopback_http();
        for url in ["http://127.0.0.1:1/x", "http://gitlab.example.com/", "file:///etc/passwd", "HTTPS://x"] {
            let refused = strict.get(url, None).await.unwrap_err();
            assert!(matches!(refused, FetchError::NotHttps { .. }), "{url}");
        }
        for (url, allowed) in [
            ("http://127.0.0.1:8080/x", true),
            ("http://localhost", true),
            ("http://[::1]:1/", true),
            ("http://localhost.example.com/", false),
            ("http://user@127.0.0.1/", false),
            ("http://gitlab.example.com#@127.0.0.1/", false),
        ] {
            assert_eq!(loopback.check_scheme(url).is_ok(), allowed, "{url}");
        }
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_is_not_followed() {
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x", front.local_addr().unwrap());
        let answer = async {
            let (mut stream, _) = front.accept().await.unwrap();
            let count = stream.read(&mut [0; 4096]).await.unwrap();
            assert_ne!(count, 0);
            let answer = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 2\r\n\r\n{}";
            stream.write_all(answer).await.unwrap();
        };
        let fetch = HttpsFetch::new(None).unwrap().with_loopback_http();
        let (got, ()) = tokio::join!(fetch.get(&url, None), answer);
        assert!(matches!(got, Err(FetchError::Status { status: StatusCode::FOUND, .. })), "{got:?}");
    }

    #[test]
    fn a_ca_file_that_is_no_certificate_is_refused() {
        assert!(matches!(HttpsFetch::new(Some(b"-----BEGIN CERTIFICATE-----\nAA\n")), Err(FetchError::Ca(_))));
    }
}

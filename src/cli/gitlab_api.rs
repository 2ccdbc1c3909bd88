//! GitLab's REST API as far as webhooks need it: whole lists, patience where it asks for some, its refusals in plain words.

use super::failure::NotReachable;
use crate::clock::{Clock as _, SystemClock};
use crate::discovery::{Answered, Call, FetchError, HttpsFetch, Secret, Sent, read_token, wait_of};
use crate::facts::TOKEN_HEADER;
use crate::telemetry::{chain, quotable};
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// So many webhooks fit into what is read of one answer, each with a template as long as GitLab takes.
const PAGE: usize = 25;
/// Above any limit of GitLab's on webhooks, and projects enough to name.
const PAGES_MAX: u32 = 100;
/// Whoever waits at a terminal waits no longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// A GitLab that says "too often" and not until when.
const A_WHILE: Duration = Duration::from_secs(1);
/// How often one thing is asked in all.
const ATTEMPTS: u32 = 3;

/// One GitLab, and a token that lets us in.
#[derive(Debug)]
pub(super) struct Api {
    fetch: HttpsFetch,
    /// Up to its version, without a slash behind it.
    url: String,
    token: Zeroizing<String>,
    token_file: PathBuf,
}

/// Why GitLab did not do it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("{url} wants to be left alone for {} s: try again then", wait.as_secs())]
    Busy { url: String, wait: Duration },
    #[error("{url} has pages without end")]
    Endless { url: String },
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("{url} does not answer as GitLab's API does; its address ends in /api/v4, and is the url of [issuer.api]")]
    NotGitlab { url: String },
    #[error("{url} answered {status}: {remedy}")]
    Refused { url: String, status: StatusCode, remedy: String },
}

impl ApiError {
    /// Whether it is not there, or not for us: GitLab says the same of both.
    pub(super) fn is_hidden(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::FORBIDDEN | StatusCode::NOT_FOUND, .. })
    }

    /// With the exit code that fits.
    pub(super) fn into_failure(self) -> anyhow::Error {
        let Self::Fetch(FetchError::Unreachable { url, .. }) = &self else { return self.into() };
        let (place, said) = (url.clone(), chain(&self));
        let why = if said.contains("UnknownIssuer") {
            format!("{said}. Its certificate is of no CA that is believed here: set ca_file in [issuer.api]")
        } else {
            format!("{said}. What was done is found again: run it again")
        };
        NotReachable { what: "GitLab", place, why }.into()
    }
}

impl Api {
    /// Reads the token, and asks nobody yet.
    pub(super) fn open(url: String, ca_pem: Option<&[u8]>, token_file: &Path) -> anyhow::Result<Self> {
        let token = read_token(token_file)?;
        Ok(Self { fetch: HttpsFetch::new(ca_pem)?, url, token, token_file: token_file.to_owned() })
    }

    /// Everything of a list.
    pub(super) async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, ApiError> {
        let and = if path.contains('?') { '&' } else { '?' };
        let (mut all, mut page) = (Vec::new(), 1);
        loop {
            let answered = self.ask(Method::GET, &format!("{path}{and}per_page={PAGE}&page={page}"), None).await?;
            all.extend(self.read::<Vec<T>>(path, &answered)?);
            let next = answered.next_page.as_deref().unwrap_or_default().trim();
            match next.parse::<u32>() {
                Err(_none) => return Ok(all),
                Ok(next) if next > page && next <= PAGES_MAX => page = next,
                Ok(_) => return Err(ApiError::Endless { url: self.at(path) }),
            }
        }
    }

    /// Sends something that may hold secrets; gives what it has become.
    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &Map<String, Value>,
    ) -> Result<T, ApiError> {
        let answered = self.ask(method, path, Some(body)).await?;
        self.read(path, &answered)
    }

    fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }

    fn read<T: DeserializeOwned>(&self, path: &str, answered: &Answered) -> Result<T, ApiError> {
        // What cannot be read is not quoted: it may be anything.
        serde_json::from_slice(&answered.body).map_err(|_other| ApiError::NotGitlab { url: self.at(path) })
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Map<String, Value>>) -> Result<Answered, ApiError> {
        let url = self.at(path);
        let text = Zeroizing::new(body.map(|body| Value::Object(body.clone()).to_string()).unwrap_or_default());
        let secret = Secret { header: TOKEN_HEADER, value: &self.token };
        let sent = body.map(|_| Sent::json(text.as_bytes()));
        let mut attempt = 1;
        loop {
            let call = Call { method: method.clone(), url: &url, headers: &[secret], body: sent };
            let answered = self.fetch.call(&call).await?;
            match answered.status {
                StatusCode::OK | StatusCode::CREATED => return Ok(answered),
                // Not done, so it may be asked again, whatever it was.
                StatusCode::TOO_MANY_REQUESTS if attempt < ATTEMPTS => rest(&url, &answered).await?,
                _ => return Err(self.refused(url, &answered, body)),
            }
            attempt += 1;
        }
    }

    fn refused(&self, url: String, answered: &Answered, sent: Option<&Map<String, Value>>) -> ApiError {
        let file = self.token_file.display();
        let who = "it needs the scope api, and its user must be Owner of the group or Maintainer of the project";
        let remedy = match answered.status {
            StatusCode::UNAUTHORIZED => format!("the token in {file} is wrong, expired or revoked"),
            StatusCode::FORBIDDEN => format!("the token in {file} may not do that; {who}"),
            StatusCode::NOT_FOUND => format!("there is no such thing, or the token in {file} may not see it; {who}"),
            status if status.is_redirection() => {
                "a redirect, and none is followed: write the address that it leads to as url of [issuer.api]".to_owned()
            }
            _ => self.said(answered, sent).unwrap_or_else(|| "try again later".to_owned()),
        };
        ApiError::Refused { url, status: answered.status, remedy }
    }

    /// GitLab's own reason not to take what was sent, unless it holds something that nobody should read.
    fn said(&self, answered: &Answered, sent: Option<&Map<String, Value>>) -> Option<String> {
        let body: Value = serde_json::from_slice(&answered.body).ok()?;
        let reason = body.get("message").or_else(|| body.get("error"))?.to_string();
        let sent = sent?;
        let secrets = ["token", "signing_token"].into_iter().filter_map(|name| sent.get(name)?.as_str());
        // As they stand in JSON, which is what is told.
        let written = |secret: &str| Value::from(secret).to_string();
        let tells =
            secrets.chain([self.token.as_str()]).any(|secret| reason.contains(written(secret).trim_matches('"')));
        (!tells).then(|| format!("GitLab says {}", quotable(&reason)))
    }
}

/// Waits as long as GitLab wants, where that is bearable.
async fn rest(url: &str, answered: &Answered) -> Result<(), ApiError> {
    let asked = answered.retry_after.as_deref().and_then(|text| wait_of(text, SystemClock.now()));
    let wait = asked.unwrap_or(A_WHILE);
    if wait > PATIENCE {
        return Err(ApiError::Busy { url: url.to_owned(), wait });
    }
    tracing::warn!(seconds = wait.as_secs(), "GitLab wants to be left alone for a while; waiting");
    tokio::time::sleep(wait).await;
    Ok(())
}

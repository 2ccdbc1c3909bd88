//! Somebody's HTTP API: where it is, what lets us in, and what its answers mean.

use super::okta_access::{Access, NoAccess, OktaClient};
use super::{Silence, World};
use crate::clock::Clock;
use crate::discovery::{Answered, Fetch, FetchError, Secret, read_token, wait_of};
use crate::telemetry::{chain, quotable};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// The header of GitLab's access tokens.
pub const TOKEN_HEADER: &str = "PRIVATE-TOKEN";

const AUTHORIZATION: &str = "authorization";

/// Where an API is, and what lets us in.
#[derive(Clone, Debug)]
pub struct Place {
    /// Up to what all its paths share, without a slash behind it.
    pub url: String,
    /// What is in the file for whom.
    pub let_in: LetIn,
    /// What lets us in, alone on a line, or the key that does; read for each question.
    pub token_file: PathBuf,
    /// The only CA trusted for it, PEM; none for the system's.
    pub ca_pem: Option<Vec<u8>>,
}

/// How a token is shown.
#[derive(Clone, Debug)]
pub enum LetIn {
    /// With a user's name (RFC 7617).
    Basic {
        /// Whose password it is.
        user: String,
    },
    /// As GitLab takes it.
    GitLab,
    /// As Okta takes it.
    Okta,
    /// By a token that Okta gives to whoever signs with the key in the file.
    OktaClient(OktaClient),
}

/// Of one question: enough for a merge of Gerrit's with all the reviews that it brought in. A job that can ask for more makes others
/// wait.
const REQUESTS_MAX: u32 = 48;

/// An API that can be asked.
#[derive(Debug)]
pub(super) struct Api {
    place: Place,
    clock: Arc<dyn Clock>,
    fetch: Arc<dyn Fetch>,
    /// Who fetches a token holds this meanwhile: of many who need one, one asks for it.
    access: tokio::sync::Mutex<Option<Access>>,
    /// When it last answered a question as it should.
    answered_at: Mutex<Option<OffsetDateTime>>,
}

impl Api {
    pub(super) fn at(place: Place, world: &World) -> Self {
        let (clock, fetch) = (Arc::clone(&world.clock), Arc::clone(&world.fetch));
        Self { place, clock, fetch, access: tokio::sync::Mutex::default(), answered_at: Mutex::default() }
    }

    /// Begins to ask something, for which some requests are enough.
    pub(super) const fn question(&self) -> Question<'_> {
        Question { api: self, requests: AtomicU32::new(0) }
    }

    /// Whether it answered anything since then.
    pub(super) fn has_answered_since(&self, then: OffsetDateTime) -> bool {
        self.answered_at.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at >= then)
    }

    /// An answer of 200, or none of 404.
    async fn ask(&self, url: &str) -> Result<Option<Answered>, Silence> {
        let (header, value) = self.shown().await?;
        let mut answered = self.ask_with(url, Secret { header, value: &value }).await?;
        if answered.status.as_u16() == 401 && self.is_taken_back(&value).await {
            let (header, value) = self.shown().await?;
            answered = self.ask_with(url, Secret { header, value: &value }).await?;
        }
        if matches!(answered.status.as_u16(), 200 | 404) {
            *self.answered_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.now());
        }
        match answered.status.as_u16() {
            200 => Ok(Some(answered)),
            404 => Ok(None),
            status => {
                let wait = self.wait(&answered);
                let why = answered.document(url).map_err(|fault| chain(&fault)).err().unwrap_or_default();
                Err(self.refused(status, why, wait))
            }
        }
    }

    async fn ask_with(&self, url: &str, secret: Secret<'_>) -> Result<Answered, Silence> {
        let asked = self.fetch.ask(url, self.place.ca_pem.as_deref(), secret).await;
        asked.map_err(|fault| silence(&fault))
    }

    /// The header that lets us in.
    async fn shown(&self) -> Result<(&'static str, Zeroizing<String>), Silence> {
        let LetIn::OktaClient(client) = &self.place.let_in else {
            let token = read_token(&self.place.token_file).map_err(|error| Silence::down(chain(&error)))?;
            return Ok(self.place.let_in.header(&token));
        };
        let (mut access, now) = (self.access.lock().await, self.clock.now());
        if let Some(known) = access.as_ref().filter(|known| now < known.good_until) {
            return Ok((AUTHORIZATION, known.bearer.clone()));
        }
        let given = client.access(&*self.fetch, &self.place, now).await.map_err(|no| match no {
            NoAccess::Refused(answered) => {
                Silence::Down { why: OktaClient::refusal(&answered, &self.place), wait: self.wait(&answered) }
            }
            NoAccess::Silent(silence) => silence,
        })?;
        let bearer = given.bearer.clone();
        *access = Some(given);
        drop(access);
        Ok((AUTHORIZATION, bearer))
    }

    /// Whether what was shown was given for a while, and another can be had.
    async fn is_taken_back(&self, shown: &str) -> bool {
        let mut access = self.access.lock().await;
        let is_it = access.as_ref().is_some_and(|known| *known.bearer == shown);
        if is_it {
            *access = None;
        }
        drop(access);
        matches!(self.place.let_in, LetIn::OktaClient(_))
    }

    /// That it does not take our token is our fault, not the job's; one thing that it does not show is nothing of the rest.
    fn refused(&self, status: u16, why: String, wait: Option<Duration>) -> Silence {
        let (what, remedy) = self.place.let_in.remedy();
        match status {
            401 => Silence::down(format!("{why}: {what} is not taken; {remedy}")),
            403 => Silence::Unclear(format!("{why}: {what} is not taken for this; {remedy}")),
            _ => Silence::Down { why, wait },
        }
    }

    /// How long it wants to be left alone.
    fn wait(&self, answered: &Answered) -> Option<Duration> {
        let now = self.clock.now();
        let asked = answered.retry_after.as_deref().and_then(|text| wait_of(text, now));
        let reset = || {
            let seconds = answered.rate_limit_reset.as_deref().filter(|_| answered.status.as_u16() == 429)?;
            let at = OffsetDateTime::from_unix_timestamp(seconds.trim().parse().ok()?).ok()?;
            Some(Duration::try_from(at - now).unwrap_or(Duration::ZERO))
        };
        asked.or_else(reset)
    }
}

/// One question to an API, and how many requests it took so far.
#[derive(Debug)]
pub(super) struct Question<'a> {
    api: &'a Api,
    requests: AtomicU32,
}

impl Question<'_> {
    /// What stands at a path, as JSON; none where the API says that nothing does.
    pub(super) async fn find<T: DeserializeOwned>(&self, path: &str, what: &str) -> Result<Option<T>, Silence> {
        let url = self.url(path);
        let answered = self.ask(&url).await?;
        answered.map(|answered| read(&url, &answered.body, what)).transpose()
    }

    /// Where a path is.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.api.place.url)
    }

    /// An answer of 200, or none of 404.
    pub(super) async fn ask(&self, url: &str) -> Result<Option<Answered>, Silence> {
        if self.requests.fetch_add(1, Ordering::Relaxed) >= REQUESTS_MAX {
            return Err(Silence::Unclear(format!("it takes more than {REQUESTS_MAX} requests to say")));
        }
        self.api.ask(url).await
    }
}

/// An answer that is too large is one answer; all else is the API's.
fn silence(fault: &FetchError) -> Silence {
    let why = chain(fault);
    if matches!(fault, FetchError::TooLarge { .. }) { Silence::Unclear(why) } else { Silence::down(why) }
}

/// What an answer says.
pub(super) fn read<T: DeserializeOwned>(url: &str, json: &[u8], what: &str) -> Result<T, Silence> {
    serde_json::from_slice(json)
        .map_err(|error| Silence::Unclear(format!("{url} answered with no {what} ({})", quotable(&error.to_string()))))
}

impl LetIn {
    fn header(&self, token: &str) -> (&'static str, Zeroizing<String>) {
        match self {
            Self::Basic { user } => {
                let pair = Zeroizing::new(format!("{user}:{token}"));
                (AUTHORIZATION, Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes()))))
            }
            Self::GitLab => (TOKEN_HEADER, Zeroizing::new(token.to_owned())),
            Self::Okta => (AUTHORIZATION, Zeroizing::new(format!("SSWS {token}"))),
            Self::OktaClient(_) => (AUTHORIZATION, Zeroizing::new(format!("Bearer {token}"))),
        }
    }

    /// What is not taken, and what would be.
    const fn remedy(&self) -> (&'static str, &'static str) {
        const OF_FILE: &str = "the token_file's token";
        match self {
            Self::Basic { .. } => (OF_FILE, "it must be the user's HTTP password, made in Gerrit's settings"),
            Self::GitLab => (OF_FILE, "it needs the scope read_api"),
            Self::Okta => (OF_FILE, "it must be an API token of an administrator who may read users and groups"),
            Self::OktaClient(_) => (
                "the token that Okta gave us",
                "the app must be granted the scopes, and an administrator's role that may read users and groups",
            ),
        }
    }
}

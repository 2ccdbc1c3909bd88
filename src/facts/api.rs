//! Somebody's HTTP API: where it is, what lets us in, and what its answers mean.

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

/// Where an API is, and what lets us in.
#[derive(Clone, Debug)]
pub struct Place {
    /// Up to what all its paths share, without a slash behind it.
    pub url: String,
    /// What is in the file for whom.
    pub let_in: LetIn,
    /// What lets us in, alone on a line; read for each question.
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
    /// When it last answered a question as it should.
    answered_at: Mutex<Option<OffsetDateTime>>,
}

impl Api {
    pub(super) fn at(place: Place, world: &World) -> Self {
        let (clock, fetch) = (Arc::clone(&world.clock), Arc::clone(&world.fetch));
        Self { place, clock, fetch, answered_at: Mutex::default() }
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
        let token = read_token(&self.place.token_file).map_err(|error| Silence::down(chain(&error)))?;
        let (header, value) = self.place.let_in.header(&token);
        let secret = Secret { header, value: &value };
        let answered =
            self.fetch.ask(url, self.place.ca_pem.as_deref(), secret).await.map_err(|fault| silence(&fault))?;
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

    /// That it does not take our token is our fault, not the job's; one thing that it does not show is nothing of the rest.
    fn refused(&self, status: u16, why: String, wait: Option<Duration>) -> Silence {
        let remedy = self.place.let_in.remedy();
        match status {
            401 => Silence::down(format!("{why}: the token_file's token is not taken; {remedy}")),
            403 => Silence::Unclear(format!("{why}: the token_file's token is not taken for this; {remedy}")),
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
                ("authorization", Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes()))))
            }
            Self::GitLab => (TOKEN_HEADER, Zeroizing::new(token.to_owned())),
            Self::Okta => ("authorization", Zeroizing::new(format!("SSWS {token}"))),
        }
    }

    const fn remedy(&self) -> &'static str {
        match self {
            Self::Basic { .. } => "it must be the user's HTTP password, made in Gerrit's settings",
            Self::GitLab => "it needs the scope read_api",
            Self::Okta => "it must be an API token of an administrator who may read users and groups",
        }
    }
}

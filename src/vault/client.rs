//! The client: one call after another, each with a token that is good.

use super::login::{Held, Let, WayIn, two_thirds, way_in};
use super::{VaultAuth, VaultError, VaultSettings};
use crate::clock::Clock;
use crate::discovery::{Answered, Call, HttpsFetch, Secret, Sent, wait_of};
use crate::telemetry::{Shutdown, chain, quotable};
use http::{Method, StatusCode};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use zeroize::Zeroizing;

/// How often a call is made that Vault is too busy for.
const ATTEMPTS: u32 = 3;
/// Before the second attempt; twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(250);
/// Whatever a `Retry-After` says: somebody waits for the answer.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How soon a token that could not be renewed, or does not end, is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What Vault gave, and what it would like us to know: that it gave less than was asked, for one.
#[derive(Clone, Debug)]
pub struct Reply<T> {
    /// What was asked for.
    pub data: T,
    /// In Vault's words.
    pub warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Body<T> {
    auth: Option<Let>,
    data: Option<T>,
    warnings: Option<Vec<String>>,
}

/// A Vault, and our token there.
pub struct Vault {
    settings: VaultSettings,
    fetch: HttpsFetch,
    clock: Arc<dyn Clock>,
    held: Mutex<Option<Held>>,
}

struct Asked<'a> {
    method: Method,
    path: &'a str,
    body: Option<Zeroizing<Vec<u8>>>,
}

impl Vault {
    /// Asks nobody yet.
    ///
    /// # Errors
    /// When the CA is not usable.
    pub fn new(settings: VaultSettings, clock: Arc<dyn Clock>) -> Result<Self, VaultError> {
        let fetch = HttpsFetch::new(settings.ca_pem.as_deref())?;
        Ok(Self { settings, fetch, clock, held: Mutex::default() })
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.settings.address
    }

    /// What stands at a path.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<Reply<T>, VaultError> {
        let answered = self.ask(&Asked { method: Method::GET, path, body: None }).await?;
        self.reply(path, answered)
    }

    /// Sends something for an answer.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn write<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<Reply<T>, VaultError> {
        let answered = self.ask(&self.asked(path, body)?).await?;
        self.reply(path, answered)
    }

    /// Sends something that is answered with no more than that it was done.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn tell(&self, path: &str, body: &(impl Serialize + Sync)) -> Result<(), VaultError> {
        self.ask(&self.asked(path, body)?).await.map(drop)
    }

    /// The names below a path; none where there is nothing.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn list(&self, path: &str) -> Result<Vec<String>, VaultError> {
        #[derive(Deserialize)]
        struct Names {
            keys: Vec<String>,
        }
        let listed = self.read::<Names>(&format!("{path}?list=true")).await;
        match listed {
            Err(VaultError::Missing { .. }) => Ok(Vec::new()),
            listed => Ok(listed?.data.keys),
        }
    }

    /// Takes away what stands at a path.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn delete(&self, path: &str) -> Result<(), VaultError> {
        self.ask(&Asked { method: Method::DELETE, path, body: None }).await.map(drop)
    }

    /// Keeps a token from a file alive until shutdown; where we log in for ours, there is nothing to do until then.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        if !matches!(self.settings.auth, VaultAuth::TokenFile(_)) {
            return shutdown.wait().await;
        }
        loop {
            let again = self.renew_own().await.unwrap_or_else(|fault| {
                tracing::warn!(address = self.address(), fault = %chain(&fault), "our token at Vault could not be renewed");
                LOOK_AGAIN
            });
            tokio::select! {
                () = self.clock.wait_until(self.clock.now() + again) => {}
                () = shutdown.wait() => return,
            }
        }
    }

    /// How long the token is good without being looked at.
    async fn renew_own(&self) -> Result<Duration, VaultError> {
        const RENEW: &str = "auth/token/renew-self";
        #[derive(Deserialize)]
        struct Own {
            renewable: bool,
            ttl: u64,
        }
        let Own { renewable, ttl } = self.read("auth/token/lookup-self").await?.data;
        if ttl == 0 {
            return Ok(LOOK_AGAIN);
        }
        if !renewable {
            let address = self.address();
            tracing::warn!(
                address,
                ends_in_seconds = ttl,
                "our token at Vault cannot be renewed: put another into its file"
            );
            return Ok(LOOK_AGAIN);
        }
        let answered = self.ask(&self.asked(RENEW, &serde_json::Map::new())?).await?;
        Ok(two_thirds(self.granted(RENEW, answered)?.seconds()).max(Duration::from_secs(1)))
    }

    fn asked<'a>(&self, path: &'a str, body: &impl Serialize) -> Result<Asked<'a>, VaultError> {
        let body = serde_json::to_vec(body).map_err(|fault| self.odd(path, fault.to_string()))?;
        Ok(Asked { method: Method::POST, path, body: Some(Zeroizing::new(body)) })
    }

    /// Once more where the token was taken back before its end.
    async fn ask(&self, asked: &Asked<'_>) -> Result<Answered, VaultError> {
        let token = self.token().await?;
        match self.call(asked, Some(&token)).await {
            Err(VaultError::Denied { .. }) if self.forget() => {
                let token = self.token().await?;
                self.call(asked, Some(&token)).await
            }
            answered => answered,
        }
    }

    /// A token that is good now, of ours or of whoever we log in for.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn token(&self) -> Result<Zeroizing<String>, VaultError> {
        let now = self.clock.now();
        let fresh = self.held().as_ref().filter(|held| held.is_fresh(now)).map(|held| held.token.clone());
        if let Some(token) = fresh {
            return Ok(token);
        }
        match way_in(&self.settings.auth)? {
            WayIn::Token(token) => Ok(token),
            WayIn::Login { path, body } => {
                let asked = Asked { method: Method::POST, path: &path, body: Some(body) };
                let answered = self.call(&asked, None).await?;
                let held = Held::of(self.granted(&path, answered)?, now);
                let token = held.token.clone();
                *self.held() = Some(held);
                Ok(token)
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there was a token that another login can replace.
    fn forget(&self) -> bool {
        self.held().take().is_some()
    }

    /// Waits and repeats where Vault was too busy, so that it has done nothing.
    async fn call(&self, asked: &Asked<'_>, token: Option<&str>) -> Result<Answered, VaultError> {
        let url = self.at(asked.path);
        let token = token.map(|value| Secret { header: "x-vault-token", value });
        let namespace = self.settings.namespace.as_deref();
        let namespace = namespace.map(|value| Secret { header: "x-vault-namespace", value });
        let headers: Vec<_> = token.into_iter().chain(namespace).collect();
        let body = asked.body.as_ref().map(|body| Sent::json(body));
        let mut pause = PAUSE;
        for attempt in 1.. {
            let call = Call { method: asked.method.clone(), url: &url, headers: &headers, body };
            let answered = self.fetch.call(&call).await?;
            if answered.status.is_success() {
                return Ok(answered);
            }
            let fault = refused(&url, &answered);
            if attempt == ATTEMPTS || !is_busy(&fault) {
                return Err(fault);
            }
            let told = answered.retry_after.and_then(|text| wait_of(&text, self.clock.now()));
            self.clock.wait_until(self.clock.now() + told.unwrap_or(pause).min(PAUSE_MAX)).await;
            pause *= 2;
        }
        Err(self.odd(asked.path, "no attempt".to_owned()))
    }

    fn reply<T: DeserializeOwned>(&self, path: &str, answered: Answered) -> Result<Reply<T>, VaultError> {
        let Body { data, warnings, .. } = self.body(path, answered)?;
        let data = data.ok_or_else(|| self.odd(path, "it has no data".to_owned()))?;
        Ok(Reply { data, warnings: warnings.unwrap_or_default() })
    }

    fn granted(&self, path: &str, answered: Answered) -> Result<Let, VaultError> {
        let body: Body<IgnoredAny> = self.body(path, answered)?;
        body.auth.ok_or_else(|| self.odd(path, "it gave no token".to_owned()))
    }

    /// It may hold a secret: it is wiped, and what cannot be read is not quoted.
    fn body<T: DeserializeOwned>(&self, path: &str, answered: Answered) -> Result<Body<T>, VaultError> {
        let text = Zeroizing::new(answered.body);
        serde_json::from_slice(&text).map_err(|fault| {
            let (line, column) = (fault.line(), fault.column());
            self.odd(path, format!("it is not the JSON that belongs there (line {line}, column {column})"))
        })
    }

    fn at(&self, path: &str) -> String {
        format!("{}/v1/{path}", self.settings.address)
    }

    fn odd(&self, path: &str, why: String) -> VaultError {
        VaultError::Unreadable { url: self.at(path), why }
    }
}

/// Without the token.
impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault({})", self.settings.address)
    }
}

fn is_busy(fault: &VaultError) -> bool {
    let VaultError::Refused { status, .. } = fault else { return false };
    matches!(
        *status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// What an answer other than a success means.
fn refused(url: &str, answered: &Answered) -> VaultError {
    #[derive(Deserialize)]
    struct Said {
        errors: Vec<String>,
    }
    let said = serde_json::from_slice::<Said>(&answered.body).map(|said| said.errors.join("; ")).unwrap_or_default();
    let (url, status) = (url.to_owned(), answered.status);
    // Its lists have lines of their own.
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = if said.is_empty() { "without a reason".to_owned() } else { quotable(&said) };
    match status {
        StatusCode::FORBIDDEN => VaultError::Denied { url, said },
        StatusCode::NOT_FOUND => VaultError::Missing { url, said },
        StatusCode::SERVICE_UNAVAILABLE if said.contains("sealed") => VaultError::Sealed { url },
        status if status.is_redirection() => VaultError::Standby { url, status },
        _ => VaultError::Refused { url, status, said },
    }
}

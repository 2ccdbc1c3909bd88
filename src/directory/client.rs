//! The directory's servers as one: connections that are kept, tried again when they were lost, opened at the next server
//! when one is away.

use super::DirectoryError;
use super::ldap::{Connection, Entry, LdapError, Search, Unbound};
use super::settings::{DirectorySettings, Server};
use crate::clock::Clock;
use crate::crypto::read_secret_file;
use crate::stamp::Stamp;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Questions at once; a domain controller has thousands of clients, and we are one.
const CONNECTIONS_MAX: usize = 8;
/// What is idle for longer may have been dropped on the way without a word, and would cost a question its time.
const IDLE_FOR: Duration = Duration::from_secs(90);
/// A password that was refused is not shown again before its file changes, or this long has passed: each try counts
/// towards locking our own account, and what counts is forgotten after half an hour in most domains.
const NOT_AGAIN_FOR: Duration = Duration::from_secs(1800);

/// See the file's opening words.
pub(super) struct Client {
    settings: Arc<DirectorySettings>,
    clock: Arc<dyn Clock>,
    /// With the time of its last answer.
    idle: Mutex<Vec<(OffsetDateTime, Connection)>>,
    places: Semaphore,
    /// Which server to begin with.
    first: AtomicUsize,
    /// The password that was refused, as its file was, and when. Who shows it holds this meanwhile: of many who come at once with a
    /// wrong one, one does.
    refused: tokio::sync::Mutex<Option<(Stamp, OffsetDateTime)>>,
}

impl Client {
    pub(super) fn new(settings: Arc<DirectorySettings>, clock: Arc<dyn Clock>) -> Self {
        let (idle, refused) = (Mutex::default(), tokio::sync::Mutex::default());
        let (places, first) = (Semaphore::new(CONNECTIONS_MAX), AtomicUsize::new(0));
        Self { settings, clock, idle, places, first, refused }
    }

    /// What a search finds. A connection that was idle may be gone: that is no failure yet.
    pub(super) async fn search(&self, search: &Search<'_>) -> Result<Vec<Entry>, DirectoryError> {
        let Ok(_place) = self.places.acquire().await else { return Err(DirectoryError::NoServer) };
        if let Some(mut connection) = self.take_idle() {
            match connection.search(search).await {
                Err(LdapError::Lost(_)) => {}
                outcome => return self.put_back(connection, outcome),
            }
        }
        let mut connection = self.open().await?;
        let outcome = connection.search(search).await;
        self.put_back(connection, outcome)
    }

    /// The one that answered last, unless that is long ago.
    fn take_idle(&self) -> Option<Connection> {
        let now = self.clock.now();
        let mut idle = self.idle();
        idle.retain(|(at, _)| *at <= now && now - *at < IDLE_FOR);
        idle.pop().map(|(_, connection)| connection)
    }

    /// Only a whole answer leaves a connection of use.
    fn put_back(
        &self,
        connection: Connection,
        outcome: Result<Vec<Entry>, LdapError>,
    ) -> Result<Vec<Entry>, DirectoryError> {
        let server = connection.place().to_string();
        if matches!(outcome, Ok(_) | Err(LdapError::Refused(_))) {
            self.idle().push((self.clock.now(), connection));
        }
        outcome.map_err(|fault| DirectoryError::Ldap { server, fault })
    }

    /// Each server is tried once, beginning with the one that was reached last. One that refuses who we are speaks for all.
    async fn open(&self) -> Result<Connection, DirectoryError> {
        let (servers, mut last) = (&self.settings.servers, DirectoryError::NoServer);
        let first = self.first.load(Ordering::Relaxed).checked_rem(servers.len()).unwrap_or(0);
        for (at, Server(place)) in servers.iter().enumerate().cycle().skip(first).take(servers.len()) {
            // A question may be given up while a server is silent: the next one begins behind it.
            self.first.store(at + 1, Ordering::Relaxed);
            let server = place.to_string();
            let bound = match Unbound::open(place, &self.settings.trust).await {
                Ok(unbound) => self.bind(unbound).await?,
                Err(fault) => Err(fault),
            };
            match bound {
                Ok(connection) => {
                    self.first.store(at, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(LdapError::Refused(no)) if no.is_of_the_account() => {
                    self.first.store(at, Ordering::Relaxed);
                    return Err(DirectoryError::Bind { server, no });
                }
                Err(LdapError::Refused(no)) => last = DirectoryError::Bind { server, no },
                Err(fault) => last = DirectoryError::Ldap { server, fault },
            }
        }
        Err(last)
    }

    /// Shows the password, unless that was refused. Only that it is let in, or refused again, is another word about it.
    async fn bind(&self, unbound: Unbound) -> Result<Result<Connection, LdapError>, DirectoryError> {
        let mut refused = self.refused.lock().await;
        let stamp = Stamp::of(&self.settings.password_file);
        self.may_try(&stamp, refused.as_ref())?;
        let bound = unbound.bind((&self.settings.bind, &self.password()?)).await;
        match &bound {
            Ok(_let_in) => *refused = None,
            Err(LdapError::Refused(no)) if no.is_wrong_password() => *refused = Some((stamp, self.clock.now())),
            Err(_says_nothing_of_it) => {}
        }
        drop(refused);
        Ok(bound)
    }

    fn may_try(&self, stamp: &Stamp, refused: Option<&(Stamp, OffsetDateTime)>) -> Result<(), DirectoryError> {
        let now = self.clock.now();
        match refused {
            Some((refused, at)) if refused == stamp && *at <= now && now - *at < NOT_AGAIN_FOR => {
                Err(DirectoryError::PasswordRefused { path: self.settings.password_file.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Without the end of its line, and never empty.
    fn password(&self) -> Result<Zeroizing<Vec<u8>>, DirectoryError> {
        let path = &self.settings.password_file;
        let bytes = read_secret_file(path)?;
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Err(DirectoryError::NoPassword { path: path.clone() });
        }
        Ok(Zeroizing::new(line.to_vec()))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(OffsetDateTime, Connection)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({:?})", self.settings.servers)
    }
}

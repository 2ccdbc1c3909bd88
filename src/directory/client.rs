//! The directory's servers as one: connections that are kept, tried again when they were lost, opened at the next server
//! when one is away.

use super::DirectoryError;
use super::ldap::{Connection, Entry, LdapError, Search, Unbound};
use super::settings::{DirectorySettings, Server};
use super::shown::Shown;
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
/// See the file's opening words.
pub(super) struct Client {
    settings: Arc<DirectorySettings>,
    clock: Arc<dyn Clock>,
    /// With the time of its last answer.
    idle: Mutex<Vec<(OffsetDateTime, Connection)>>,
    places: Semaphore,
    /// Which server to begin with.
    first: AtomicUsize,
    /// Who shows the password holds this meanwhile: of many who come at once with a wrong one, one does.
    shown: tokio::sync::Mutex<Shown>,
}

impl Client {
    pub(super) fn new(settings: Arc<DirectorySettings>, clock: Arc<dyn Clock>) -> Self {
        let (idle, shown) = (Mutex::default(), tokio::sync::Mutex::default());
        let (places, first) = (Semaphore::new(CONNECTIONS_MAX), AtomicUsize::new(0));
        Self { settings, clock, idle, places, first, shown }
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

    /// Shows the password, if that may be. Noted before it is shown: who asks may be gone before there is an answer.
    async fn bind(&self, unbound: Unbound) -> Result<Result<Connection, LdapError>, DirectoryError> {
        let path = &self.settings.password_file;
        let mut shown = self.shown.lock().await;
        let (file, password) = (Stamp::of(path), self.password()?);
        shown.begin(file, self.clock.now()).map_err(|held| DirectoryError::Held { path: path.clone(), held })?;
        let bound = unbound.bind((&self.settings.bind, &password)).await;
        match &bound {
            Ok(_let_in) => shown.let_in(),
            Err(LdapError::Refused(no)) if no.is_wrong_password() => shown.refused(self.clock.now()),
            Err(LdapError::Refused(_says_nothing_of_it)) => shown.answered(),
            Err(_no_answer) => {}
        }
        drop(shown);
        Ok(bound)
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

#[cfg(test)]
mod tests {
    use super::super::ldap::{Filter, Scope};
    use super::*;
    use crate::clock::{ManualClock, SystemClock};
    use crate::crypto::Random;
    use crate::tls::{DoorCa, DoorCertificate, IssuerDoor, ServerTrust};
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::atomic::AtomicU32;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    async fn listen(listener: TcpListener, door: IssuerDoor, heard: Arc<AtomicU32>) {
        let mut silent = Vec::new();
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(mut shaken) = door.shake(tcp).await else { continue };
            let read = shaken.stream.read(&mut [0; 512]).await.unwrap_or(0);
            let times = heard.fetch_add(u32::from(read > 0), Ordering::Relaxed);
            silent.extend((times >= 3).then_some(shaken));
        }
    }

    /// A server that hears who comes and with which password, and hangs up before it says anything, or, from the fourth time on, says
    /// nothing; and how often that was.
    async fn cut_off() -> (Server, ServerTrust, Arc<AtomicU32>) {
        let now = SystemClock.now();
        let ca = DoorCa::make(&Random::system(), now).unwrap();
        let trust = ServerTrust::Pem(vec![ca.certificate().clone()]);
        let certificate = DoorCertificate::from_ca(ca, vec!["localhost".to_owned()], now).unwrap();
        let door = IssuerDoor::new(Arc::new(certificate)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::parse(&format!("ldaps://localhost:{}", listener.local_addr().unwrap().port())).unwrap();
        let heard = Arc::<AtomicU32>::default();
        #[expect(clippy::disallowed_methods, reason = "a server beside the test")]
        tokio::spawn(listen(listener, door, Arc::clone(&heard)));
        (server, trust, heard)
    }

    #[tokio::test]
    async fn a_bind_that_is_cut_off_counts_as_one_that_may_have_been_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let password_file = folder.path().join("password");
        fs::write(&password_file, "perhaps-right").unwrap();
        fs::set_permissions(&password_file, Permissions::from_mode(0o600)).unwrap();
        let (server, trust, heard) = cut_off().await;
        let settings = DirectorySettings {
            issuers: Vec::new(),
            servers: vec![server],
            trust,
            bind: "svc@corp".to_owned(),
            password_file: password_file.clone(),
            base: "DC=corp".to_owned(),
            ways: Vec::new(),
            groups: std::collections::BTreeMap::new(),
            look_every: DirectorySettings::LOOK_EVERY,
        };
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        let client = Client::new(Arc::new(settings), Arc::<ManualClock>::clone(&clock));
        let search = Search {
            base: "DC=corp",
            scope: Scope::Base,
            filter: Filter::Is("mail", b"x"),
            attributes: &["mail"],
            most: 1,
        };
        let ask = async || client.search(&search).await.unwrap_err();
        for _time in 0..2 {
            assert!(matches!(ask().await, DirectoryError::Ldap { fault: LdapError::Lost(_), .. }));
        }
        for _time in 0..5 {
            let told = ask().await;
            assert!(told.to_string().contains("was shown 2 times and never answered"), "{told}");
            assert!(!told.is_of_this_question(), "the breaker counts it");
        }
        assert_eq!(heard.load(Ordering::Relaxed), 2);
        clock.advance(Duration::from_secs(600));
        assert!(matches!(ask().await, DirectoryError::Ldap { .. }));
        assert!(matches!(ask().await, DirectoryError::Held { .. }));
        // So does one that is given up while nobody answers.
        fs::write(&password_file, "another-one").unwrap();
        for _time in 0..2 {
            drop(tokio::time::timeout(Duration::from_millis(300), ask()).await);
        }
        assert!(matches!(ask().await, DirectoryError::Held { .. }));
        assert_eq!(heard.load(Ordering::Relaxed), 5);
    }
}

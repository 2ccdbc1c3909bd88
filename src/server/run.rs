//! The running server: what it starts, in which order, and in which order it stops.

use super::accept::{Crew, Entrance};
use super::accounts::{judge_when_something_happens, look_at_accounts};
use super::build::{Parts, World, build};
use super::bundle_endpoint::BundleEndpoint;
use super::door::open_door;
use super::endpoint_svid::EndpointSvid;
use super::federating::federate;
use super::meters::{
    meter_bundle, meter_checkpoints, meter_crls, meter_foreign, meter_holders, meter_keys, meter_store, meter_tainted,
};
use super::policy_keeper::PolicyKeeper;
use super::publishing::keep_published;
use super::replicas::follow_replicas;
use super::upstream::keep_upstream;
use super::witness::Sight;
use super::{AdminPort, AdminSocket, HealthPort, IssuerPort, ServerError};
use crate::api::{AdminDoor, Crowd, Desk, HealthDoor, IssuerDoors, Operators, Reloads, RemoteAdminDoor};
use crate::backup::Backups;
use crate::clock::Clock;
use crate::config::{OperatorSettings, ServerSettings};
use crate::discovery::Fetch;
use crate::issuance::Issuance;
use crate::session::CrlKeeper;
use crate::telemetry::{Metrics, Port, Readiness, Shutdown, Unready, chain};
use crate::tls::{BundleDoor, DoorCertificate, IssuerDoor};
use crate::vault::Vault;
use crate::wire::{connections_of, raise_open_files};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::task::JoinSet;

/// Ended sessions do no harm where they lie, so counting and sweeping them may be rare.
const SWEEP_EVERY: Duration = Duration::from_secs(300);

/// For those who are told that the server cannot go on; streams and idle connections are not waited for.
const LAST_ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// A server whose parts are built and whose ports are bound; it answers once it runs.
#[derive(Debug)]
pub struct Server {
    parts: Parts,
    clock: Arc<dyn Clock>,
    certificate: Arc<DoorCertificate>,
    policy: PolicyKeeper,
    issuer_ports: Vec<IssuerPort>,
    crew: Arc<Crew>,
    bundle: BundleEndpoint,
    admin: AdminSocket,
    admin_ports: Vec<AdminPort>,
    health: Option<HealthPort>,
    readiness: Readiness,
    warming: Unready,
    shutdown: Shutdown,
}

impl Server {
    /// Opens keys and journal, and binds every port. Runs until `shutdown`.
    ///
    /// # Errors
    /// Whatever is missing or does not fit; nothing is left running then.
    pub async fn start(settings: &ServerSettings, world: World, shutdown: Shutdown) -> Result<Self, ServerError> {
        let (clock, random, fetch) = (Arc::clone(&world.clock), world.random.clone(), Arc::clone(&world.fetch));
        let readiness = Readiness::default();
        let warming = readiness.wait_for("issuer keys");
        let parts = build(settings, world).await?;
        let certificate = Arc::new(open_door(settings, &random, clock.now())?);

        let published = parts.rotator.authorities().published();
        let (reloads, asked) = Reloads::pair();
        let hands = (parts.issuance.ledger.clone(), parts.metrics.clone());
        let policy =
            PolicyKeeper::new(settings, (parts.issuance.policy.clone(), parts.federation.clone()), hands, asked);
        for warning in parts.federation.unheld(&parts.issuance.policy.now()) {
            tracing::warn!("{warning}");
        }
        let crls = parts.crls.as_ref().map(CrlKeeper::watch);
        let backups = Backups::new(Arc::clone(&parts.store), settings.folder(), parts.sealing.clone());
        let orders = (reloads, parts.rotator.desk(), backups);
        let shown = (published, parts.federation.clone(), crls);
        let desk = Desk::new(Arc::clone(&parts.issuance), shown, orders, (random, shutdown.clone()));
        let doors = IssuerDoors::new(&desk);
        raise_open_files();
        let crowd = Crowd::at_issuer_port(connections_of(crate::api::limits::CONNECTIONS_MAX));
        let entrance = Entrance::new(crowd, settings.doors.proxies.clone(), parts.metrics.clone());
        let crew = Arc::new(Crew::muster().map_err(ServerError::Threads)?);
        let mut issuer_ports = Vec::new();
        for address in &settings.doors.issuer {
            let tls = IssuerDoor::new(Arc::<DoorCertificate>::clone(&certificate))?;
            let place = (entrance.clone(), Arc::clone(&crew));
            let port = IssuerPort::bind(*address, tls, doors.clone(), place).await;
            issuer_ports.push(port.map_err(|source| ServerError::Address { address: *address, source })?);
        }
        let shown = (&certificate, endpoint_svid(settings, &parts, clock.now()).await?);
        let bundle = BundleEndpoint::bind(settings, shown, &desk, &parts.metrics).await?;
        let admin = AdminSocket::bind(&settings.doors.admin_socket, AdminDoor::new(&desk)).await;
        let admin =
            admin.map_err(|source| ServerError::Socket { path: settings.doors.admin_socket.clone(), source })?;
        let admin_ports = open_admin_ports(settings, (&desk, &certificate), (&clock, fetch), &parts).await?;
        let mut health = None;
        if let Some(address) = settings.doors.health {
            let door = HealthDoor::new(readiness.clone(), parts.metrics.clone());
            let port = HealthPort::bind(address, door).await;
            health = Some(port.map_err(|source| ServerError::Address { address, source })?);
        }
        Ok(Self {
            parts,
            clock,
            certificate,
            policy,
            issuer_ports,
            crew,
            bundle,
            admin,
            admin_ports,
            health,
            readiness,
            warming,
            shutdown,
        })
    }

    /// Where the bundle ports listen.
    pub fn bundle_addresses(&self) -> Vec<SocketAddr> {
        self.bundle.addresses()
    }

    /// Where the bundle endpoint's SPIFFE profile listens.
    pub fn spiffe_bundle_addresses(&self) -> Vec<SocketAddr> {
        self.bundle.spiffe_addresses()
    }

    /// Where the issuer ports listen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.issuer_ports.iter().filter_map(|port| port.address().ok()).collect()
    }

    /// Where operators who are elsewhere come in.
    pub fn admin_addresses(&self) -> Vec<SocketAddr> {
        self.admin_ports.iter().filter_map(|port| port.address().ok()).collect()
    }

    /// Where probes and Prometheus ask.
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.health.as_ref()?.address().ok()
    }

    /// Serves until shutdown. Then the doors drain, then the keepers end, then the journal is closed: nobody is
    /// answered by a server that cannot record.
    ///
    /// # Errors
    /// `Stopped` when a part ended by itself.
    pub async fn run(self) -> Result<(), ServerError> {
        let Self { parts, clock, certificate, policy, issuer_ports, .. } = self;
        // Ends last: what requests began is still carried out on its threads.
        let Self { crew: _crew, bundle, admin, admin_ports, health, readiness, warming, shutdown, .. } = self;
        let (end, ended) = Shutdown::pair();

        let mut keepers = JoinSet::new();
        start_meters(&mut keepers, &parts, (&clock, &readiness), &ended);
        let (issuance, metrics) = (Arc::clone(&parts.issuance), parts.metrics.clone());
        let (store, replica) = (Arc::clone(&parts.store), parts.replica.clone());
        start_keepers(&mut keepers, parts, (&clock, &readiness), &ended);
        keepers.spawn(policy.run(Arc::clone(&clock), ended.clone()));
        keepers.spawn(certificate.run(Arc::clone(&clock), (Port::Issuer, metrics.clone()), ended.clone()));
        look(&mut keepers, &issuance, (&metrics, &ended));
        keepers.spawn(sweep(Arc::clone(&issuance), metrics.clone(), ended.clone()));
        keepers.spawn(warm(issuance, warming, ended.clone()));
        keepers.spawn(tell_of_health(health, ended.clone()));
        let (close, closing) = Shutdown::pair();
        let mut doors = JoinSet::new();
        for port in issuer_ports {
            doors.spawn(port.run(closing.clone()));
        }
        bundle.start((&mut doors, &closing), (&mut keepers, &ended), (&clock, &metrics));
        for port in admin_ports {
            doors.spawn(port.run(closing.clone()));
        }
        doors.spawn(admin.run(closing));

        let mut store_ended = false;
        let outcome = tokio::select! {
            biased;
            () = shutdown.wait() => Ok(()),
            () = store.ended() => {
                store_ended = true;
                Err(ServerError::Stopped)
            }
            Some(_early) = keepers.join_next() => Err(ServerError::Stopped),
            Some(_early) = doors.join_next() => Err(ServerError::Stopped),
        };
        let _draining = readiness.wait_for("the end: the server is stopping");
        let _stopped = store_ended.then(|| readiness.wait_for("the store, which has stopped: the log says why"));
        close.pull();
        if outcome.is_err() {
            tracing::error!("a part of the server ended by itself; the server stops");
            let _answered = tokio::time::timeout(LAST_ANSWERS_WITHIN, all_ended(&mut doors)).await.is_ok();
            doors.abort_all();
        }
        all_ended(&mut doors).await;
        end.pull();
        all_ended(&mut keepers).await;
        // Closing syncs files, which is no work for a thread that serves others.
        let close = move || {
            if let Some(replica) = &replica {
                replica.close();
            }
            store.close();
        };
        let closed = tokio::task::spawn_blocking(close).await;
        closed.map_err(|_panicked| ServerError::Stopped)?;
        outcome
    }
}

/// Nowhere, unless it is configured who may come.
async fn open_admin_ports(
    settings: &ServerSettings,
    (desk, certificate): (&Arc<Desk>, &Arc<DoorCertificate>),
    (clock, fetch): (&Arc<dyn Clock>, Arc<dyn Fetch>),
    parts: &Parts,
) -> Result<Vec<AdminPort>, ServerError> {
    let OperatorSettings { listen, from } = &settings.operators;
    let written = (parts.issuance.ledger.clone(), parts.issuance.people.clone());
    let operators = Operators::new(from.clone(), (Arc::clone(clock), fetch), written);
    let door = RemoteAdminDoor::new(desk, operators);
    let (mut bound, entrance) = (Vec::new(), (settings.doors.proxies.clone(), parts.metrics.clone()));
    for address in listen {
        let shown = Arc::<DoorCertificate>::clone(certificate);
        let tls = match &from.certificates {
            Some(_ca) => BundleDoor::for_operators_with_certificates(shown)?,
            None => BundleDoor::for_operators(shown)?,
        };
        let port = AdminPort::bind(*address, tls, door.clone(), entrance.clone()).await;
        bound.push(port.map_err(|source| ServerError::Address { address: *address, source })?);
    }
    Ok(bound)
}

/// Whatever Prometheus hears.
fn start_meters(
    keepers: &mut JoinSet<()>,
    parts: &Parts,
    (clock, readiness): (&Arc<dyn Clock>, &Readiness),
    ended: &Shutdown,
) {
    let Parts { issuance, rotator, crls, store, metrics, .. } = parts;
    let published = rotator.authorities().published();
    keepers.spawn(meter_bundle(published.clone(), metrics.clone(), ended.clone()));
    keepers.spawn(meter_keys(rotator.authorities().inventory(), metrics.clone(), ended.clone()));
    let of = (parts.federation.clone(), metrics.clone());
    keepers.spawn(meter_foreign(of, Arc::clone(clock), ended.clone()));
    let (witness, heard) = (Sight::of(issuance), (Arc::clone(clock), metrics.clone()));
    let who = (rotator.desk().holders().clone(), Arc::clone(&witness));
    keepers.spawn(meter_holders(who, (published, rotator.authorities().inventory()), heard.clone(), ended.clone()));
    keepers.spawn(meter_tainted((rotator.authorities(), witness), heard, ended.clone()));
    keepers.spawn(meter_store(store.trouble(), (readiness.clone(), metrics.clone()), ended.clone()));
    keepers.spawn(meter_checkpoints(store.is_unwitnessed(), metrics.clone(), ended.clone()));
    if let Some(crls) = crls {
        keepers.spawn(meter_crls(crls.watch(), metrics.clone(), ended.clone()));
    }
}

/// What keeps keys, bundles and lists as they ought to be, here and where others read them.
fn start_keepers(
    keepers: &mut JoinSet<()>,
    parts: Parts,
    (clock, readiness): (&Arc<dyn Clock>, &Readiness),
    ended: &Shutdown,
) {
    let Parts { issuance, rotator, upstream, federation, followers, publishers, crls, replica, metrics, vault, .. } =
        parts;
    let heard = (issuance, federation.clone(), rotator.desk().holders().clone());
    let shown = (Arc::clone(clock), readiness.clone(), metrics.clone());
    keepers.spawn(follow_replicas(replica, (heard, rotator.unfit()), shown, ended.clone()));
    let publishing = (publishers, rotator.desk().holders().clone(), rotator.authorities().published());
    let shown = (Arc::clone(clock), readiness.clone(), metrics.clone());
    keepers.spawn(keep_published(publishing, shown, ended.clone()));
    keepers.spawn(federate((federation, followers), rotator.authorities(), Arc::clone(clock), ended.clone()));
    let above = (upstream.zip(rotator.upstream()), Arc::clone(clock));
    keepers.spawn(keep_upstream(above, (readiness.clone(), metrics), ended.clone()));
    keepers.spawn(rotator.run(Arc::clone(clock), ended.clone()));
    keepers.spawn(keep_token(vault, ended.clone()));
    if let Some(crls) = crls {
        keepers.spawn(crls.run(Arc::clone(clock), ended.clone()));
    }
}

/// What ends identities by itself, without a renewal.
fn look(keepers: &mut JoinSet<()>, issuance: &Arc<Issuance>, (metrics, ended): (&Metrics, &Shutdown)) {
    keepers.spawn(judge_when_something_happens(Arc::clone(issuance), ended.clone()));
    keepers.spawn(look_at_accounts(Arc::clone(issuance), metrics.clone(), ended.clone()));
}

async fn all_ended(parts: &mut JoinSet<()>) {
    while parts.join_next().await.is_some() {}
}

async fn endpoint_svid(
    settings: &ServerSettings,
    parts: &Parts,
    now: OffsetDateTime,
) -> Result<Option<EndpointSvid>, ServerError> {
    if settings.doors.bundle_spiffe.is_empty() {
        return Ok(None);
    }
    let hands = (parts.rotator.authorities(), parts.issuance.ledger.clone());
    Ok(Some(EndpointSvid::begin(hands.0, hands.1, now).await?))
}

async fn tell_of_health(health: Option<HealthPort>, shutdown: Shutdown) {
    match health {
        Some(health) => health.run(shutdown).await,
        None => shutdown.wait().await,
    }
}

async fn keep_token(vault: Option<Arc<Vault>>, shutdown: Shutdown) {
    match vault {
        Some(vault) => vault.run(shutdown).await,
        None => shutdown.wait().await,
    }
}

/// Fetches the issuers' keys before the first token comes. A silent issuer does not hold up the others, nor renewals.
async fn warm(issuance: Arc<Issuance>, warming: Unready, shutdown: Shutdown) {
    tokio::select! {
        () = shutdown.wait() => return,
        errors = issuance.issuer_keys.warm() => for error in errors {
            tracing::warn!(why = chain(&error), "an issuer's keys are not here yet");
        },
    }
    drop(warming);
    shutdown.wait().await;
}

/// Drops what is of no use any more, and counts what lives.
async fn sweep(issuance: Arc<Issuance>, metrics: Metrics, shutdown: Shutdown) {
    loop {
        let now = issuance.now();
        match issuance.sessions.sweep(&issuance.ledger, now).await {
            Ok(swept) => metrics.sessions_live(swept.live),
            Err(error) => tracing::warn!(why = chain(&error), "sessions cannot be swept"),
        }
        tokio::select! {
            () = shutdown.wait() => return,
            () = issuance.clock.wait_until(now + SWEEP_EVERY) => {}
        }
    }
}

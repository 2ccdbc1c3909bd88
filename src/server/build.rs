//! Builds the CA's parts from settings, in the order in which they need each other.

use super::ServerError;
use super::foreign_keys::HeldKeys;
use super::ground::{Ground, lay_ground};
use super::upstream::put_under;
use super::witness::Sight;
use crate::audit::{Changes, Entry, Ledger};
use crate::authority::{Authorities, Holders, Rotator, record_sealing_key};
use crate::clock::Clock;
use crate::config::ServerSettings;
use crate::crypto::{Random, Sealing};
use crate::directory::{AccountPins, Directory, DirectorySettings};
use crate::discovery::{Fetch, IssuerKeys};
use crate::facts::{self, ActiveDirectory, Facts};
use crate::federation::{Federation, Follower};
use crate::issuance::{Hearing, Issuance, PolicyInUse, Recorder, Shares, Turns};
use crate::people::{Found, People};
use crate::publish::Publisher;
use crate::session::{CrlKeeper, PathPins, Sessions};
use crate::store::{LocalStore, Replica, Store, StoreError, Write};
use crate::telemetry::Metrics;
use crate::upstream::UpstreamKeeper;
use crate::vault::Vault;
use std::sync::Arc;
use time::OffsetDateTime;

/// The CA, ready to be put behind doors.
#[derive(Debug)]
pub struct Parts {
    /// The road.
    pub issuance: Arc<Issuance>,
    /// Changes keys when it is time.
    pub rotator: Rotator,
    /// Asks the authority above ours, where there is one.
    pub upstream: Option<UpstreamKeeper>,
    /// What we hold of other trust domains.
    pub federation: Federation,
    /// What keeps it equal to its sources.
    pub followers: Vec<Follower>,
    /// What writes our own bundle to where others read it.
    pub publishers: Vec<Publisher>,
    /// Makes revocation lists, where they are switched on.
    pub crls: Option<CrlKeeper>,
    /// Journal and index.
    pub store: Arc<LocalStore>,
    /// What this replica shares with others, where there are several.
    pub replica: Option<Arc<Replica>>,
    /// What seals our keys at rest.
    pub sealing: Sealing,
    /// What operators watch.
    pub metrics: Metrics,
    /// The Vault that is asked for keys and certificates, where there is one.
    pub vault: Option<Arc<Vault>>,
}

/// What the world gives to the parts.
#[derive(Debug)]
pub struct World {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where chance comes from.
    pub random: Random,
    /// How issuers' documents are fetched.
    pub fetch: Arc<dyn Fetch>,
}

/// Opens keys and journal, and joins everything up to the doors.
///
/// # Errors
/// Whatever is missing or does not fit; nothing was issued then.
pub async fn build(settings: &ServerSettings, world: World) -> Result<Parts, ServerError> {
    let World { clock, random, fetch } = world;
    let Ground { vault, above, sealing, store, replica, shared, ledger, rotator, sequence } =
        lay_ground(settings, &clock, &random).await?;

    let (federation, followers) =
        open_federation(settings, rotator.authorities(), (&shared, &ledger), (&*clock, random.clone())).await?;
    let people = open_people(settings, sealing.clone(), &*shared).await?;
    let writes = remember(settings, (&people, &sealing), (&*shared, &ledger)).await?;
    let policy = PolicyInUse::new(settings.policy.clone());
    record_start(settings, (&ledger, &policy, sequence), writes).await?;

    let issuers = Arc::new(settings.issuers.clone());
    let metrics = metrics_of(&store);
    let sessions = open_sessions(&shared, &people, clock.now()).await?;
    let (sessions, crls) = with_lists(settings, sessions, (rotator.authorities(), &ledger));
    let rotator = watching(rotator, settings, (&sessions, &policy), &*shared, clock.now())?;
    let (rotator, upstream) = put_under(rotator, above, clock.now())?;
    let publishers = publishers_of(settings, &rotator, &random);
    let account_pins = AccountPins::new(Arc::clone(&shared), ledger.clone(), people.clone());
    let issuer_keys = IssuerKeys::new(Arc::clone(&issuers), Arc::clone(&clock), Arc::clone(&fetch));
    let (asked, by, shown) = (Arc::clone(&fetch), Arc::clone(&clock), metrics.clone());
    let world = facts::World { clock: by, fetch: asked, metrics: shown, pins: account_pins.clone() };
    let (facts, directory) = open_facts(settings, world);
    let issuance = Arc::new(Issuance {
        facts,
        directory,
        account_pins,
        issuer_keys: Arc::new(issuer_keys.with_bundles(Arc::new(HeldKeys::from(federation.clone())))),
        clock,
        issuers,
        policy,
        leaf: Arc::new(settings.leaf.clone()),
        consumers: Arc::new(settings.policy_source.consumers.clone()),
        sessions,
        people,
        pins: PathPins::new(shared, ledger.clone()),
        ledger,
        authorities: rotator.authorities(),
        shares: Shares::default(),
        turns: Turns::default(),
        hearing: Hearing::of(settings.hooks.clone()),
        recorder: Recorder::new(metrics.clone()),
        data_dir: settings.data_dir.clone(),
    });
    Ok(Parts {
        issuance,
        rotator,
        upstream,
        federation,
        followers,
        publishers,
        crls,
        store,
        replica,
        sealing,
        metrics,
        vault,
    })
}

/// What operators watch. They hear of an index that was set aside.
fn metrics_of(store: &LocalStore) -> Metrics {
    let metrics = Metrics::new();
    if store.set_aside().is_some() {
        metrics.index_set_aside();
    }
    metrics
}

/// What makes revocation lists, where they are switched on. Only there, sessions keep which SVIDs they were given.
fn with_lists(
    settings: &ServerSettings,
    sessions: Sessions,
    (authorities, ledger): (Arc<Authorities>, &Ledger),
) -> (Sessions, Option<CrlKeeper>) {
    let Some(plan) = settings.crl else { return (sessions, None) };
    let sessions = sessions.keeping_svids();
    let lists = CrlKeeper::new(sessions.clone(), (authorities, ledger.clone()), plan, settings.data_dir.clone());
    (sessions, Some(lists))
}

/// All that can be asked about jobs, and the directory among it.
fn open_facts(settings: &ServerSettings, world: facts::World) -> (Facts, Option<Arc<Directory>>) {
    let mut systems = settings.systems.clone();
    let open = |of: DirectorySettings| Directory::new(of, world.pins.clone(), Arc::clone(&world.clock));
    let links = |directory: Directory| {
        let gitlabs = settings.systems.iter().filter_map(|system| system.gitlab());
        directory.asking(gitlabs.map(|gitlab| (gitlab.issuer.clone(), gitlab.links(&world))).collect())
    };
    let directory = settings.directory.clone().map(open).map(links).map(Arc::new);
    if let Some(directory) = &directory {
        systems.push(Arc::new(ActiveDirectory(Arc::clone(directory))));
    }
    (Facts::new(&systems, world), directory)
}

async fn record_start(
    settings: &ServerSettings,
    (ledger, policy, keyring): (&Ledger, &PolicyInUse, u64),
    writes: Vec<Write>,
) -> Result<(), StoreError> {
    let started = Entry::Started {
        version: env!("CARGO_PKG_VERSION"),
        trust_domain: settings.trust_domain.as_str(),
        policy: *policy.now().digest(),
        keyring,
    };
    ledger.commit(&started, Changes { writes, ..Changes::default() }).await.map(drop)
}

/// What tells the rotator what it wrote.
fn publishers_of(settings: &ServerSettings, rotator: &Rotator, random: &Random) -> Vec<Publisher> {
    let holders = rotator.desk().holders().clone();
    settings.publish.iter().map(|target| Publisher::new(target.clone(), holders.clone(), random.clone())).collect()
}

/// Agents that live sessions promise are waited for from now on.
fn watching(
    rotator: Rotator,
    settings: &ServerSettings,
    (sessions, policy): (&Sessions, &PolicyInUse),
    store: &dyn Store,
    now: OffsetDateTime,
) -> Result<Rotator, ServerError> {
    let holders = Holders::new(settings.keys.holders.iter().cloned(), sessions.owners(now), now);
    let holders = holders.publishing(settings.publish.iter().map(ToString::to_string));
    let sight = Sight { sessions: sessions.clone(), policy: policy.clone() };
    Ok(rotator.watching(holders, Arc::new(sight), store)?)
}

/// What lies in files is there before anybody is answered.
async fn open_federation(
    settings: &ServerSettings,
    ours: Arc<Authorities>,
    (store, ledger): (&Arc<dyn Store>, &Ledger),
    (clock, random): (&dyn Clock, Random),
) -> Result<(Federation, Vec<Follower>), ServerError> {
    let kept = (&**store, ledger.clone());
    let federation = Federation::open(ours, &settings.federation, kept, (clock.now(), random)).await?;
    let mut followers = federation.followers();
    for follower in &mut followers {
        follower.begin(clock).await;
    }
    Ok((federation, followers))
}

/// Persons who were erased must not come back with a backup of their keys.
async fn open_people(settings: &ServerSettings, sealing: Sealing, store: &dyn Store) -> Result<People, ServerError> {
    let people =
        People::open(settings.data_dir.join(People::FILE), sealing, (settings.people, &settings.trust_domain))?;
    people.erase_again(store).await?;
    Ok(people)
}

/// What the store is to know of the files beside it from now on.
async fn remember(
    settings: &ServerSettings,
    (people, sealing): (&People, &Sealing),
    (store, ledger): (&dyn Store, &Ledger),
) -> Result<Vec<Write>, StoreError> {
    let sealed_by = (sealing.name(), settings.keys.sealing.place.as_deref());
    let sealed_by = record_sealing_key(sealed_by, (store, ledger)).await?;
    Ok(sealed_by.into_iter().chain(remember_people(people, store)?).collect())
}

/// Keys of persons that are gone are no reason not to serve, but somebody must know.
fn remember_people(people: &People, store: &dyn Store) -> Result<Option<Write>, StoreError> {
    Ok(match people.found(store)? {
        Found::AsBefore => None,
        Found::New(write) => Some(write),
        Found::Another => {
            tracing::error!(
                "the persons' keys were lost: who started the jobs of before stays sealed, and live sessions of sealed persons \
                 cannot be renewed; stop the server and put {} back from a backup",
                People::FILE
            );
            None
        }
    })
}

/// A hundred thousand sessions take a while to read, too.
async fn open_sessions(store: &Arc<dyn Store>, people: &People, now: OffsetDateTime) -> Result<Sessions, ServerError> {
    let (store, people) = (Arc::clone(store), people.clone());
    let open = move || Sessions::open(store, people, now);
    Ok(tokio::task::spawn_blocking(open).await.map_err(|_stopped| ServerError::Stopped)??)
}

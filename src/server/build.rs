//! Builds the CA's parts from settings, in the order in which they need each other.

use super::foreign_keys::HeldKeys;
use super::upstream::{Connected, connect, put_under};
use super::witness::Sight;
use super::{ServerError, data_folder, open_places};
use crate::audit::{Changes, Entry, Ledger};
use crate::authority::{
    Authorities, AuthorityKind, Holders, KeyPlan, Keyring, KeyringFile, Rotator, RotatorError, SharedKeyring,
    begin_under, first_wanted, open_keyring, record_sealing_key,
};
use crate::clock::Clock;
use crate::config::{ServerSettings, StoreKind};
use crate::crypto::{JwsAlgorithm, KeyId, Random, Sealing};
use crate::custody::Places;
use crate::directory::{AccountPins, Directory, DirectorySettings};
use crate::discovery::{Fetch, IssuerKeys};
use crate::facts::{self, ActiveDirectory, Facts};
use crate::federation::{Federation, Follower};
use crate::issuance::{Hearing, Issuance, PolicyInUse, Recorder, Shares, Turns};
use crate::people::{Found, People};
use crate::publish::Publisher;
use crate::session::{CrlKeeper, PathPins, Sessions};
use crate::store::{
    Etcd, IndexKind, LocalSettings, LocalStore, NoteSigner, Replica, Store, StoreError, VerifierKey, Write,
    replace_file,
};
use crate::telemetry::Metrics;
use crate::upstream::UpstreamKeeper;
use crate::vault::Vault;
use std::path::Path;
use std::sync::Arc;
use time::OffsetDateTime;

/// In the data folder: what verifies the journal's checkpoints. A copy kept elsewhere tells a replaced one.
pub const JOURNAL_KEY_FILE: &str = "journal.vkey";
/// So much of the key's name names a replica that has none: nobody else's begins so.
const REPLICA_DIGITS: usize = 16;

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
    let folder = &settings.data_dir;
    data_folder::own(folder)?;

    let (vault, places) = open_places((settings.vault.as_ref(), &settings.keys.places), Arc::clone(&clock))?;
    let above = connect(settings, vault.as_ref());
    let etcd = connect_etcd(settings, &random).await?;
    let Keys { file, sealing, plan, keyring, shared } =
        open_keys(settings, (places, above.as_ref(), etcd.as_ref()), (&clock, &random)).await?;
    let store = open_journal(settings, &keyring, &clock).await?;
    let replica = etcd.map(|etcd| Replica::open(etcd, Arc::clone(&store), Arc::clone(&clock))).transpose()?;
    let shared_keyring = shared;
    let shared: Arc<dyn Store> = match &replica {
        Some(replica) => Arc::<Replica>::clone(replica),
        None => Arc::<LocalStore>::clone(&store),
    };
    let ledger = Ledger::new(Arc::clone(&shared));
    let sequence = keyring.sequence;
    let rotator =
        Rotator::begin(file, keyring, plan, (&*shared, ledger.clone()), (clock.now(), random.clone())).await?;
    let rotator = rotator.sharing(shared_keyring);

    let (federation, followers) =
        open_federation(settings, rotator.authorities(), (&shared, &ledger), (&*clock, random.clone())).await?;
    let people = open_people(settings, sealing.clone(), &*shared).await?;
    let writes = remember(settings, (&people, &sealing), (&*shared, &ledger)).await?;
    let policy = PolicyInUse::new(settings.policy.clone());
    record_start(settings, (&ledger, &policy, sequence), writes).await?;

    let issuers = Arc::new(settings.issuers.clone());
    let metrics = Metrics::new();
    if store.set_aside().is_some() {
        metrics.index_set_aside();
    }
    let mut sessions = open_sessions(&shared, &people, clock.now()).await?;
    let crls = settings.crl.map(|plan| {
        sessions = sessions.clone().keeping_svids();
        CrlKeeper::new(sessions.clone(), (rotator.authorities(), ledger.clone()), plan, folder.clone())
    });
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
        data_dir: folder.clone(),
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

/// All that can be asked about jobs, and the directory among it.
fn open_facts(settings: &ServerSettings, world: facts::World) -> (Facts, Option<Arc<Directory>>) {
    let mut systems = settings.systems.clone();
    let open = |of: DirectorySettings| Arc::new(Directory::new(of, world.pins.clone(), Arc::clone(&world.clock)));
    let directory = settings.directory.clone().map(open);
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

/// What signs, and how long.
pub(super) struct Keys {
    pub(super) file: KeyringFile,
    sealing: Sealing,
    plan: KeyPlan,
    pub(super) keyring: Keyring,
    shared: Option<SharedKeyring>,
}

pub(super) async fn open_keys(
    settings: &ServerSettings,
    (places, above, etcd): (Places, Option<&Connected>, Option<&Arc<Etcd>>),
    (clock, random): (&Arc<dyn Clock>, &Random),
) -> Result<Keys, ServerError> {
    let now = clock.now();
    let folder = &settings.data_dir;
    let keyring_path = folder.join("keyring.json");
    let trust_domain = &settings.trust_domain;
    let sealing = settings.keys.sealing.open_or_make(&places, (&keyring_path, trust_domain)).await?;
    let file = KeyringFile::new(keyring_path, sealing.clone()).with_places(places);
    file.seal_anew(trust_domain).map_err(RotatorError::from)?;
    let plan = KeyPlan {
        root: settings.keys.lifetimes.root,
        intermediate: settings.keys.lifetimes.intermediate,
        jwt: settings.keys.lifetimes.jwt_key,
        name_constraints: settings.keys.name_constraints,
        automatic: settings.keys.change_by_themselves,
        refresh_hint: settings.keys.lifetimes.refresh_hint,
        propagation: settings.keys.lifetimes.propagation,
        jwks_cache: settings.policy_source.consumers.keep_keys_for(),
        rs256: settings.policy_source.consumers.ask_for(JwsAlgorithm::Rs256),
    };
    let mut shared = etcd.cloned().map(SharedKeyring::new);
    let fetched = shared.as_mut().map(|shared| shared.fetch(&file, trust_domain)).transpose()?.flatten();
    let has_history = folder.join("journal").exists();
    let is_first = !has_history && !file.path().exists();
    let keyring = match above.filter(|_| is_first) {
        Some(above) => {
            let wanted = first_wanted(trust_domain, &plan, (now, random))?;
            let (root, offer) = above.first(wanted, clock).await?;
            begin_under(&file, &plan, (root, offer, trust_domain), (now, random)).await?
        }
        None => open_keyring(&file, trust_domain, &plan, (now, random), has_history).await?,
    };
    let keyring = match &mut shared {
        Some(shared) if fetched.is_none() => shared.begin(&file, keyring).await?,
        Some(_) | None => keyring,
    };
    Ok(Keys { file, sealing, plan, keyring, shared })
}

/// The journal and its index. What verifies its checkpoints is laid beside it first.
pub(super) async fn open_journal(
    settings: &ServerSettings,
    keyring: &Keyring,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<LocalStore>, ServerError> {
    let journal_key = keyring.active(AuthorityKind::Journal).ok_or(RotatorError::NoRoot)?;
    let own_key = journal_key.held_key().ok_or(RotatorError::NoRoot)?;
    let signer = NoteSigner::new(origin(settings, journal_key.key_id()), Arc::clone(own_key))?;
    show_journal_key(&settings.data_dir, signer.verifier())?;
    open_store(settings, signer, Arc::clone(clock)).await
}

/// What the journal is called in its checkpoints. The key is made once and kept, and so is its name.
fn origin(settings: &ServerSettings, key: KeyId) -> String {
    let key = key.to_string();
    let replica = settings.checkpoints.replica.as_deref().or(key.get(..REPLICA_DIGITS)).unwrap_or_default();
    format!("{}/-/lanyard/journal/{replica}", settings.trust_domain)
}

/// Lays the public key of the journal's checkpoints beside it, for auditors.
fn show_journal_key(folder: &Path, key: &VerifierKey) -> Result<(), ServerError> {
    let (path, line) = (folder.join(JOURNAL_KEY_FILE), format!("{key}\n"));
    if std::fs::read(&path).is_ok_and(|there| there == line.as_bytes()) {
        return Ok(());
    }
    replace_file(&path, line.as_bytes(), 0o644).map_err(|source| ServerError::File { path, source })
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

/// Opening reads and repairs files, which is no work for a thread that serves others.
async fn open_store(
    settings: &ServerSettings,
    signer: NoteSigner,
    clock: Arc<dyn Clock>,
) -> Result<Arc<LocalStore>, ServerError> {
    let index = match settings.store {
        // Of what replicas share, a journal remembers one key only.
        StoreKind::Etcd(_) | StoreKind::Memory => IndexKind::Memory,
        StoreKind::Sled => IndexKind::Sled,
    };
    let (segment_bytes, checkpoints) = (settings.segment_bytes, settings.checkpoints.signing.clone());
    let local = LocalSettings { index, segment_bytes, checkpoints, ..LocalSettings::new(settings.data_dir.clone()) };
    let open = move || LocalStore::open(local, signer, clock);
    Ok(tokio::task::spawn_blocking(open).await.map_err(|_stopped| ServerError::Stopped)??)
}

/// Listing what is there takes a while, too.
pub(super) async fn connect_etcd(settings: &ServerSettings, random: &Random) -> Result<Option<Arc<Etcd>>, ServerError> {
    let StoreKind::Etcd(place) = &settings.store else { return Ok(None) };
    let (members, to) = (place.members.clone(), place.settings.clone());
    let process = format!("{:016x}", u64::from_be_bytes(random.bytes()));
    let connect = move || Etcd::connect(to, &process, members.channels());
    let connected = tokio::task::spawn_blocking(connect).await.map_err(|_stopped| ServerError::Stopped)?;
    Ok(Some(connected?))
}

//! What the server stands on: keys, journal, and what replicas share. It is opened before anything else.

use super::upstream::{Connected, connect};
use super::{ServerError, data_folder, open_places};
use crate::audit::Ledger;
use crate::authority::{
    AuthorityKind, KeyPlan, Keyring, KeyringFile, Rotator, RotatorError, SharedKeyring, begin_under, first_wanted,
    open_keyring,
};
use crate::clock::Clock;
use crate::config::{ServerSettings, StoreKind};
use crate::crypto::{JwsAlgorithm, KeyId, Random, Sealing};
use crate::custody::Places;
use crate::store::{
    Etcd, IndexKind, LocalSettings, LocalStore, NoteSigner, Replica, Store, StoreContent, VerifierKey, replace_file,
};
use crate::vault::Vault;
use std::path::Path;
use std::sync::Arc;

/// In the data folder: what verifies the journal's checkpoints. A copy kept elsewhere tells a replaced one.
pub const JOURNAL_KEY_FILE: &str = "journal.vkey";
/// So much of the key's name names a replica that has none: nobody else's begins so.
const REPLICA_DIGITS: usize = 16;

/// All of it, opened.
pub(super) struct Ground {
    pub(super) vault: Option<Arc<Vault>>,
    pub(super) above: Option<Connected>,
    pub(super) sealing: Sealing,
    pub(super) store: Arc<LocalStore>,
    pub(super) replica: Option<Arc<Replica>>,
    /// Where sessions and pins are: with all replicas, or here.
    pub(super) shared: Arc<dyn Store>,
    pub(super) ledger: Ledger,
    pub(super) rotator: Rotator,
    /// Of the keyring, as it was found.
    pub(super) sequence: u64,
}

/// Opens it, in the order in which one needs the other.
pub(super) async fn lay_ground(
    settings: &ServerSettings,
    clock: &Arc<dyn Clock>,
    random: &Random,
) -> Result<Ground, ServerError> {
    data_folder::own(&settings.data_dir)?;

    let (vault, places) = open_places((settings.vault.as_ref(), &settings.keys.places), Arc::clone(clock))?;
    let above = connect(settings, vault.as_ref());
    let etcd = connect_etcd(settings, (clock, random)).await?;
    let Keys { file, sealing, plan, keyring, shared: shared_keyring } =
        open_keys(settings, (places, above.as_ref(), etcd.as_ref()), (clock, random)).await?;
    let store = open_journal(settings, &keyring, clock).await?;
    moved_as_configured(&store, settings, etcd.is_some())?;
    let replica = etcd.map(|etcd| Replica::open(etcd, Arc::clone(&store), Arc::clone(clock))).transpose()?;
    let shared: Arc<dyn Store> = match &replica {
        Some(replica) => Arc::<Replica>::clone(replica),
        None => Arc::<LocalStore>::clone(&store),
    };
    let ledger = Ledger::new(Arc::clone(&shared));
    let sequence = keyring.sequence;
    let rotator =
        Rotator::begin(file, keyring, plan, (&*shared, ledger.clone()), (clock.now(), random.clone())).await?;
    let rotator = rotator.sharing(shared_keyring);
    Ok(Ground { vault, above, sealing, store, replica, shared, ledger, rotator, sequence })
}

/// What was admitted and ended stands where this configuration looks for it: else a token would be taken once more.
fn moved_as_configured(journal: &LocalStore, settings: &ServerSettings, with_etcd: bool) -> Result<(), ServerError> {
    let path = || settings.data_dir.clone();
    if with_etcd && StoreContent::is_here(journal)? {
        return Err(ServerError::NotInEtcd { path: path() });
    }
    if !with_etcd && StoreContent::is_in_etcd(journal)? {
        return Err(ServerError::InEtcd { path: path() });
    }
    Ok(())
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
pub(super) async fn connect_etcd(
    settings: &ServerSettings,
    (clock, random): (&Arc<dyn Clock>, &Random),
) -> Result<Option<Arc<Etcd>>, ServerError> {
    let StoreKind::Etcd(place) = &settings.store else { return Ok(None) };
    let (members, to) = (place.members.clone(), place.settings.clone());
    let process = format!("{:016x}", u64::from_be_bytes(random.bytes()));
    let clock = Arc::clone(clock);
    let connect = move || Etcd::connect(to, &process, (members.channels(), clock));
    let connected = tokio::task::spawn_blocking(connect).await.map_err(|_stopped| ServerError::Stopped)?;
    Ok(Some(connected?))
}

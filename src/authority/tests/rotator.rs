//! The rotator's own manners: what it saves and records, what it refuses to start with, who waits for whom.

use crate::audit::Ledger;
use crate::authority::making::Making;
use crate::authority::witness::Nobody;
use crate::authority::{
    AuthorityKind, Confirmation, Holders, KeyOf, KeyPlan, Keyring, KeyringFile, Leeway, NotNow, Order, OrderError,
    OrderKind, Rotator, RotatorError, Step, StepKind, open_keyring,
};
use crate::clock::{Clock, ManualClock, SystemClock};
use crate::crypto::{PublicKey, Random, SealingKey};
use crate::custody::{Label, MemoryPlace, Place, PlaceFault, Places, Waiting};
use crate::identity::TrustDomain;
use crate::store::{IndexKind, JournalReader, LocalSettings, LocalStore, NoteSigner, Store, StoreError};
use crate::telemetry::Shutdown;
use crate::upstream::{UpstreamEnds, UpstreamError, UpstreamRoot};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const PLAN: KeyPlan = KeyPlan { root: Duration::from_secs(86_400_000), ..KeyPlan::DEFAULT };

async fn begin(folder: &Path) -> Result<Rotator, RotatorError> {
    begin_in(folder, &Places::default(), Arc::new(SystemClock)).await
}

async fn begin_in(folder: &Path, places: &Places, clock: Arc<dyn Clock>) -> Result<Rotator, RotatorError> {
    Ok(begin_by(PLAN, folder, (places, clock)).await?.0)
}

/// By another plan; and its store.
async fn begin_by(
    plan: KeyPlan,
    folder: &Path,
    (places, clock): (&Places, Arc<dyn Clock>),
) -> Result<(Rotator, Arc<dyn Store>), RotatorError> {
    let file = KeyringFile::new(folder.join("keyring.json"), SealingKey::from_bytes(&[7; 32]).unwrap());
    let file = file.with_places(places.clone());
    let (domain, random, now) = (TrustDomain::parse("ci.test").unwrap(), Random::system(), clock.now());
    let keyring = open_keyring(&file, &domain, &plan, (now, &random), folder.join("journal").exists()).await?;
    let settings = LocalSettings { index: IndexKind::Memory, ..LocalSettings::new(folder.to_owned()) };
    let key = Arc::clone(keyring.active(AuthorityKind::Journal).unwrap().held_key().unwrap());
    let signer = NoteSigner::new("ci.test/journal".to_owned(), key).unwrap();
    let store: Arc<dyn Store> = LocalStore::open(settings, signer, clock).unwrap();
    let hands = (&*store, Ledger::new(Arc::clone(&store)));
    let rotator = Rotator::begin(file, keyring, plan, hands, (now, random)).await?;
    Ok((rotator, store))
}

async fn a_day_later(folder: &Path, steps: u32) {
    let mut rotator = begin(folder).await.unwrap();
    for day in 1..=steps {
        rotator.turn(SystemClock.now() + Duration::from_secs(13 * 3600) * day).await.unwrap();
    }
}

/// Shows: TDB-27.
#[tokio::test]
async fn a_keyring_from_before_the_last_step_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(begin(folder.path()).await.unwrap());
    let old = std::fs::read(folder.path().join("keyring.json")).unwrap();
    a_day_later(folder.path(), 1).await;
    std::fs::write(folder.path().join("keyring.json"), old).unwrap();
    assert!(matches!(begin(folder.path()).await, Err(RotatorError::OldKeyring { found: 4, recorded: 5 })));
}

#[tokio::test]
async fn a_history_without_its_keyring_does_not_start_over() {
    let folder = tempfile::tempdir().unwrap();
    drop(begin(folder.path()).await.unwrap());
    std::fs::remove_file(folder.path().join("keyring.json")).unwrap();
    assert!(matches!(begin(folder.path()).await, Err(RotatorError::HistoryWithoutKeys { .. })));
}

#[tokio::test]
async fn a_keyring_without_its_history_does_not_go_on() {
    let folder = tempfile::tempdir().unwrap();
    a_day_later(folder.path(), 2).await;
    std::fs::remove_dir_all(folder.path().join("journal")).unwrap();
    std::fs::remove_file(folder.path().join("checkpoint")).unwrap();
    assert!(matches!(begin(folder.path()).await, Err(RotatorError::JournalLost { recorded: 0, .. })));
}

#[tokio::test]
async fn a_step_that_a_crash_left_unrecorded_is_recorded_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut rotator = begin(folder.path()).await.unwrap();
    let now = SystemClock.now() + Duration::from_secs(13 * 3600);
    let step = Step::planned(StepKind::Succeed, AuthorityKind::X509Intermediate);
    let making = Making { file: &rotator.file, plan: &PLAN, above: None, random: &rotator.random, now };
    let next = making.take(&mut rotator.keyring, &step, None).await.unwrap();
    rotator.file.save(&next).unwrap();
    drop(rotator);
    assert_eq!(begin(folder.path()).await.unwrap().keyring.sequence, 5);
    assert_eq!(begin(folder.path()).await.unwrap().keyring.sequence, 5, "and is known from then on");
}

#[tokio::test]
async fn a_step_that_was_surely_not_recorded_does_not_happen_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let mut rotator = begin_in(folder.path(), &Places::default(), Arc::<ManualClock>::clone(&clock)).await.unwrap();
    let later = clock.now() + Duration::from_secs(13 * 3600);
    clock.set(clock.now() - Duration::from_secs(86_400));
    let refused = rotator.turn(later).await.unwrap_err();
    assert!(matches!(refused, RotatorError::Store(StoreError::Clock(_))), "{refused:?}");
    drop(rotator);
    assert_eq!(begin(folder.path()).await.unwrap().keyring.sequence, 4);
}

/// It signs with the keys that it has, and makes none once it is full.
#[derive(Clone, Debug, Default)]
struct Full(MemoryPlace, Arc<AtomicBool>);

impl Place for Full {
    fn make<'a>(&'a self, label: &'a Label) -> Waiting<'a, PublicKey> {
        if self.1.load(Ordering::Relaxed) {
            return Box::pin(std::future::ready(Err(PlaceFault::Silent { within: Duration::ZERO })));
        }
        self.0.make(label)
    }

    fn find<'a>(&'a self, label: &'a Label) -> Waiting<'a, Option<PublicKey>> {
        self.0.find(label)
    }

    fn sign<'a>(&'a self, label: &'a Label, message: &'a [u8]) -> Waiting<'a, Vec<u8>> {
        self.0.sign(label, message)
    }

    fn list(&self) -> Waiting<'_, Vec<String>> {
        self.0.list()
    }

    fn delete<'a>(&'a self, label: &'a Label) -> Waiting<'a, ()> {
        self.0.delete(label)
    }
}

#[tokio::test]
async fn a_root_that_cannot_be_made_is_in_nobody_else_s_way() {
    let (folder, full) = (tempfile::tempdir().unwrap(), Full::default());
    let places = Places::default().with("hsm", Arc::new(full.clone())).with_roots_in("hsm");
    let mut rotator = begin_in(folder.path(), &places, Arc::new(SystemClock)).await.unwrap();
    full.1.store(true, Ordering::Relaxed);
    let later = SystemClock.now() + PLAN.root / 2 + Duration::from_secs(3600);
    let refused = rotator.turn(later).await.unwrap_err();
    assert!(matches!(refused, RotatorError::Custody(_)), "{refused:?}");
    for kind in [AuthorityKind::X509Intermediate, AuthorityKind::Jwt] {
        let newest = rotator.keyring.of_kind(kind).last().unwrap();
        assert!(newest.generation == 2 && newest.not_after > later, "{newest:?}");
    }
    assert!(rotator.authorities().signer_ends_at() > later);
}

#[tokio::test]
async fn only_a_root_is_adopted_and_no_step_is_saved_after_which_nothing_could_sign() {
    let (folder, place) = (tempfile::tempdir().unwrap(), MemoryPlace::default());
    let places = Places::default().with("hsm", Arc::new(place.clone()));
    let mut rotator = begin_in(folder.path(), &places, Arc::new(SystemClock)).await.unwrap();
    let label = Label::new(&rotator.keyring.trust_domain, "jwt", 9, &Random::system());
    place.make(&label).await.unwrap();
    let (authority, now) = (AuthorityKind::Jwt, SystemClock.now());
    let order = |kind| Order { kind, authority, leeway: Leeway::Force, uid: 7, say: None };
    let refused = rotator.adopt(&order(OrderKind::Prepare), &label, now).await.unwrap_err();
    assert!(matches!(refused, OrderError::NotAdopted { .. }), "{refused:?}");
    assert_eq!(rotator.keyring.sequence, 4, "nothing has changed");

    // However such a key came there.
    rotator.obey_with(&order(OrderKind::Prepare), Some(("hsm", &label)), now).await.unwrap();
    let refused = rotator.obey(&order(OrderKind::Activate(None)), now).await.unwrap_err();
    assert!(matches!(refused, OrderError::Failed(RotatorError::NoSigner)), "{refused:?}");
    drop(rotator);
    let rotator = begin_in(folder.path(), &places, Arc::new(SystemClock)).await.unwrap();
    assert_eq!(rotator.keyring.sequence, 5, "and the next start goes on");
}

#[tokio::test]
async fn a_history_beside_a_keyring_without_keys_does_not_start_over() {
    let folder = tempfile::tempdir().unwrap();
    let rotator = begin(folder.path()).await.unwrap();
    rotator.file.save(&Keyring::empty(rotator.keyring.trust_domain.clone())).unwrap();
    drop(rotator);
    assert!(matches!(begin(folder.path()).await, Err(RotatorError::HistoryWithoutKeys { .. })));
}

#[tokio::test]
async fn nobody_waits_behind_an_order_that_waits_for_an_upstream_and_its_keeper_s_end_ends_that_wait() {
    let folder = tempfile::tempdir().unwrap();
    let ((asks, mut asked), (told, heard)) = (mpsc::channel(1), mpsc::channel(1));
    let mut rotator = begin(folder.path()).await.unwrap();
    let root = rotator.keyring.authorities.iter_mut().find(|one| one.kind == AuthorityKind::X509Root).unwrap();
    let (name, certificate) = (root.key_id(), root.certificate.clone().unwrap());
    root.key = KeyOf::Upstream(name);
    let roots = vec![UpstreamRoot { name, certificate, not_before: root.not_before, not_after: root.not_after }];
    let rotator = rotator.under(roots, UpstreamEnds { asks, heard, kind: "test" });
    let (desk, (stop, shutdown)) = (rotator.desk(), Shutdown::pair());
    let mut tasks = JoinSet::new();
    tasks.spawn(rotator.run(Arc::new(SystemClock), shutdown));
    let order = |kind, authority| Order { kind, authority, leeway: Leeway::Force, uid: 7, say: None };

    let (waits, hands) = (desk.clone(), order(OrderKind::Prepare, AuthorityKind::X509Intermediate));
    let mut waiting = JoinSet::new();
    waiting.spawn(async move { waits.order(hands).await });
    let _unanswered = asked.recv().await.unwrap();
    for kind in [OrderKind::Prepare, OrderKind::Activate(None)] {
        desk.order(order(kind, AuthorityKind::Jwt)).await.unwrap();
    }
    let refused = desk.order(order(OrderKind::Taint(name), AuthorityKind::X509Root)).await.unwrap_err();
    assert!(matches!(refused, OrderError::NotNow(NotNow::Active { .. })), "it was heard: {refused:?}");
    assert!(waiting.try_join_next().is_none(), "the upstream has not answered");
    drop(told);
    let refused = waiting.join_next().await.unwrap().unwrap().unwrap_err();
    assert!(
        matches!(&refused, OrderError::Upstream { fault } if matches!(**fault, UpstreamError::Stopped)),
        "{refused:?}"
    );
    stop.pull();
    tasks.join_all().await;
}

const HOUR: Duration = Duration::from_secs(3600);

/// Of a root that lives four days, beside a mesh that an operator answers for.
async fn beside_a_mesh(folder: &Path, clock: &Arc<ManualClock>) -> Rotator {
    let (places, plan) = (Places::default(), KeyPlan { root: HOUR * 96, ..PLAN });
    let its_clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
    let (rotator, store) = begin_by(plan, folder, (&places, its_clock)).await.unwrap();
    let holders = Holders::new(["payments mesh".to_owned()], [], clock.now());
    rotator.watching(holders, Arc::new(Nobody), &*store).unwrap()
}

/// The plan goes on past its deadline without a mesh that nobody answered for; the journal names it, and watchers see it.
#[tokio::test]
async fn a_declared_holder_that_nobody_confirms_does_not_keep_a_root_beyond_the_deadline() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::at(SystemClock.now())));
    let (mut rotator, begun) = (beside_a_mesh(folder.path(), &clock).await, clock.now());
    let active = |rotator: &Rotator| rotator.keyring.active(AuthorityKind::X509Root).unwrap().clone();
    while active(&rotator).generation == 1 {
        clock.advance(HOUR);
        rotator.turn(clock.now()).await.unwrap();
    }
    // Half of its life it signs, a quarter the next one waits.
    assert_eq!(clock.now() - begun, HOUR * 72);
    let signs_since = rotator.authorities().inventory().borrow().signs_since;
    assert_eq!(signs_since, active(&rotator).published.unwrap().sequence);
    drop(rotator);
    let records = JournalReader::open(folder.path()).unwrap().map(|record| record.unwrap().entry.get().to_owned());
    let is_it = |entry: &String| entry.contains("x509-root") && entry.contains(r#""step":"activate""#);
    let told: Vec<String> = records.filter(is_it).collect();
    assert!(told.len() == 1 && told[0].contains(r#""in_spite_of":["payments mesh"]"#), "{told:?}");
}

#[tokio::test]
async fn a_declared_holder_that_is_confirmed_is_waited_for_no_longer_and_nobody_is_left_aside() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::at(SystemClock.now())));
    let mut rotator = beside_a_mesh(folder.path(), &clock).await;
    for hour in 1..=49 {
        clock.advance(HOUR);
        if hour == 49 {
            let holder = "payments mesh".to_owned();
            let confirmation = Confirmation { holder, sequence: None, uid: 7, say: None };
            rotator.confirm(&confirmation, clock.now()).await.unwrap();
        }
        rotator.turn(clock.now()).await.unwrap();
    }
    assert_eq!(rotator.keyring.active(AuthorityKind::X509Root).unwrap().generation, 2);
    assert!(rotator.keyring.latest.as_ref().unwrap().by.in_spite_of.is_empty());
}

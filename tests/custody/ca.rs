//! A CA whose roots live in a place, without doors: its rotator, and a folder that outlives it.

use lanyard::audit::Ledger;
use lanyard::authority::{
    AuthorityKind, KeyPlan, Keyring, KeyringFile, Leeway, Order, OrderError, OrderKind, Outlook, Rotator, RotatorError,
    Taken, open_keyring,
};
use lanyard::clock::{Clock, SystemClock};
use lanyard::crypto::{KeyId, Random, SealingKey};
use lanyard::custody::Places;
use lanyard::identity::TrustDomain;
use lanyard::store::{IndexKind, LocalSettings, LocalStore, NoteSigner};
use lanyard::telemetry::chain;
use rustls_pki_types::CertificateDer;
use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// Roots change by order only.
const PLAN: KeyPlan = KeyPlan { automatic: false, ..KeyPlan::DEFAULT };

pub(crate) fn domain() -> TrustDomain {
    TrustDomain::parse("ci.example.org").unwrap()
}

fn file(folder: &Path, places: &Places) -> KeyringFile {
    let sealing = SealingKey::from_bytes(&[7; 32]).unwrap();
    KeyringFile::new(folder.join("keyring.json"), sealing).with_places(places.clone())
}

/// The keyring as it is at rest.
pub(crate) fn at_rest(folder: &Path) -> Keyring {
    file(folder, &Places::default()).load(&domain()).unwrap().unwrap()
}

/// The start of a server, up to its rotator.
pub(crate) async fn begin(folder: &Path, places: &Places) -> Result<Ca, RotatorError> {
    let (file, random, now) = (file(folder, places), Random::system(), SystemClock.now());
    let keyring = open_keyring(&file, &domain(), &PLAN, (now, &random), folder.join("journal").exists()).await?;
    let settings = LocalSettings { index: IndexKind::Memory, ..LocalSettings::new(folder.to_owned()) };
    let key = Arc::clone(keyring.active(AuthorityKind::Journal).unwrap().held_key().unwrap());
    let signer = NoteSigner::new("ci.example.org/journal".to_owned(), key).unwrap();
    let store = LocalStore::open(settings, signer, Arc::new(SystemClock)).unwrap();
    let ledger = Ledger::new(Arc::<LocalStore>::clone(&store));
    let rotator = Rotator::begin(file, keyring, PLAN, (&*store, ledger), (now, random)).await?;
    Ok(Ca { rotator, store })
}

/// A rotator whose journal is closed when it is dropped.
#[derive(Debug)]
pub(crate) struct Ca {
    rotator: Rotator,
    store: Arc<LocalStore>,
}

impl Deref for Ca {
    type Target = Rotator;

    fn deref(&self) -> &Rotator {
        &self.rotator
    }
}

impl DerefMut for Ca {
    fn deref_mut(&mut self) -> &mut Rotator {
        &mut self.rotator
    }
}

impl Drop for Ca {
    fn drop(&mut self) {
        self.store.close();
    }
}

pub(crate) const fn order(kind: OrderKind) -> Order {
    Order { kind, authority: AuthorityKind::X509Root, leeway: Leeway::Force, uid: 7, say: None }
}

pub(crate) async fn obey(rotator: &mut Rotator, kind: OrderKind) -> Result<Taken, OrderError> {
    rotator.obey(&order(kind), SystemClock.now()).await
}

/// A new intermediate under the active root, whenever.
pub(crate) async fn intermediate(rotator: &mut Rotator) -> Result<Taken, OrderError> {
    let authority = AuthorityKind::X509Intermediate;
    rotator.obey(&Order { authority, ..order(OrderKind::Activate(None)) }, SystemClock.now()).await
}

/// The keys of roots and intermediates, without their hour.
pub(crate) fn outlook(rotator: &Rotator) -> Vec<(KeyId, &'static str, Option<String>)> {
    let Outlook { keys, .. } = rotator.outlook(AuthorityKind::X509Root, SystemClock.now());
    keys.into_iter().map(|key| (key.key_id, key.state.as_str(), key.place)).collect()
}

/// What is said when a new intermediate is wanted, and that nothing comes of it.
pub(crate) async fn refused(rotator: &mut Rotator) -> String {
    let before = outlook(rotator);
    let said = chain(&intermediate(rotator).await.unwrap_err());
    assert_eq!(outlook(rotator), before);
    said
}

/// Whether the newest intermediate stands under its root, by a judge who is not ours.
pub(crate) fn judge(folder: &Path) {
    let keyring = at_rest(folder);
    let newest = keyring.of_kind(AuthorityKind::X509Intermediate).last().unwrap();
    let root = keyring.find(newest.issuer.unwrap()).unwrap().certificate.clone().unwrap();
    let intermediate = newest.certificate.clone().unwrap();
    by_openssl(&root, &intermediate);
}

fn by_openssl(root: &CertificateDer<'_>, intermediate: &CertificateDer<'_>) {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, der: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, lanyard::crypto::PemLabel::Certificate.armour(der).as_bytes()).unwrap();
        path
    };
    let (root, intermediate) = (put("root.pem", root), put("intermediate.pem", intermediate));
    let mut openssl = Command::new("openssl");
    openssl.args(["verify", "-x509_strict", "-check_ss_sig", "-CAfile"]).arg(root).arg(intermediate);
    let said = openssl.output().unwrap();
    assert!(
        said.status.success(),
        "{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
}

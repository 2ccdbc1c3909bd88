//! A real etcd that asks who comes: by a password, by a certificate.
#![expect(clippy::disallowed_methods, reason = "a real etcd needs real time")]

use super::*;
use crate::etcd::Etcd;
use lanyard::clock::Clock;
use lanyard::crypto::install_providers;
use lanyard::store::{Channels, Etcd as Connected, EtcdLogin, EtcdSettings, Replica};
use lanyard::wire::{EtcdMembers, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair as RcgenKey};
use std::time::Instant;

/// Longer than anything here should take on a machine with much else to do.
const LIMIT: Duration = Duration::from_secs(30);

fn open(place: &Place, login: Option<EtcdLogin>, channels: Channels) -> Arc<Replica> {
    let settings = EtcdSettings { prefix: "test/".to_owned(), replica: "a".to_owned(), login };
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&place.clock);
    let etcd = Connected::connect(settings, "1", (channels, Arc::clone(&clock))).unwrap();
    Replica::open(etcd, place.open(), clock).unwrap()
}

async fn writes(replica: &Replica, key: &str) {
    let began = Instant::now();
    loop {
        match replica.commit(commit(vec![], vec![put(key, "1")])).await {
            Ok(Committed::Done(_)) => return,
            Ok(conflict @ Committed::Conflict { .. }) => panic!("{conflict:?}"),
            Err(fault) => assert!(began.elapsed() < LIMIT, "{fault}"),
        }
    }
}

/// From now on it asks for a password.
fn ask_who_comes(etcd: &Etcd) -> EtcdLogin {
    for step in [
        &["user", "add", "root:secret"][..],
        &["user", "grant-role", "root", "root"],
        &["user", "add", "lanyard:word"],
        &["role", "add", "lanyard"],
        &["role", "grant-permission", "--prefix=true", "lanyard", "readwrite", "test/"],
        &["user", "grant-role", "lanyard", "lanyard"],
        &["auth", "enable"],
    ] {
        etcd.ctl(step);
    }
    EtcdLogin { user: "lanyard".to_owned(), password: "word".to_owned().into() }
}

#[tokio::test]
async fn a_token_of_etcd_that_is_good_no_more_is_renewed() {
    let (mut etcd, place) = (Etcd::start(), Place::new(IndexKind::Memory));
    let login = ask_who_comes(&etcd);
    let replica = open(&place, Some(login), etcd.channels());
    writes(&replica, "first").await;
    goes_on(&mut etcd, &replica).await;
    replica.close();
}

/// Whatever becomes of the token: a change of etcd's users makes each old, and a restart forgets those that are not signed.
async fn goes_on(etcd: &mut Etcd, replica: &Replica) {
    etcd.ctl(&["--user", "root:secret", "user", "add", "another:word"]);
    writes(replica, "second").await;
    etcd.restart();
    writes(replica, "third").await;
    let shown = Instant::now();
    while replica.read("third").unwrap().is_none() {
        assert!(shown.elapsed() < LIMIT, "no watch with the new token");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Signed, for any member, and good for so many seconds.
const TOKEN_SECONDS: u64 = 3;

/// etcd's own advice for several members.
#[tokio::test]
async fn a_signed_token_of_etcd_that_has_ended_is_renewed_and_no_write_is_lost() {
    let (folder, place) = (tempfile::tempdir().unwrap(), Place::new(IndexKind::Memory));
    let (public, private) = (folder.path().join("public.pem"), folder.path().join("private.pem"));
    let key = RcgenKey::generate().unwrap();
    std::fs::write(&public, key.public_key_pem()).unwrap();
    std::fs::write(&private, key.serialize_pem()).unwrap();
    let (public, private) = (public.display(), private.display());
    let kind = format!("--auth-token=jwt,pub-key={public},priv-key={private},sign-method=ES256,ttl={TOKEN_SECONDS}s");
    let mut etcd = Etcd::with(&[kind]);
    let login = ask_who_comes(&etcd);
    let replica = open(&place, Some(login), etcd.channels());
    let began = Instant::now();
    for n in 0.. {
        done(replica.commit(commit(vec![absent(&format!("k/{n}"))], vec![put(&format!("k/{n}"), "1")])).await);
        if began.elapsed() > Duration::from_secs(3 * TOKEN_SECONDS) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    goes_on(&mut etcd, &replica).await;
    replica.close();
}

/// A CA, and what it has signed.
struct Authority {
    issuer: Issuer<'static, RcgenKey>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = RcgenKey::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Writes a certificate for loopback and its key.
    fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = RcgenKey::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (chain, key_file) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        std::fs::write(&chain, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        (chain, key_file)
    }
}

#[tokio::test]
async fn a_client_certificate_that_was_renewed_is_shown_at_the_next_connection() {
    install_providers();
    let (folder, place) = (tempfile::tempdir().unwrap(), Place::new(IndexKind::Memory));
    let (of_etcd, of_clients, stranger) = (Authority::new(), Authority::new(), Authority::new());
    let file = |name: &str, pem: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path
    };
    let (ca, clients) = (file("ca.pem", &of_etcd.pem), file("clients.pem", &of_clients.pem));
    let (chain, key) = of_etcd.write(folder.path(), "etcd");
    let shown = of_clients.write(folder.path(), "client");
    let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
    let flags = [flag("cert-file", &chain), flag("key-file", &key), flag("trusted-ca-file", &clients)];
    let mut etcd = Etcd::over_tls(&[flags.as_slice(), &["--client-cert-auth".to_owned()]].concat());
    let tls = TlsFiles::read(Some(ca), Some(shown)).unwrap();
    let replica =
        open(&place, None, EtcdMembers { hosts: vec![("127.0.0.1".to_owned(), etcd.port)], tls: Some(tls) }.channels());
    writes(&replica, "first").await;
    // One that etcd does not believe: it was read again, so nobody comes in.
    stranger.write(folder.path(), "client");
    etcd.restart();
    assert!(replica.commit(commit(vec![], vec![put("second", "1")])).await.is_err(), "the old one was shown");
    of_clients.write(folder.path(), "client");
    writes(&replica, "second").await;
    replica.close();
}

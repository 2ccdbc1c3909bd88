//! Root rotation under traffic: two jobs shake hands all the time, over TLS by rustls, while an operator does what the
//! manual says. Not one handshake fails.

use crate::support::beside::{Beside, Site, TWO_PROFILES, until};
use crate::support::of_bundle::OfBundle;
use lanyard::clock::{Clock, ManualClock};
use lanyard::svid::inspect_certificate;
use lanyard::wire::workload::X509svidResponse;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A test's clock, as TLS asks for it.
#[derive(Debug)]
pub(crate) struct Time(pub(crate) Arc<ManualClock>);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().unix_timestamp()).unwrap();
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// Certificates that stand back to back.
pub(crate) fn certificates(mut der: &[u8]) -> Vec<CertificateDer<'static>> {
    let mut all = Vec::new();
    while !der.is_empty() {
        let (rest, _) = X509Certificate::from_der(der).unwrap();
        all.push(der[..der.len() - rest.len()].to_vec().into());
        der = rest;
    }
    all
}

/// A job's workload: holds what its agent told last.
#[derive(Clone)]
pub(crate) struct Workload(Arc<Mutex<X509svidResponse>>);

impl Workload {
    pub(crate) async fn of(agent: &Beside) -> Self {
        let mut stream = agent.x509_stream().await;
        let held = Self(Arc::new(Mutex::new(stream.message().await.unwrap().unwrap())));
        let told = held.clone();
        tokio::spawn(async move {
            while let Ok(Some(message)) = stream.message().await {
                *told.0.lock().unwrap() = message;
            }
        });
        held
    }

    fn parts(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, Arc<RootCertStore>) {
        let told = self.0.lock().unwrap().clone();
        let svid = told.svids[0].clone();
        let mut roots = RootCertStore::empty();
        for bundle in [&svid.bundle].into_iter().chain(told.federated_bundles.values()) {
            assert_eq!(roots.add_parsable_certificates(certificates(bundle)).1, 0);
        }
        let key = PrivatePkcs8KeyDer::from(svid.x509_svid_key.to_vec());
        (certificates(&svid.x509_svid), key.into(), Arc::new(roots))
    }

    pub(crate) fn roots(&self) -> usize {
        certificates(&self.0.lock().unwrap().svids[0].bundle).len()
    }

    /// How many roots it has of another trust domain.
    pub(crate) fn roots_of(&self, trust_domain: &str) -> usize {
        let told = self.0.lock().unwrap();
        told.federated_bundles.get(&format!("spiffe://{trust_domain}")).map_or(0, |bundle| certificates(bundle).len())
    }

    /// The intermediate that signed its SVID.
    pub(crate) fn signer(&self) -> Vec<u8> {
        certificates(&self.0.lock().unwrap().svids[0].x509_svid)[1].to_vec()
    }

    fn minutes_left(&self, clock: &ManualClock) -> i64 {
        let leaf = certificates(&self.0.lock().unwrap().svids[0].x509_svid).remove(0);
        (inspect_certificate(&leaf).unwrap().not_after - clock.now()).whole_minutes()
    }

    /// A server's side of mutual TLS, as of now.
    pub(crate) fn acceptor(&self, clock: &Arc<ManualClock>) -> TlsAcceptor {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (chain, key, roots) = self.parts();
        let clients = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build().unwrap();
        let server = ServerConfig::builder_with_details(provider, Arc::new(Time(Arc::clone(clock))));
        let server = server.with_safe_default_protocol_versions().unwrap().with_client_cert_verifier(clients);
        TlsAcceptor::from(Arc::new(server.with_single_cert(chain, key).unwrap()))
    }

    /// Mutual TLS, both sides judged by rustls.
    async fn greets(&self, other: &Self, clock: &Arc<ManualClock>) -> std::io::Result<()> {
        let server = other.acceptor(clock);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (chain, key, roots) = self.parts();
        let mesh = Arc::new(OfBundle { roots, provider: Arc::clone(&provider) });
        let client = ClientConfig::builder_with_details(provider, Arc::new(Time(Arc::clone(clock))));
        let client = client.with_safe_default_protocol_versions().unwrap().dangerous();
        let client = client.with_custom_certificate_verifier(mesh).with_client_auth_cert(chain, key).unwrap();
        let (here, there) = tokio::io::duplex(1 << 16);
        let name = ServerName::try_from("any.test").unwrap();
        tokio::try_join!(TlsConnector::from(Arc::new(client)).connect(name, here), server.accept(there)).map(drop)
    }
}

/// Two workloads that greet each other without a pause, each way.
pub(crate) struct Traffic {
    pub(crate) one: Workload,
    pub(crate) other: Workload,
    pub(crate) greetings: Arc<AtomicUsize>,
    pub(crate) failures: Arc<Mutex<Vec<String>>>,
    pub(crate) running: JoinHandle<()>,
}

impl Traffic {
    pub(crate) fn between(one: Workload, other: Workload, clock: Arc<ManualClock>) -> Self {
        let (greetings, failures) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (a, b, done, failed) = (one.clone(), other.clone(), Arc::clone(&greetings), Arc::clone(&failures));
        let running = tokio::spawn(async move {
            loop {
                let greetings = [a.greets(&b, &clock).await, b.greets(&a, &clock).await];
                done.fetch_add(greetings.len(), Ordering::SeqCst);
                let refused = greetings.into_iter().filter_map(Result::err).map(|error| error.to_string());
                failed.lock().unwrap().extend(refused);
                // Bounded load: a few hundred handshakes a second.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        Self { one, other, greetings, failures, running }
    }

    pub(crate) fn both(&self, so: impl Fn(&Workload) -> bool) -> bool {
        so(&self.one) && so(&self.other)
    }

    /// A minute passes, renewals are heard, and both have greeted each other again.
    pub(crate) async fn minute(&self, clock: &ManualClock) {
        self.minutes(clock, 1).await;
    }

    /// The same for a few of them at once; an SVID lives a quarter of an hour.
    pub(crate) async fn minutes(&self, clock: &ManualClock, minutes: u64) {
        clock.advance(Duration::from_secs(60 * minutes));
        until(|| self.both(|workload| workload.minutes_left(clock) >= 3)).await;
        let seen = self.greetings.load(Ordering::SeqCst);
        until(|| self.greetings.load(Ordering::SeqCst) >= seen + 2).await;
    }

    /// Minutes pass until it is so.
    async fn minutes_until(&self, clock: &ManualClock, so: impl Fn(&Workload) -> bool) {
        for _ in 0..20 {
            if self.both(&so) {
                return;
            }
            self.minute(clock).await;
        }
        panic!("still not so");
    }
}

/// Two long jobs, each on an agent of its own, and the traffic between them.
pub(crate) struct Pair {
    pub(crate) traffic: Traffic,
    agents: [Beside; 2],
}

impl Pair {
    /// Jobs that last so many hours.
    pub(crate) async fn at(site: &Site, hours: u64) -> Self {
        let ends_at = (site.clock.now() + Duration::from_secs(hours * 3600)).unix_timestamp();
        let agents = [site.agent(), Beside::start(site.settings_beside("second"), &site.clock)];
        for agent in &agents {
            agent.login(site.issuer.token_with(site.clock.now(), "exp", ends_at)).await.unwrap();
        }
        let [one, other] = [Workload::of(&agents[0]).await, Workload::of(&agents[1]).await];
        Self { traffic: Traffic::between(one, other, Arc::clone(&site.clock)), agents }
    }

    /// So many handshakes at least, and none that failed.
    pub(crate) async fn end(self, greetings: usize) {
        self.traffic.running.abort();
        assert!(self.traffic.greetings.load(Ordering::SeqCst) > greetings);
        assert_eq!(*self.traffic.failures.lock().unwrap(), [""; 0]);
        for agent in self.agents {
            agent.ended().await;
        }
    }
}

pub(crate) async fn lanyard(site: &Site, arguments: &[&str]) -> Result<Value, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanyard"));
    command.arg("authority").args(arguments).arg("--json").env("LANYARD_ADMIN_SOCKET", site.path("admin.sock"));
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap()).ok_or(said)
}

/// Prepared, proven, waited for, activated: as the manual says, without force.
async fn rotate(site: &Site, traffic: &Traffic) {
    lanyard(site, &["prepare"]).await.unwrap();
    until(|| traffic.both(|workload| workload.roots() == 2)).await;
    assert!(lanyard(site, &["activate"]).await.unwrap_err().contains("not_safe_yet"));
    for _ in 0..46 {
        traffic.minute(&site.clock).await;
    }
    lanyard(site, &["activate"]).await.unwrap();
}

/// Shows: FED-2, FED-3, MESH-A6.
#[tokio::test(flavor = "multi_thread")]
async fn no_handshake_fails_while_a_root_is_changed_changed_back_tainted_and_revoked() {
    let site = Site::open(TWO_PROFILES).await;
    // An hour is shorter than a rotation.
    let pair = Pair::at(&site, 5).await;
    let traffic = &pair.traffic;
    let before = traffic.one.signer();

    rotate(&site, traffic).await;
    traffic.minutes_until(&site.clock, |workload| workload.signer() != before).await;
    let changed = traffic.one.signer();
    let new = lanyard(&site, &["rollback"]).await.unwrap()["key_id"].clone();
    traffic.minutes_until(&site.clock, |workload| workload.signer() != changed).await;
    let listed = lanyard(&site, &["list"]).await.unwrap();
    let left =
        listed["keys"].as_array().unwrap().iter().find(|key| key["state"] == "old" && key["kind"] == "x509-root");
    let left = left.unwrap()["key_id"].as_str().unwrap().to_owned();
    assert_ne!(new, left);
    lanyard(&site, &["taint", "--no-wait", &left]).await.unwrap();
    lanyard(&site, &["revoke", &left]).await.unwrap();
    until(|| traffic.both(|workload| workload.roots() == 1)).await;

    // Once more; now everybody is moved off the old root at once, so that it can go.
    rotate(&site, traffic).await;
    let old = traffic.one.signer();
    lanyard(&site, &["taint", "--no-wait", new.as_str().unwrap()]).await.unwrap();
    assert!(lanyard(&site, &["revoke", new.as_str().unwrap()]).await.unwrap_err().contains("authority_in_use"));
    traffic.minutes_until(&site.clock, |workload| workload.signer() != old).await;
    lanyard(&site, &["revoke", new.as_str().unwrap()]).await.unwrap();
    until(|| traffic.both(|workload| workload.roots() == 1)).await;
    traffic.minute(&site.clock).await;

    pair.end(200).await;
}

//! Many streams through many renewals: every message verifies by itself, and nothing of former states stays in memory.
//!
//! `LANYARD_RENEWALS=1000 LANYARD_STREAMS=50 cargo test --release --test workload many_streams -- --nocapture`

use crate::rotation::certificates;
use crate::sds::{Proxy, for_names, secrets, taken};
use crate::stand_in::{ID, StandIn};
use crate::support::alone::{anonymous_kib, runs_alone};
use crate::support::beside::{Beside, channel, within};
use crate::support::of_bundle::OfBundle;
use lanyard::clock::{Clock, ManualClock};
use lanyard::crypto::KeyPair;
use lanyard::svid::inspect_certificate;
use lanyard::wire::sds::secret::Type;
use lanyard::wire::sds::{DataSource, DiscoveryResponse, SpiffeCertValidatorConfig};
use lanyard::wire::workload::X509svidResponse;
use prost::Message as _;
use rustls::RootCertStore;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

const NAME: &str = "many_streams::many_streams_hold_through_many_renewals_and_leave_no_memory_behind";
/// What a proxy asks for at once.
const NAMES: [&str; 2] = ["default", "ROOTCA"];
/// Past two thirds of a quarter of an hour, and minutes before it is over.
const A_RENEWAL: Duration = Duration::from_secs(11 * 60);
/// Each so many renewals the roots change too.
const ROOTS_CHANGE: usize = 10;
/// What the allocator may do differently. Were one state a renewal kept, or one message a stream, it would be more.
const SLACK_KIB: u64 = 1024;

/// What a workload needs, as any one message tells it.
#[derive(Clone, Eq, PartialEq)]
struct Told {
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
    roots: Vec<CertificateDer<'static>>,
}

impl Told {
    fn by_workload_api(message: &X509svidResponse) -> Self {
        let [svid] = &message.svids[..] else { panic!("{} SVIDs", message.svids.len()) };
        let [chain, roots] = [&svid.x509_svid, &svid.bundle].map(|der| certificates(der));
        Self { chain, key: svid.x509_svid_key.to_vec(), roots }
    }

    fn by_sds(response: &DiscoveryResponse) -> Self {
        let inline = |source: Option<DataSource>| source.unwrap().inline_bytes;
        let pem = |text: &[u8]| CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>().unwrap();
        let [roots, svid] = secrets(response).try_into().unwrap();
        let (Some(Type::TlsCertificate(svid)), Some(Type::ValidationContext(roots))) = (svid.r#type, roots.r#type)
        else {
            panic!("other secrets than were asked for")
        };
        let validator = roots.custom_validator_config.unwrap().typed_config.unwrap();
        let validator = SpiffeCertValidatorConfig::decode(validator.value.as_slice()).unwrap();
        let [domain] = validator.trust_domains.try_into().unwrap();
        let key = PrivatePkcs8KeyDer::from_pem_slice(&inline(svid.private_key)).unwrap();
        Self {
            chain: pem(&inline(svid.certificate_chain)),
            key: key.secret_pkcs8_der().to_vec(),
            roots: pem(&inline(domain.trust_bundle)),
        }
    }

    fn verify(&self, clock: &ManualClock) {
        let [leaf, intermediates @ ..] = &self.chain[..] else { panic!("no chain") };
        let mut roots = RootCertStore::empty();
        assert_eq!(roots.add_parsable_certificates(self.roots.iter().cloned()).1, 0);
        let of_bundle = OfBundle { roots: Arc::new(roots), provider: Arc::new(aws_lc_rs::default_provider()) };
        let now = UnixTime::since_unix_epoch(Duration::from_secs(clock.now().unix_timestamp().try_into().unwrap()));
        let any = ServerName::try_from("any.test").unwrap();
        of_bundle.verify_server_cert(leaf, intermediates, &any, &[], now).unwrap();
        let leaf = inspect_certificate(leaf).unwrap();
        assert_eq!(leaf.spiffe_id.as_str(), ID);
        let key = KeyPair::from_pkcs8(Zeroizing::new(self.key.clone())).unwrap();
        assert_eq!(key.public().id(), leaf.key_id, "the key is this leaf's");
    }
}

/// Verifies what it has not verified yet: streams are told the same.
struct Judge {
    clock: Arc<ManualClock>,
    verified: Mutex<Option<Told>>,
}

impl Judge {
    /// The serial number of what holds.
    fn hear(&self, told: Told) -> Vec<u8> {
        let serial = inspect_certificate(&told.chain[0]).unwrap().serial.to_string().into_bytes();
        let mut verified = self.verified.lock().unwrap();
        if verified.as_ref() != Some(&told) {
            told.verify(&self.clock);
            *verified = Some(told);
        }
        drop(verified);
        serial
    }
}

/// What a stream was told: which it is, and the serial number.
type Heard = (usize, Vec<u8>);

/// All streams, each in a task and with a connection of its own.
struct Crowd {
    heard: mpsc::UnboundedReceiver<Heard>,
    latest: Vec<Vec<u8>>,
}

impl Crowd {
    async fn gather(agent: &Beside, clock: &Arc<ManualClock>, streams: usize) -> Self {
        let judge = Arc::new(Judge { clock: Arc::clone(clock), verified: Mutex::default() });
        let (tell, heard) = mpsc::unbounded_channel();
        for place in 0..streams {
            tokio::spawn(workload(agent.x509_stream().await, (2 * place, tell.clone()), Arc::clone(&judge)));
            let proxy = Proxy::over(channel(&agent.socket), for_names(&NAMES)).await;
            tokio::spawn(watch(proxy, (2 * place + 1, tell.clone()), Arc::clone(&judge)));
        }
        Self { heard, latest: vec![Vec::new(); 2 * streams] }
    }

    /// Waits until all have been told of one SVID that is another than before.
    async fn all_hear_of_another(&mut self) {
        let before = self.latest[0].clone();
        while self.latest[0] == before || self.latest.iter().any(|serial| serial != &self.latest[0]) {
            let (place, serial) = within(self.heard.recv()).await.unwrap();
            self.latest[place] = serial;
        }
    }
}

async fn workload(
    mut stream: tonic::Streaming<X509svidResponse>,
    (place, tell): (usize, mpsc::UnboundedSender<Heard>),
    judge: Arc<Judge>,
) {
    while let Ok(Some(message)) = stream.message().await {
        let serial = judge.hear(Told::by_workload_api(&message));
        tell.send((place, serial)).unwrap();
    }
}

async fn watch(mut proxy: Proxy, (place, tell): (usize, mpsc::UnboundedSender<Heard>), judge: Arc<Judge>) {
    let mut version = 0;
    while let Ok(response) = proxy.heard().await {
        let next: u64 = response.version_info.parse().unwrap();
        assert!(next > version, "version {next} after {version}");
        version = next;
        proxy.send(taken(&response, &NAMES)).await;
        let serial = judge.hear(Told::by_sds(&response));
        tell.send((place, serial)).unwrap();
    }
}

fn number(variable: &str, usually: usize) -> usize {
    std::env::var(variable).map_or(usually, |text| text.parse().unwrap())
}

/// Shows: MESH-C9.
#[test]
fn many_streams_hold_through_many_renewals_and_leave_no_memory_behind() {
    if !runs_alone(NAME) {
        return;
    }
    let (renewals, streams) = (number("LANYARD_RENEWALS", 200), number("LANYARD_STREAMS", 10));
    let [first, second] = tokio::runtime::Runtime::new().unwrap().block_on(renew_and_listen(renewals, streams));
    println!(
        "{renewals} renewals, 2 x {streams} streams: {first} KiB at most in the first half, {second} in the second"
    );
    assert!(second <= first + SLACK_KIB, "{first} KiB in the first half, {second} in the second");
}

/// What it took at most, in either half.
async fn renew_and_listen(renewals: usize, streams: usize) -> [u64; 2] {
    let server = StandIn::start().await;
    let agent = server.agent().await;
    let mut crowd = Crowd::gather(&agent, &server.clock, streams).await;
    crowd.all_hear_of_another().await;
    let mut most = [0; 2];
    for renewal in 0..renewals {
        if renewal % ROOTS_CHANGE == 0 {
            let another = server.root(&format!("another {renewal}"));
            server.change(|bundle| {
                bundle.x509_authorities.truncate(1);
                bundle.x509_authorities.push(another);
            });
        }
        server.clock.advance(A_RENEWAL);
        crowd.all_hear_of_another().await;
        let half = &mut most[usize::from(renewal >= renewals / 2)];
        *half = anonymous_kib("self").max(*half);
    }
    agent.ended().await;
    most
}

//! What a thief can do who has more than a token: an SVID with its key, or our signing key itself. Renewal asks for the
//! session's key and for nothing else, so that no chain, however good, is worth anything there.

use super::doors::{Doors, exchange};
use crate::support::harness::{csr, csr_for};
use lanyard::authority::{AuthorityKind, KeyringFile, SealingSettings};
use lanyard::clock::{Clock, SystemClock};
use lanyard::crypto::{KeyAlgorithm, KeyPair, PemLabel, Random};
use lanyard::custody::Places;
use lanyard::identity::{SpiffeId, TrustDomain};
use lanyard::store::JournalReader;
use lanyard::svid::{BuildClaims, LeafFields, Serial, Subject};
use lanyard::wire::lanyard::{EndSessionRequest, ExchangeRequest, RenewRequest};
use prost::Message;
use rcgen::CertificateParams;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

fn p256() -> KeyPair {
    KeyPair::generate(KeyAlgorithm::EcP256).unwrap()
}

/// Calls the server by curl with this client certificate: the code of its no, or `ok`.
async fn call(doors: &Doors, method: &str, message: &impl Message, (chain, key): (&[Vec<u8>], &KeyPair)) -> String {
    let place = |name: &str| doors.folder.path().join(name);
    let chain: Vec<_> = chain.iter().map(|der| PemLabel::Certificate.armour(der).to_string()).collect();
    fs::write(place("client.pem"), chain.concat()).unwrap();
    fs::write(place("client_key.pem"), PemLabel::PrivateKey.armour(key.pkcs8_der()).as_bytes()).unwrap();
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    fs::write(place("frame"), [&[0], &length[..], &message].concat()).unwrap();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--http2", "--noproxy", "*", "--max-time", "8", "--dump-header", "-"]);
    curl.args(["--header", "content-type: application/grpc", "--header", "te: trailers", "--output", "/dev/null"]);
    curl.arg("--cacert").arg(place("data/door-ca.pem")).arg("--cert").arg(place("client.pem"));
    curl.arg("--key").arg(place("client_key.pem")).arg("--data-binary").arg(format!("@{}", place("frame").display()));
    let output = curl.arg(format!("{}/lanyard.v1.Issuer/{method}", doors.url)).output().await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let header =
        |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
    header("lanyard-code: ").unwrap_or_else(|| header("grpc-status: ").map_or("?".to_owned(), |_| "ok".to_owned()))
}

/// The noes in the journal of a server that has stopped.
fn refused(data: &Path) -> Vec<Value> {
    let records = JournalReader::open(data).unwrap().map(|record| record.unwrap());
    let entries = records.map(|record| serde_json::from_str::<Value>(record.entry.get()).unwrap());
    entries.filter(|entry| entry["kind"] == "refused").collect()
}

#[tokio::test]
async fn a_chain_is_worth_nothing_where_a_session_is_renewed_be_it_stolen_or_forged_by_our_own_key() {
    let doors = Doors::open().await;
    let (session_key, svid_key) = (p256(), p256());
    let asked = ExchangeRequest { csr: csr_for(&svid_key).into(), ..exchange(doors.token()) };
    let svid = doors.agent(Some(&session_key)).exchange(asked).await.unwrap().into_inner();
    let stolen: Vec<_> = svid.certificate_chain.iter().map(|der| der.to_vec()).collect();

    // The whole data folder in a stranger's hands: a leaf by the intermediate itself, for the very same identity.
    let data = doors.folder.path().join("data");
    let sealing = SealingSettings::at(data.join("sealing.key")).open(&Places::default()).await.unwrap();
    let keyring = KeyringFile::new(data.join("keyring.json"), sealing);
    let keyring = keyring.load(&TrustDomain::parse("ci.example.org").unwrap()).unwrap().unwrap();
    let intermediate = keyring.active(AuthorityKind::X509Intermediate).unwrap();
    let (forger, now) = (p256(), SystemClock.now().replace_nanosecond(0).unwrap());
    let fields = LeafFields {
        spiffe_id: SpiffeId::parse(&svid.spiffe_id).unwrap(),
        dns: None,
        key: forger.public().clone(),
        serial: Serial::random(&Random::system()),
        subject: Subject::Organization,
        build_claims: BuildClaims::default(),
        not_before: now,
        not_after: now + Duration::from_secs(900),
    };
    let certificate = intermediate.certificate.clone().unwrap();
    let leaf = fields.sign(&certificate, intermediate.held_key().unwrap().as_ref()).unwrap();
    let by_our_key = [leaf.to_vec(), certificate.to_vec()];

    let renew = RenewRequest { session: svid.session.clone(), csr: csr().into(), ..RenewRequest::default() };
    let end = EndSessionRequest { session: svid.session, ..EndSessionRequest::default() };
    for thief in [(&stolen[..], &svid_key), (&by_our_key[..], &forger)] {
        assert_eq!(call(&doors, "Renew", &renew, thief).await, "session_not_yours");
        assert_eq!(call(&doors, "EndSession", &end, thief).await, "session_not_yours");
    }
    // The job's own key, with a certificate of no chain at all.
    let own = [CertificateParams::default().self_signed(&session_key).unwrap().der().to_vec()];
    let owner = (&own[..], &session_key);
    assert_eq!(call(&doors, "Renew", &renew, owner).await, "ok");
    assert_eq!(call(&doors, "EndSession", &end, owner).await, "ok");
    assert_eq!(call(&doors, "Renew", &renew, owner).await, "session_ended");
    let Doors { folder, stop, running, .. } = doors;
    stop.pull();
    running.join_all().await;
    let told = refused(&folder.path().join("data"));
    let job = &told.first().unwrap()["job"]["project_path"];
    assert_eq!(job, "acme/payments/api", "whose session it is");
    let codes: Vec<_> = told.iter().map(|entry| entry["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["session_not_yours", "session_ended"], "one of each, however often it was said");
}

//! What stands on revocation lists: the SVIDs of who ended before its time, and nobody else's.

use crate::doors::{Doors, exchange};
use crate::support::harness::{Agent, Harness, POLICY, chain};
use lanyard::authority::{AuthorityKind, Crls, Leeway, Order, OrderKind};
use lanyard::crypto::{KeyAlgorithm, KeyPair, PemLabel};
use lanyard::issuance::IssuedSvid;
use lanyard::session::{EndReason, Revocation, Selector};
use lanyard::wire::lanyard::EndSessionRequest;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use x509_parser::prelude::{
    CertificateRevocationList, FromDer as _, ParsedExtension, RevokedCertificate, X509Certificate, X509Extension,
};

const CRL: &str = "[crl]";

async fn harness(store: &'static str) -> Harness {
    Harness::whose_issuer_says(CRL, POLICY, store).await
}

/// The set that is made now.
async fn made(harness: &mut Harness) -> Arc<Crls> {
    let now = harness.now();
    let keeper = harness.parts.crls.as_mut().unwrap();
    keeper.turn(now).await.unwrap();
    keeper.watch().borrow().clone().unwrap()
}

fn serial(der: &[u8]) -> String {
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    hex(certificate.raw_serial())
}

fn hex(bytes: &[u8]) -> String {
    format!("{bytes:02x?}").replace(['[', ',', ' ', ']'], "")
}

fn serial_of(issued: &IssuedSvid) -> String {
    serial(chain(issued).first().unwrap())
}

/// All serial numbers of a set.
fn listed(set: &Arc<Crls>) -> BTreeSet<String> {
    set.lists.values().flat_map(|list| entries(list).into_iter().map(|(serial, _)| serial)).collect()
}

/// Serial numbers and reasons of a list.
fn entries(list: &[u8]) -> Vec<(String, Option<u8>)> {
    let (_, list) = CertificateRevocationList::from_der(list).unwrap();
    list.iter_revoked_certificates()
        .map(|one| (hex(one.raw_serial()), one.reason_code().map(|(_, reason)| reason.0)))
        .collect()
}

async fn revoke(harness: &Harness, session: &str) {
    let listed = harness.issuance().sessions.select(None, harness.now());
    let one = listed.sessions.iter().find(|one| one.id.to_string() == session).unwrap();
    let selector: Selector = serde_json::from_value(serde_json::json!({ "job": one.job.job_id })).unwrap();
    let wish = Revocation { selector: &selector, uid: 7, reason: "a test" };
    harness.issuance().revoke(&wish).await.unwrap();
}

/// What openssl says of a chain: nothing if it holds.
fn openssl(harness: &Harness, issued: &IssuedSvid, crls: &[u8]) -> String {
    let folder = harness.folder.path();
    let pem = |ders: &[&[u8]]| ders.iter().map(|der| PemLabel::Certificate.armour(der).to_string()).collect::<String>();
    let chain = chain(issued);
    let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    let bundle = harness.issuance().authorities.published().borrow().pem.clone();
    for (name, text) in [("chain.pem", pem(&chain)), ("roots.pem", bundle)] {
        fs::write(folder.join(name), text).unwrap();
    }
    fs::write(folder.join("crls.pem"), crls).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.current_dir(folder).args(["verify", "-no-CAfile", "-no-CApath", "-no-CAstore", "-x509_strict"]);
    openssl.args(["-crl_check_all", "-CRLfile", "crls.pem", "-attime", &harness.now().unix_timestamp().to_string()]);
    let ran = openssl.args(["-CAfile", "roots.pem", "-untrusted", "chain.pem", "chain.pem"]).output().unwrap();
    if ran.status.success() { String::new() } else { String::from_utf8(ran.stderr).unwrap() }
}

#[tokio::test]
async fn the_svids_of_an_ended_session_are_refused_and_all_others_hold() {
    let mut harness = harness("memory").await;
    let (ended, lives) = (Agent::new(), Agent::new());
    let first = harness.exchange(&harness.issuer.token(harness.now()), &ended).await.unwrap();
    let other = harness.exchange(&harness.issuer.token(harness.now()), &lives).await.unwrap();
    harness.advance(60);
    let second = harness.renew(first.session().unwrap(), &ended).await.unwrap();
    let before = made(&mut harness).await;
    for svid in [&first, &second, &other] {
        assert_eq!(openssl(&harness, svid, &before.pem), "");
    }
    revoke(&harness, first.session().unwrap()).await;
    harness.advance(1);
    let after = made(&mut harness).await;
    assert!(after.number > before.number);
    assert_eq!(after.revoked, 2);
    for svid in [&first, &second] {
        assert!(openssl(&harness, svid, &after.pem).contains("certificate revoked"));
        assert_eq!(openssl(&harness, svid, &before.pem), "", "an older set does not know it");
    }
    assert_eq!(openssl(&harness, &other, &after.pem), "");
    // Without the root's list nobody passes, so there is no set without it.
    let intermediate = after.lists.values().find(|list| !entries(list).is_empty()).unwrap();
    let without_root = PemLabel::Crl.armour(intermediate);
    assert!(openssl(&harness, &other, without_root.as_bytes()).contains("unable to get certificate CRL"));
    assert_eq!(after.lists.len(), 2);
    harness.advance(86_400);
    assert!(openssl(&harness, &other, &after.pem).contains("CRL has expired"));
}

/// The key identifier in an extension, the authority's of a list or the subject's of a certificate.
fn key_identifier(extension: &X509Extension<'_>) -> Option<String> {
    if let ParsedExtension::AuthorityKeyIdentifier(id) = extension.parsed_extension() {
        return id.key_identifier.as_ref().map(|id| hex(id.0));
    }
    let ParsedExtension::SubjectKeyIdentifier(id) = extension.parsed_extension() else { return None };
    Some(hex(id.0))
}

#[tokio::test]
async fn a_list_is_of_the_second_version_with_its_authority_s_key_and_a_number() {
    let mut harness = harness("memory").await;
    let set = made(&mut harness).await;
    for (name, list) in &set.lists {
        let (behind, list) = CertificateRevocationList::from_der(list).unwrap();
        assert!(behind.is_empty());
        assert_eq!(list.version().unwrap().0, 1);
        assert_eq!(list.crl_number().unwrap(), &set.number.into());
        assert_eq!(list.last_update().timestamp(), harness.now().unix_timestamp() - 10);
        assert_eq!(list.next_update().unwrap().timestamp(), harness.now().unix_timestamp() + 86_400);
        assert_eq!(list.extensions().iter().find_map(key_identifier), Some(name.clone()));
        assert!(list.extensions().iter().all(|extension| !extension.critical), "plain: every consumer reads it");
    }
}

#[tokio::test]
async fn an_end_says_why_where_it_is_somebody_s_fault() {
    let mut harness = Harness::whose_issuer_says("on_replay = \"end\"\n[crl]", POLICY, "memory").await;
    let agents = [Agent::new(), Agent::new(), Agent::new()];
    let tokens: Vec<String> = agents.iter().map(|_| harness.issuer.token(harness.now())).collect();
    let mut issued = Vec::new();
    for (token, agent) in tokens.iter().zip(&agents) {
        issued.push(harness.exchange(token, agent).await.unwrap());
    }
    let session = issued[0].session().unwrap().parse().unwrap();
    harness.issuance().end(EndReason::Logout, &session, agents[0].public().id()).await.unwrap();
    revoke(&harness, issued[1].session().unwrap()).await;
    harness.exchange(&tokens[2], &Agent::new()).await.unwrap_err();
    let set = made(&mut harness).await;
    let all: Vec<_> = set.lists.values().flat_map(|list| entries(list)).collect();
    for (svid, reason) in issued.iter().zip([None, Some(9), Some(1)]) {
        assert!(all.contains(&(serial_of(svid), reason)), "{reason:?} in {all:?}");
    }
}

#[tokio::test]
async fn a_restart_and_a_lost_index_forget_no_end() {
    for store in ["memory", "sled"] {
        let mut harness = harness(store).await;
        let (ended, lives) = (Agent::new(), Agent::new());
        let gone = harness.exchange(&harness.issuer.token(harness.now()), &ended).await.unwrap();
        let later = harness.exchange(&harness.issuer.token(harness.now()), &lives).await.unwrap();
        harness.advance(60);
        revoke(&harness, gone.session().unwrap()).await;
        let before = made(&mut harness).await;
        harness.advance(60);
        let mut harness = harness.restarted_without_index().await;
        let after = made(&mut harness).await;
        assert!(after.number > before.number, "{store}");
        assert_eq!(listed(&after), [serial_of(&gone)].into(), "{store}");
        assert!(after.lists.values().flat_map(|list| entries(list)).all(|(_, reason)| reason == Some(9)));
        // What was given before the start is known when its session ends after it.
        revoke(&harness, later.session().unwrap()).await;
        assert_eq!(listed(&made(&mut harness).await), [serial_of(&gone), serial_of(&later)].into(), "{store}");
        // Nobody needs what has ended by itself.
        harness.advance(1000);
        made(&mut harness).await;
        harness.advance(1);
        assert!(listed(&made(&mut harness).await).is_empty(), "{store}");
    }
}

/// A strict reader of lists refuses what it has no list for.
#[tokio::test]
async fn no_intermediate_signs_before_its_list_is_out_for_as_long_as_readers_take() {
    let mut harness = harness("memory").await;
    made(&mut harness).await;
    let first = harness.issuance().authorities.signer_ends_at();
    harness.advance(11 * 3600 + 15 * 60);
    for (passes, lists, is_next) in [(0, 2, false), (3600, 3, false), (44 * 60, 3, false), (60, 3, true)] {
        harness.advance(passes);
        let now = harness.now();
        harness.parts.rotator.turn(now).await.unwrap();
        assert_eq!(harness.issuance().authorities.signer_ends_at() > first, is_next, "{passes}");
        if passes > 0 {
            assert_eq!(made(&mut harness).await.lists.len(), lists);
        }
    }
    let strict = harness.parts.crls.as_ref().unwrap().watch().borrow().clone().unwrap();
    let issued = harness.exchange(&harness.issuer.token(harness.now()), &Agent::new()).await.unwrap();
    assert_eq!(openssl(&harness, &issued, &strict.pem), "");
}

#[tokio::test]
async fn what_an_old_intermediate_signed_stands_on_its_own_list() {
    let mut harness = harness("memory").await;
    harness.advance(11 * 3600 + 15 * 60);
    let now = harness.now();
    harness.parts.rotator.turn(now).await.unwrap();
    assert_eq!(made(&mut harness).await.lists.len(), 3, "that of the next one is out before it signs");
    harness.advance(44 * 60);
    let agent = Agent::new();
    let issued = harness.exchange(&harness.issuer.token(harness.now()), &agent).await.unwrap();
    harness.advance(120);
    let now = harness.now();
    harness.parts.rotator.turn(now).await.unwrap();
    let renewed = harness.renew(issued.session().unwrap(), &agent).await.unwrap();
    assert_ne!(chain(&issued)[1], chain(&renewed)[1], "another signer");
    revoke(&harness, issued.session().unwrap()).await;
    let set = made(&mut harness).await;
    for svid in [&issued, &renewed] {
        assert!(openssl(&harness, svid, &set.pem).contains("certificate revoked"));
    }
    let each: Vec<usize> = set.lists.values().map(|list| entries(list).len()).filter(|count| *count > 0).collect();
    assert_eq!(each, [1, 1]);
}

/// The serial numbers and dates of those that are taken back for their key's sake.
fn compromised(set: &Arc<Crls>) -> Vec<(String, i64)> {
    let of = |list: &[u8]| {
        let (_, list) = CertificateRevocationList::from_der(list).unwrap();
        let of_a_ca = |one: &&RevokedCertificate<'_>| one.reason_code().is_some_and(|(_, reason)| reason.0 == 2);
        let all = list.iter_revoked_certificates().filter(of_a_ca);
        all.map(|one| (hex(one.raw_serial()), one.revocation_date.timestamp())).collect::<Vec<_>>()
    };
    set.lists.values().flat_map(|list| of(list)).collect()
}

#[tokio::test]
async fn a_tainted_intermediate_is_listed_once_no_live_identity_is_on_it_and_since_it_was_tainted() {
    let mut harness = harness("memory").await;
    let agent = Agent::new();
    let issued = harness.exchange(&harness.issuer.token(harness.now()), &agent).await.unwrap();
    let (authority, say) = (AuthorityKind::X509Root, None);
    let mut order = Order { kind: OrderKind::Prepare, authority, leeway: Leeway::Force, uid: 0, say };
    let now = harness.now();
    let rotator = &mut harness.parts.rotator;
    let old = rotator.outlook(authority, now).keys.first().unwrap().key_id;
    for kind in [OrderKind::Prepare, OrderKind::Activate(None), OrderKind::Taint(old)] {
        order.kind = kind;
        rotator.obey(&order, now).await.unwrap();
    }
    let before = made(&mut harness).await;
    assert_eq!((compromised(&before), openssl(&harness, &issued, &before.pem)), (Vec::new(), String::new()));
    harness.advance(30);
    let renewed = harness.renew(issued.session().unwrap(), &agent).await.unwrap();
    let after = made(&mut harness).await;
    assert_eq!(compromised(&after), [(serial(&chain(&issued)[1]), now.unix_timestamp())]);
    assert!(openssl(&harness, &issued, &after.pem).contains("certificate revoked"));
    assert_eq!(openssl(&harness, &renewed, &after.pem), "");
}

#[tokio::test]
async fn a_young_segment_that_is_missing_keeps_the_lists_back_until_what_it_gave_has_ended() {
    let harness = harness("sled").await.of_short_segments().await;
    for _ in 0..12 {
        harness.exchange(&harness.issuer.token(harness.now()), &Agent::new()).await.unwrap();
        harness.advance(5);
    }
    let segments = harness.segments();
    assert!(segments.len() > 3);
    let mut harness = harness.restarted(None).await;
    fs::remove_file(&segments[1]).unwrap();
    let now = harness.now();
    let keeper = harness.parts.crls.as_mut().unwrap();
    let due_at = keeper.turn(now).await.unwrap();
    assert!(keeper.watch().borrow().is_none());
    assert_eq!(due_at, now + std::time::Duration::from_secs(900));
    harness.advance(900);
    assert_eq!(made(&mut harness).await.revoked, 0);
}

/// What stands on a list is what a session was given, so nobody may ask without end.
#[tokio::test]
async fn a_session_is_given_no_more_svids_than_a_list_can_bear() {
    let (mut harness, agent) = (harness("memory").await, Agent::new());
    let issued = harness.exchange(&harness.issuer.token(harness.now()), &agent).await.unwrap();
    let session = issued.session().unwrap();
    for _ in 1..256 {
        harness.renew(session, &agent).await.unwrap();
    }
    assert_eq!(harness.renew(session, &agent).await.unwrap_err().code(), "too_many_svids");
    harness.advance(900);
    let last = harness.renew(session, &agent).await.unwrap();
    revoke(&harness, session).await;
    assert!(listed(&made(&mut harness).await).contains(&serial_of(&last)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// Over any history: whoever ended early and could still be believed is on the list, and nobody who lives.
    #[test]
    fn whoever_ended_is_listed_and_nobody_who_lives(steps in proptest::collection::vec((0_u8..6, 0_usize..8), 1..40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(history(&steps));
    }
}

struct Session {
    agent: Agent,
    name: String,
    svids: Vec<(String, i64)>,
}

async fn history(steps: &[(u8, usize)]) {
    let mut harness = harness("memory").await;
    let mut lives: Vec<Session> = Vec::new();
    let mut ended: Vec<(String, i64)> = Vec::new();
    let told = |issued: &IssuedSvid| (serial_of(issued), issued.not_after().unix_timestamp());
    for (step, which) in steps {
        let chosen = which.checked_rem(lives.len());
        match (step, chosen) {
            (0 | 1, _) => {
                let (agent, token) = (Agent::new(), harness.issuer.token(harness.now()));
                let issued = harness.exchange(&token, &agent).await.unwrap();
                lives.push(Session { agent, name: issued.session().unwrap().to_owned(), svids: vec![told(&issued)] });
            }
            (2, Some(chosen)) => {
                let Some(one) = lives.get_mut(chosen) else { continue };
                if let Ok(issued) = harness.renew(&one.name, &one.agent).await {
                    one.svids.push(told(&issued));
                }
            }
            (3, Some(chosen)) => {
                let one = lives.swap_remove(chosen);
                let (id, key) = (one.name.parse().unwrap(), one.agent.public().id());
                if harness.issuance().end(EndReason::Logout, &id, key).await.is_ok() {
                    ended.extend(one.svids);
                }
            }
            (4, _) => harness = harness.restarted(None).await,
            _ => harness.advance(u64::try_from(*which).unwrap() * 97),
        }
        let now = harness.now().unix_timestamp();
        let set = listed(&made(&mut harness).await);
        for (serial, ends_at) in &ended {
            assert!(*ends_at <= now || set.contains(serial), "an end is missing");
        }
        for (serial, _) in lives.iter().flat_map(|one| &one.svids) {
            assert!(!set.contains(serial), "somebody lives");
        }
    }
}

/// As `curl -i` tells it: the header lines and the body.
async fn curl(doors: &Doors, path: &str, arguments: &[&str]) -> (String, Vec<u8>) {
    let mut curl = tokio::process::Command::new("curl");
    curl.args(["--silent", "--show-error", "--include", "--noproxy", "*", "--max-time", "8", "--cacert"]);
    curl.arg(doors.folder.path().join("data/door-ca.pem")).args(arguments);
    let ran = curl.arg(format!("https://{}{path}", doors.bundle)).output().await.unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let head = ran.stdout.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let (head, body) = ran.stdout.split_at(head);
    (String::from_utf8(head.to_vec()).unwrap().to_lowercase(), body.iter().skip(4).copied().collect())
}

/// Asks until it is so; the test's own limit is the end of it.
async fn until<T, F: Future<Output = Option<T>>>(ask: impl Fn() -> F) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), asked).await.unwrap()
}

/// Shows: FED-1, FED-12.
#[tokio::test]
async fn anybody_reads_the_bundle_and_the_lists_at_the_bundle_port_soon_after_an_end() {
    let doors = Doors::whose_issuer_says(CRL, POLICY).await;
    let (head, bundle) = curl(&doors, "/", &["--tlsv1.2", "--tls-max", "1.2"]).await;
    assert!(head.contains(" 200") && head.contains("content-type: application/json"), "{head}");
    assert!(String::from_utf8(bundle).unwrap().contains("x509-svid"));
    let is_there = async || {
        let (head, pem) = curl(&doors, "/crl", &[]).await;
        head.contains(" 200").then(|| (head, String::from_utf8(pem).unwrap()))
    };
    let (head, before) = until(is_there).await;
    assert!(head.contains("cache-control: no-cache"), "{head}");
    let etag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().trim().to_owned();
    let (head, _) = curl(&doors, "/crl", &["--header", &format!("If-None-Match: {etag}")]).await;
    assert!(head.contains(" 304"), "{head}");

    let key = KeyPair::generate(KeyAlgorithm::EcP256).unwrap();
    let mut agent = doors.agent(Some(&key));
    let answer = agent.exchange(exchange(doors.token())).await.unwrap().into_inner();
    agent.end_session(EndSessionRequest { session: answer.session, ..EndSessionRequest::default() }).await.unwrap();
    let serial = serial(answer.certificate_chain.first().unwrap());
    let (_, leaf) = X509Certificate::from_der(answer.certificate_chain.first().unwrap()).unwrap();
    // As openssl writes it.
    let authority = leaf.iter_extensions().find_map(key_identifier).unwrap().to_uppercase();
    let authority: Vec<&str> = authority.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap()).collect();
    let authority = authority.join(":");
    let path = format!("/crl/{authority}");
    let list = until(async || {
        let (head, list) = curl(&doors, &path, &[]).await;
        assert!(head.contains("content-type: application/pkix-crl"), "{head}");
        entries(&list).contains(&(serial.clone(), None)).then_some(list)
    })
    .await;
    assert!(CertificateRevocationList::from_der(&list).unwrap().0.is_empty());
    assert_ne!(curl(&doors, "/crl", &[]).await.1, before.into_bytes());
    for (path, words, status) in [
        ("/crl/00", &[][..], " 404"),
        ("/v1/svid/x509", &[], " 404"),
        ("/crl", &["--request", "POST"], " 405"),
        ("/crl", &["--head"], " 200"),
        ("/", &["--request", "POST"], " 405"),
        ("/", &["--head"], " 200"),
    ] {
        assert!(curl(&doors, path, words).await.0.contains(status), "{path}");
    }
    doors.close().await;
}

#[tokio::test]
async fn a_server_that_makes_no_lists_says_how_it_would() {
    let doors = Doors::open().await;
    let (head, problem) = curl(&doors, "/crl", &[]).await;
    let problem: serde_json::Value = serde_json::from_slice(&problem).unwrap();
    assert!(head.contains(" 404"), "{head}");
    assert_eq!(problem["code"], "crl_off");
    assert!(problem["detail"].as_str().unwrap().contains("[crl]"));
    doors.close().await;
}

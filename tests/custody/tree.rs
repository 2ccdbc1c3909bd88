//! All that hangs on a root in a token, before judges who are not ours: an intermediate, leaves, revocation lists.

use crate::support::by_webpki;
use crate::support::harness::{Agent, Harness, POLICY, chain};
use crate::tokens::{PIN, Tokens};
use lanyard::crypto::PemLabel;
use lanyard::issuance::IssuedSvid;
use lanyard::session::EndReason;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::fs;
use std::process::Command;

/// What openssl and webpki say of an SVID's chain by the lists: two empty words if it holds.
fn judged(harness: &Harness, issued: &IssuedSvid, lists: &[u8]) -> [String; 2] {
    let folder = harness.folder.path();
    let chain: Vec<_> = chain(issued).into_iter().map(CertificateDer::from).collect();
    let pem: String = chain.iter().map(|der| PemLabel::Certificate.armour(der).to_string()).collect();
    let roots = harness.issuance().authorities.published().borrow().pem.clone();
    for (name, text) in [("chain.pem", pem.as_bytes()), ("roots.pem", roots.as_bytes()), ("crls.pem", lists)] {
        fs::write(folder.join(name), text).unwrap();
    }
    let at = harness.now().unix_timestamp();
    let mut openssl = Command::new("openssl");
    openssl.current_dir(folder).args(["verify", "-no-CAfile", "-no-CApath", "-no-CAstore", "-x509_strict"]);
    openssl.args(["-crl_check_all", "-CRLfile", "crls.pem", "-attime", &at.to_string(), "-CAfile", "roots.pem"]);
    let ran = openssl.args(["-untrusted", "chain.pem", "chain.pem"]).output().unwrap();
    let said = if ran.status.success() { String::new() } else { String::from_utf8(ran.stderr).unwrap() };
    let roots: Vec<_> = CertificateDer::pem_slice_iter(roots.as_bytes()).map(Result::unwrap).collect();
    [said, by_webpki::with_lists((&chain, &roots), at, &folder.join("crls.pem"))]
}

#[tokio::test]
async fn an_intermediate_leaves_and_lists_under_a_root_in_a_token_hold_before_openssl_and_webpki() {
    let test = "tree::an_intermediate_leaves_and_lists_under_a_root_in_a_token_hold_before_openssl_and_webpki";
    let Some(tokens) = Tokens::apart(test) else { return };
    tokens.initialise("lanyard");
    let (module, pin) = (Tokens::module().display().to_string(), tokens.pin_file(PIN).display().to_string());
    let place =
        "[crl]\n[keys]\nroot_place = \"hsm\"\n[[keys.place]]\nname = \"hsm\"\nin = \"pkcs11\"\ntoken = \"lanyard\"";
    let settings = format!("{place}\nmodule = \"{module}\"\npin_file = \"{pin}\"").leak();
    let mut harness = Harness::whose_issuer_says(settings, POLICY, "memory").await;
    let (ends, lives) = (Agent::new(), Agent::new());
    let gone = harness.exchange(&harness.issuer.token(harness.now()), &ends).await.unwrap();
    let stays = harness.exchange(&harness.issuer.token(harness.now()), &lives).await.unwrap();
    let session = gone.session().unwrap().parse().unwrap();
    harness.issuance().end(EndReason::Logout, &session, ends.public().id()).await.unwrap();
    let now = harness.now();
    let keeper = harness.parts.crls.as_mut().unwrap();
    keeper.turn(now).await.unwrap();
    let set = keeper.watch().borrow().clone().unwrap();
    assert_eq!(set.lists.len(), 2, "the root's, which the token signed, and the intermediate's");
    assert_eq!(judged(&harness, &stays, &set.pem), ["", ""]);
    let [openssl, webpki] = judged(&harness, &gone, &set.pem);
    assert!(openssl.contains("certificate revoked") && webpki == "CertRevoked", "{openssl} {webpki}");
}

//! Revocation lists of the real road before judges: all read them, and refuse who has ended and nobody else.

use crate::judge::{go_by_lists, webpki_by_lists};
use crate::made::{Der, Files, roots};
use crate::support::harness::{Agent, Harness, POLICY, chain};
use lanyard::session::EndReason;
use std::fs;

#[tokio::test]
async fn go_and_webpki_refuse_by_a_whole_set_who_has_ended_and_by_a_part_of_it_everybody() {
    let (mut harness, files) = (Harness::whose_issuer_says("[crl]", POLICY, "memory").await, Files::new());
    let (ended, lives) = (Agent::new(), Agent::new());
    let gone = harness.exchange(&harness.issuer.token(harness.now()), &ended).await.unwrap();
    let stays = harness.exchange(&harness.issuer.token(harness.now()), &lives).await.unwrap();
    let session = gone.session().unwrap().parse().unwrap();
    harness.issuance().end(EndReason::Logout, &session, ended.public().id()).await.unwrap();
    let now = harness.now();
    let keeper = harness.parts.crls.as_mut().unwrap();
    keeper.turn(now).await.unwrap();
    let set = keeper.watch().borrow().clone().unwrap();
    let whole = harness.folder.path().join("whole.pem");
    fs::write(&whole, &set.pem).unwrap();
    let text = String::from_utf8(set.pem.to_vec()).unwrap();
    let (first, second) = text.split_at(text.rfind("-----BEGIN").unwrap());
    let parts = [first, second].map(|part| {
        let file = harness.folder.path().join(format!("part-{}.pem", part.len()));
        fs::write(&file, part).unwrap();
        file
    });
    let hearing = |issued, at| {
        let chain: Vec<Der> = chain(issued).into_iter().map(Der::from).collect();
        files.hearing("by lists", &chain, &roots(&harness), at)
    };
    let (gone, stays_now) = (hearing(&gone, now), hearing(&stays, now));
    assert_eq!((go_by_lists(&gone, &whole), go_by_lists(&stays_now, &whole)), ("revoked".to_owned(), String::new()));
    assert_eq!(
        (webpki_by_lists(&gone, &whole), webpki_by_lists(&stays_now, &whole)),
        ("CertRevoked".to_owned(), String::new())
    );
    for part in &parts {
        assert_eq!(go_by_lists(&stays_now, part), "no list");
        assert_eq!(webpki_by_lists(&stays_now, part), "UnknownRevocationStatus");
    }
}

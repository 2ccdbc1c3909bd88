//! One server among several that says nothing, and one account among many that cannot be judged.

use crate::domain::Domain;
use crate::scene::{Scene, Told, dn, link};
use crate::support::harness::Agent;
use tokio::net::TcpListener;

const ENABLED: &str = "\"directory.enabled\" = true";

#[tokio::test]
async fn the_next_question_begins_behind_a_server_that_is_silent() {
    let domain = Domain::new();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let before = format!("ldaps://{}", silent.local_addr().unwrap());
    let scene = Scene::of(&domain, &Told { before, ..Told::default() }, ENABLED).await;
    let given_up = async {
        let held_open = silent.accept().await.unwrap();
        scene.harness.advance(3);
        held_open
    };
    let alice = dn("alice");
    let ((outcome, got), _held_open) = tokio::join!(scene.linked(1, &alice), given_up);
    assert!(outcome == "unavailable" && got.contains("no answer within 3 s"), "{got}");
    for _time in 0..2 {
        tokio::select! {
            biased;
            asked = scene.linked(1, &alice) => assert_eq!(asked.0, "pass", "{asked:?}"),
            _again = silent.accept() => panic!("the silent one is asked again"),
        }
    }
}

#[tokio::test]
async fn one_account_that_cannot_be_judged_ends_nobody_and_keeps_nobody_else_s_identity_alive() {
    /// Nobody may read `userAccountControl`.
    const UNREADABLE: &str = "(OD;;RP;bf967a68-0de6-11d0-a285-00aa003049e2;;AU)";
    let domain = Domain::new();
    let scene = Scene::of(&domain, &Told::default(), ENABLED).await;
    let (agent, mut sessions) = (Agent::new(), Vec::new());
    for (user_id, name) in [(51, "alice"), (52, "grace"), (53, "hugo")] {
        let token = scene.harness.issuer.mint(&scene.claims(user_id, link(&dn(name))));
        let issued = scene.harness.exchange(&token, &agent).await.unwrap();
        sessions.push(issued.session().unwrap().to_owned());
    }
    domain.tool(&["dsacl", "set", &format!("--objectdn={}", dn("alice")), &format!("--sddl={UNREADABLE}")]);
    domain.tool(&["user", "disable", "grace"]);
    let road = scene.harness.issuance();
    assert_eq!(road.end_departed(road.directory.as_ref().unwrap()).await.unwrap(), 1);
    scene.harness.advance(11);
    let codes = |outcome: Result<_, lanyard::issuance::Refusal>| outcome.map_or_else(|no| no.code(), |_| "issued");
    let mut said = Vec::new();
    for session in &sessions {
        said.push(codes(scene.harness.renew(session, &agent).await));
    }
    assert_eq!(said, ["fact_unavailable", "session_ended", "issued"], "what cannot be judged is not renewed either");
}

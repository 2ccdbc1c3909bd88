//! Our signing keys change: by an operator's orders at a running server, and by the plan.

use super::doors::Doors;
use super::operators::{Job, lanyard, told};
use crate::support::harness::{Agent, Harness, POLICY, csr, start};
use lanyard::authority::{AuthorityKind, Confirmation, Leeway, NotNow, Order, OrderError, OrderKind, Published};
use lanyard::bundle::{Bundle, IssuerUrl};
use lanyard::clock::{Clock, SystemClock};
use lanyard::identity::TrustDomain;
use lanyard::issuance::Credential;
use lanyard::svid::{inspect_jwt, validate_x509_svid};
use lanyard::wire::lanyard::event::Kind;
use lanyard::wire::lanyard::{AcknowledgeRequest, RenewRequest, X509Answer};
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use tokio::process::Command;
use tonic::Status;

impl Job {
    async fn told(&mut self) -> Kind {
        self.events.message().await.unwrap().unwrap().kind.unwrap()
    }

    /// The next bundle that its stream brings.
    async fn bundle(&mut self) -> Bundle {
        let told = if let Kind::Bundle(json) = self.told().await { Some(parsed(&json)) } else { None };
        told.unwrap()
    }

    /// The keys whose SVIDs are to be renewed.
    async fn tainted(&mut self) -> Vec<String> {
        let told = if let Kind::Tainted(tainted) = self.told().await { Some(tainted.signer) } else { None };
        told.unwrap()
    }

    async fn acknowledges(&mut self, bundle_sequence: u64) -> Result<(), Status> {
        let session = self.first.session.clone();
        self.agent.acknowledge(AcknowledgeRequest { session, bundle_sequence }).await.map(drop)
    }

    async fn renewed(&mut self) -> X509Answer {
        let asked = RenewRequest { session: self.first.session.clone(), csr: csr().into(), ..RenewRequest::default() };
        self.agent.renew(asked).await.unwrap().into_inner()
    }
}

fn parsed(json: &[u8]) -> Bundle {
    Bundle::parse(TrustDomain::parse("ci.example.org").unwrap(), json).unwrap()
}

/// Whether somebody with this bundle believes that SVID.
fn verifies(answer: &X509Answer, bundle: &Bundle) -> bool {
    let chain: Vec<_> = answer.certificate_chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
    validate_x509_svid(&chain, &[bundle], SystemClock.now()).is_ok()
}

fn step<'a>(plan: &'a Value, name: &str) -> &'a Value {
    plan["steps"].as_array().unwrap().iter().find(|step| step["step"] == name).unwrap_or(&Value::Null)
}

async fn refused(doors: &Doors, arguments: &[&str]) -> String {
    let (code, _, said) = lanyard(doors, arguments).await;
    assert_eq!(code, 1, "{arguments:?}: {said}");
    said
}

/// Shows: FED-2, FED-3, MESH-A6.
#[tokio::test]
async fn a_root_is_prepared_proven_activated_rolled_back_tainted_and_revoked_by_commands() {
    let doors = Doors::open().await;
    let mut job = Job::begin(&doors, "ada").await;
    let before = parsed(&job.first.bundle);
    assert!(refused(&doors, &["authority", "activate"]).await.contains("none_prepared"));
    let first = told(&doors, &["authority", "list"]).await["keys"][0]["key_id"].clone();

    // Prepared: published, and nothing is signed with it.
    let new = told(&doors, &["authority", "prepare", "--reason", "a drill"]).await["key_id"].clone();
    let both = job.bundle().await;
    assert!(both.x509_authorities.len() == 2 && both.sequence > before.sequence);
    assert!(verifies(&job.renewed().await, &before));

    // Nobody has said that it holds it, and the time has not passed.
    let plan = told(&doors, &["authority", "plan"]).await;
    let activate = step(&plan, "activate");
    assert_eq!((&activate["key_id"], &activate["code"]), (&new, &json!("not_safe_yet")), "{plan}");
    assert_eq!(activate["gate"]["missing"][0]["kind"], "reporting", "{plan}");
    assert!(activate["effect"].as_str().unwrap().contains("1 identity will follow"), "{plan}");
    let ahead = job.acknowledges(both.sequence + 1).await.unwrap_err();
    assert_eq!(ahead.metadata().get("lanyard-code").unwrap(), "sequence_unknown", "nobody can hold it");
    job.acknowledges(both.sequence).await.unwrap();
    let plan = told(&doors, &["authority", "plan"]).await;
    assert_eq!(step(&plan, "activate")["gate"]["missing"], json!([]), "{plan}");
    assert!(refused(&doors, &["authority", "activate"]).await.contains("not before"));
    assert_eq!(lanyard(&doors, &["authority", "activate", "--force"]).await.0, 2, "force needs a reason");
    let forced = ["authority", "activate", "--force", "--reason", "all agents have it"];
    assert_eq!(told(&doors, &forced).await["in_spite_of"], json!(["minimum time"]));

    // What was given before and what is given now is believed by whoever has both, and the bundle is the same.
    let under_new = job.renewed().await;
    assert!(verifies(&under_new, &both) && !verifies(&under_new, &before) && verifies(&job.first, &both));
    assert_eq!(parsed(&under_new.bundle).sequence, both.sequence);

    // And back.
    assert_eq!(told(&doors, &["authority", "rollback"]).await["key_id"], first);
    assert!(verifies(&job.renewed().await, &before));
    let active = first.as_str().unwrap();
    assert!(refused(&doors, &["authority", "taint", active]).await.contains("authority_active"));

    // The new one's intermediate is stolen: that means its root, which goes when nobody shows it any more.
    let listed = told(&doors, &["authority", "list"]).await;
    let below = |key: &&Value| key["issuer"] == new;
    let stolen = listed["keys"].as_array().unwrap().iter().find(below).unwrap()["key_id"].clone();
    let taint = ["authority", "taint", "--kind", "x509-intermediate", stolen.as_str().unwrap(), "--reason", "a thief"];
    let taint = [&taint[..], &["--no-wait"]].concat();
    assert_eq!(told(&doors, &taint).await["key_id"], new);
    assert_eq!(json!(job.tainted().await), json!([stolen]));
    told(&doors, &["authority", "revoke", new.as_str().unwrap()]).await;
    let last = job.bundle().await;
    assert!(last.x509_authorities == before.x509_authorities && last.sequence > both.sequence);
    let (code, shown, said) = lanyard(&doors, &["authority", "plan"]).await;
    assert!(code == 0 && shown.contains("prepare") && said.contains("not waited for"), "{shown}{said}");

    let journal: String = std::fs::read_dir(doors.folder.path().join("data/journal"))
        .unwrap()
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap_or_default())
        .collect();
    for said in ["a drill", "all agents have it", "a thief"] {
        assert!(journal.contains(&format!(r#""uid":{},"say":"{said}""#, rustix::process::getuid().as_raw())), "{said}");
    }
    doors.close().await;
}

pub(super) fn order(kind: OrderKind, authority: AuthorityKind) -> Order {
    Order { kind, authority, leeway: Leeway::None, uid: 0, say: None }
}

async fn kid(harness: &Harness, agent: &Agent) -> String {
    let token = harness.issuer.token(harness.now());
    let issued = harness.jwt(&token, "https://service.test", Some(agent)).await.unwrap();
    let jwt = match issued.credential() {
        Credential::Jwt(jwt) => Some(inspect_jwt(jwt).unwrap()),
        Credential::X509(_) => None,
    };
    jwt.unwrap().kid
}

fn kids(harness: &Harness) -> Vec<String> {
    let published = harness.issuance().authorities.published();
    let bundle = &published.borrow().bundle;
    bundle.jwt_authorities.iter().map(|key| key.kid.clone()).collect()
}

/// Shows: FED-2, FED-3, TDB-27.
#[tokio::test]
async fn a_jwt_key_gives_way_at_half_of_its_life_and_leaves_when_nothing_valid_hangs_on_it() {
    const DAY: u64 = 86_400;
    let mut harness = Harness::new().await;
    let agent = Agent::new();
    let first = kid(&harness, &agent).await;
    for (seconds, keys, signs) in [(44 * DAY, 1, true), (2 * DAY, 2, true), (44 * 60, 2, true), (120, 2, false)] {
        harness.advance(seconds);
        let now = harness.now();
        harness.parts.rotator.turn(now).await.unwrap();
        assert_eq!(kids(&harness).len(), keys, "{seconds}");
        assert_eq!(kid(&harness, &Agent::new()).await == first, signs, "{seconds}");
    }
    harness.advance(300);
    let now = harness.now();
    harness.parts.rotator.turn(now).await.unwrap();
    assert!(kids(&harness).contains(&first), "a token may be valid yet");
    harness.advance(120);
    let now = harness.now();
    harness.parts.rotator.turn(now).await.unwrap();
    assert!(!kids(&harness).contains(&first));
    let harness = harness.restarted(None).await;
    assert_eq!(kids(&harness).len(), 1);
}

#[tokio::test]
async fn a_silent_agent_is_waited_for_until_its_svids_are_over_and_no_longer() {
    let mut harness = Harness::new().await;
    let root = AuthorityKind::X509Root;
    let agent = Agent::new();
    harness.exchange(&harness.issuer.token(start()), &agent).await.unwrap();
    // After a restart nobody has been heard, and the live session promises an agent.
    let now = harness.now();
    harness.parts.rotator.obey(&order(OrderKind::Prepare, root), now).await.unwrap();
    harness.parts.rotator.turn(now).await.unwrap();
    harness = harness.restarted(None).await;
    let now = harness.now();
    let refused = harness.parts.rotator.obey(&order(OrderKind::Activate(None), root), now).await;
    let Err(OrderError::NotNow(NotNow::Unsafe { gate })) = refused else { panic!("{refused:?}") };
    let waited = gate.missing.first().unwrap().waited_for_until.unwrap();
    assert_eq!((waited - now, gate.opens_at - now), (time::Duration::minutes(15), time::Duration::minutes(45)));
    harness.advance(45 * 60);
    let now = harness.now();
    harness.parts.rotator.obey(&order(OrderKind::Activate(None), root), now).await.unwrap();
    harness.exchange(&harness.issuer.token(harness.now()), &Agent::new()).await.unwrap();
}

/// It renews and renews and never has the new bundle: broken, or in a thief's hands.
#[tokio::test]
async fn an_agent_that_keeps_to_its_old_bundle_is_named_as_stuck_and_left_aside_alone() {
    let mut harness = Harness::new().await;
    let (root, stuck, quiet) = (AuthorityKind::X509Root, Agent::new(), Agent::new());
    for agent in [&stuck, &quiet] {
        harness.exchange(&harness.issuer.token(start()), agent).await.unwrap();
    }
    let holders = harness.parts.rotator.desk().holders().clone();
    let old = harness.issuance().authorities.published().borrow().bundle.sequence;
    let mut now = harness.now();
    harness.parts.rotator.obey(&order(OrderKind::Prepare, root), now).await.unwrap();
    harness.parts.rotator.turn(now).await.unwrap();
    let new = harness.issuance().authorities.published().borrow().bundle.sequence;
    for _ in 0..10 {
        harness.advance(5 * 60);
        now = harness.now();
        holders.heard(stuck.public().id(), Some(old), now);
        holders.heard(quiet.public().id(), Some(new), now);
    }
    let outlook = harness.parts.rotator.outlook(root, now);
    let named: Vec<_> = outlook.holders.iter().filter(|holder| holder.stuck_since.is_some()).collect();
    assert_eq!(named.len(), 1, "{outlook:?}");
    assert_eq!((named[0].name.clone(), named[0].holds), (format!("agent {}", stuck.public().id()), Some(old)));
    let refused = harness.parts.rotator.obey(&order(OrderKind::Activate(None), root), now).await.unwrap_err();
    assert!(
        refused.to_string().contains(&format!("agent {} (stuck); --without NAME", stuck.public().id())),
        "{refused}"
    );

    let without = |name: String| Leeway::Without([name].into());
    let mut activate = order(OrderKind::Activate(None), root);
    activate.leeway = without(quiet.public().id().to_string());
    let refused = harness.parts.rotator.obey(&activate, now).await.unwrap_err();
    assert!(refused.to_string().contains("(stuck)"), "the other one is waited for: {refused}");
    activate.leeway = without("nobody".to_owned());
    let refused = harness.parts.rotator.obey(&activate, now).await.unwrap_err();
    assert!(refused.to_string().contains("no holder is called \"nobody\""), "{refused}");
    activate.leeway = without(stuck.public().id().to_string());
    let taken = harness.parts.rotator.obey(&activate, now).await.unwrap();
    assert_eq!(taken.by.in_spite_of, [format!("agent {}", stuck.public().id())]);
}

/// Every command of the manual's chapter is one, and its settings are.
#[tokio::test]
async fn the_manual_s_chapter_on_keys_is_what_one_can_write_and_type() {
    let chapter = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations/rotation.md"));
    let shown = chapter.split("```toml\n").nth(1).unwrap().split("```").next().unwrap().to_owned().leak();
    let mut harness = Harness::whose_issuer_says(shown, POLICY, "memory").await;
    let confirmation = Confirmation { holder: "payments mesh".to_owned(), sequence: None, uid: 0, say: None };
    let now = harness.now();
    harness.parts.rotator.confirm(&confirmation, now).await.unwrap();

    let program = std::path::Path::new(env!("CARGO_BIN_EXE_lanyard")).parent().unwrap().display();
    let typed = chapter.lines().map(|line| line.strip_prefix("$ ").unwrap_or(line));
    let commands: Vec<_> = typed.filter(|line| line.starts_with("lanyard authority ")).collect();
    assert!(commands.len() >= 10, "{commands:?}");
    for command in commands {
        let script = format!("PATH={program}:$PATH; {command}");
        let output = Command::new("sh").args(["-c", &script]).env("LANYARD_ADMIN_SOCKET", "/nowhere").output();
        assert_eq!(output.await.unwrap().status.code(), Some(3), "{command}: not understood, rather than nobody there");
    }
}

/// A declared holder is waited for by name until an operator's word, which survives a restart.
#[tokio::test]
async fn a_declared_holder_is_named_until_it_is_confirmed() {
    let holder = "[[holder]]\nname = \"payments mesh\"";
    let mut harness = Harness::whose_issuer_says(holder, POLICY, "sled").await;
    let root = AuthorityKind::X509Root;
    let now = harness.now();
    harness.parts.rotator.obey(&order(OrderKind::Prepare, root), now).await.unwrap();
    harness.parts.rotator.turn(now).await.unwrap();
    harness.advance(46 * 60);
    let now = harness.now();
    let refused = harness.parts.rotator.obey(&order(OrderKind::Activate(None), root), now).await.unwrap_err();
    assert!(refused.to_string().contains("without proof from payments mesh"), "{refused}");
    let confirm = |holder: &str, sequence| Confirmation { holder: holder.to_owned(), sequence, uid: 7, say: None };
    let unknown = harness.parts.rotator.confirm(&confirm("payment mesh", None), now).await.unwrap_err();
    assert!(unknown.to_string().contains("the configuration names payments mesh"), "{unknown}");
    assert!(harness.parts.rotator.confirm(&confirm("payments mesh", Some(99)), now).await.is_err());
    harness.parts.rotator.confirm(&confirm("payments mesh", None), now).await.unwrap();
    let mut harness = harness.restarted(None).await;
    harness.advance(46 * 60);
    let now = harness.now();
    harness.parts.rotator.obey(&order(OrderKind::Activate(None), root), now).await.unwrap();
    assert_eq!(harness.entries("holder_confirmed").len(), 1);
}

/// Whoever reads them again and again costs no more than what is sent.
#[tokio::test]
async fn the_documents_of_oidc_are_made_once_for_each_bundle() {
    let mut harness = Harness::new().await;
    let issuer: IssuerUrl = "https://ci.example.org".parse().unwrap();
    let published = |harness: &Harness| harness.parts.rotator.authorities().published().borrow().clone();
    let (first, again) = (published(&harness), published(&harness));
    assert!(std::ptr::eq(first.issuer_documents(&issuer), again.issuer_documents(&issuer)));
    let now = harness.now();
    harness.parts.rotator.obey(&order(OrderKind::Prepare, AuthorityKind::Jwt), now).await.unwrap();
    let changed = published(&harness);
    let keys = |of: &Published| of.issuer_documents(&issuer).keys.clone();
    assert_ne!((keys(&first).etag, keys(&first).body), (keys(&changed).etag, keys(&changed).body));
}

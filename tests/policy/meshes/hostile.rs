//! Names that somebody chose to hurt: they come back out of the rendered text as they were.

use super::matching::{Shown, envoy_admits, istio_admits, linkerd_admits};
use lanyard::config::{Lifetimes, check_policy};
use lanyard::identity::{SpiffeId, TrustDomain};
use lanyard::mesh::{
    Admitted, Callee, Callers, Document, IstioService, Known, LinkerdService, Mesh, Peer, Place, Selector, VaultLogin,
    VaultRole, VaultWrite, Workload,
};
use proptest::prelude::*;
use serde_json::Value;
use std::time::Duration;

pub(crate) const TRUST_DOMAIN: &str = "ci.example.org";

pub(crate) fn trust_domain() -> TrustDomain {
    TrustDomain::parse(TRUST_DOMAIN).unwrap()
}

pub(crate) fn workload() -> Workload {
    let selector = Selector::parse(&["app=ledger".to_owned()]).unwrap();
    Workload { service: "ledger".parse().unwrap(), namespace: "ledger".parse().unwrap(), selector }
}

fn istio_objects(admitted: &[Admitted]) -> Vec<Document> {
    let workload = workload();
    let host = IstioService::cluster_host(&workload.service, &workload.namespace);
    let service = IstioService { workload, host, connection_age: Duration::from_secs(60), server_id: None };
    service.objects(admitted, &trust_domain()).unwrap()
}

fn linkerd_objects(admitted: &[Admitted]) -> Vec<Document> {
    LinkerdService { workload: workload(), port: 8080, protocol: None }.objects(admitted).unwrap()
}

fn bootstrap(admitted: &[Admitted]) -> Document {
    let [node, cluster] = ["ledger", "ledger"].map(str::to_owned);
    let [admin_socket, workload_socket] = ["/run/envoy/admin.sock", "/run/lanyard/sockets/api.sock"].map(str::to_owned);
    let callee = Callee {
        place: Place { node, cluster, admin_socket, workload_socket },
        listen: "127.0.0.1:8443".parse().unwrap(),
        service: "ledger".to_owned(),
        upstream: "127.0.0.1:8080".parse().unwrap(),
        connection_age: Duration::from_secs(60),
    };
    callee.bootstrap(admitted, &trust_domain()).unwrap()
}

fn values(objects: &[Document]) -> Vec<Value> {
    objects.iter().map(|object| object.value().clone()).collect()
}

pub(crate) fn istio(admitted: &[Admitted]) -> Vec<Value> {
    values(&istio_objects(admitted))
}

pub(crate) fn linkerd(admitted: &[Admitted]) -> Vec<Value> {
    values(&linkerd_objects(admitted))
}

pub(crate) fn envoy(admitted: &[Admitted]) -> Value {
    bootstrap(admitted).value().clone()
}

pub(crate) fn role() -> VaultRole {
    let (ttl, max_ttl) = (Duration::from_secs(600), Duration::from_secs(3600));
    let reads = vec!["secret/data/deploy".parse().unwrap()];
    VaultRole { name: "deploy".parse().unwrap(), reads, policies: Vec::new(), ttl, max_ttl }
}

fn vault_writes(login: &VaultLogin, admitted: &[Admitted]) -> VaultWrite {
    let trust_domain = trust_domain();
    let whose = (admitted, &trust_domain);
    match login {
        VaultLogin::Certificate => role().by_certificate(&"cert".parse().unwrap(), whose, &[]).unwrap(),
        VaultLogin::Token { audience, user_claim } => {
            role().by_token(&"jwt".parse().unwrap(), whose, (audience, user_claim)).unwrap()
        }
    }
}

pub(crate) fn vault(login: &VaultLogin, admitted: &[Admitted]) -> Vec<Value> {
    values(&[vault_writes(login, admitted).call().clone()])
}

/// What a shell gives to `vault`: each call's arguments, and what it reads.
fn read_by_a_shell(script: &str) -> Vec<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let stub = "vault() { n=$((n+1)); printf '%s' \"$*\" > $n.args; cat > $n.input; }\nn=0\n";
    std::fs::write(folder.path().join("script"), format!("{stub}{script}")).unwrap();
    let ran = std::process::Command::new("sh").args(["-eu", "script"]).current_dir(folder.path()).output().unwrap();
    assert!(ran.status.success() && ran.stdout.is_empty(), "{}", String::from_utf8_lossy(&ran.stderr));
    let read = |name: String| std::fs::read_to_string(folder.path().join(name));
    (1..).map_while(|n| Some((read(format!("{n}.args")).ok()?, read(format!("{n}.input")).unwrap()))).collect()
}

/// Its IDs begin as all others of its group, and a beginning is all that Istio can be told.
#[test]
fn one_project_that_is_asked_for_does_not_bring_the_others_of_its_rule() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    let id = "/groups/{namespace_id}/projects/{project_id}/-/pipelines/{pipeline_id}";
    let when = "issuer = \"corp\"\nproject_path = \"acme/**\"";
    let rule = format!("[[rule]]\nname = \"all\"\nid = \"{id}\"\npath_only = \"a test\"\n[rule.when]\n{when}\n");
    std::fs::write(&file, rule).unwrap();
    let policy = check_policy(&file, &[], Lifetimes::SVID).unwrap().policy;
    let known = Known { projects: vec!["4711=acme/api".parse().unwrap()], ..Known::default() };
    let told = |mesh| {
        let trust_domain = trust_domain();
        Callers { policy: &policy, trust_domain: &trust_domain, known: &known, mesh: &mesh, profile: None }.of(&[])
    };
    let [(_, why)] = &*told(Mesh::Istio).unwrap_err() else { panic!("one rule") };
    assert!(why.to_string().contains("would admit the rule's other projects too"), "{why}");
    assert!(told(Mesh::Envoy).is_ok(), "an expression tells them apart");
}

proptest! {
    #[test]
    fn a_rule_of_any_name_changes_nothing_but_its_own_name(
        names in prop::collection::btree_set("\\PC{0,20}|[\\s:#*&'\"\\\\{}\\[\\]\n-]{0,12}", 1..4),
    ) {
        let id = SpiffeId::parse("spiffe://ci.example.org/acme/api/-/x").unwrap();
        let admitted: Vec<Admitted> =
            names.into_iter().map(|rule| Admitted { rule, peers: vec![Peer::Exact(id.clone())] }).collect();
        let all = [istio_objects(&admitted), linkerd_objects(&admitted), vec![bootstrap(&admitted)]].concat();
        let back: Vec<Value> = serde_saphyr::from_multiple(&Document::to_yaml(&all)).unwrap();
        prop_assert_eq!(back, values(&all));
        for (uri, admits) in [(id.as_str(), true), ("spiffe://ci.example.org/acme/api/-/y", false), ("", false)] {
            let shown = Shown { uri, first_name: uri };
            prop_assert_eq!(istio_admits(&istio(&admitted), shown), admits);
            prop_assert_eq!(linkerd_admits(&linkerd(&admitted), shown), admits);
            prop_assert_eq!(envoy_admits(&envoy(&admitted), shown), admits);
        }
        let login = VaultLogin::Token { audience: "a\nEND\n'$(x)`y`".to_owned(), user_claim: "sub".to_owned() };
        let write = vault_writes(&login, &admitted);
        let read = read_by_a_shell(&VaultWrite::script(&[role().policy().unwrap().unwrap(), write.clone()], &admitted));
        prop_assert_eq!(&read[0].0, "policy write deploy -");
        prop_assert_eq!(&read[1].0, "write auth/jwt/role/deploy -");
        prop_assert_eq!(&serde_json::from_str::<Value>(&read[1].1).unwrap(), &write.call().value()["data"]);
        prop_assert_eq!(read.len(), 2);
    }
}

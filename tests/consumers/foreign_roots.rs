//! Servers under somebody else's root, called through a real Envoy that takes its trust from a real agent by SDS.

use crate::foreign::ForeignCa;
use crate::page;
use crate::sides::{
    Answer, DEPLOY, DEPLOY_ID, LEDGER_ID, OTHERS, PRODUCTION, Program, Proxy, Side, beside_the_deploy, changed,
    eventually,
};
use crate::world::{Job, World};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

const SERVICE_ID: &str = "spiffe://mesh.test/ns/ledger/sa/ledger";
const OTHER: Job = Job { number: 7, pipeline: "574" };
const OF_OTHERS: [&str; 2] = ["project_id=4713", "project_path=acme/other/api"];

/// The policy of the page, whose two rules name the mesh.
fn policy() -> String {
    changed(&page::block("policy.toml"), "ttl = \"15m\"", "ttl = \"15m\"\nfederates_with = [\"mesh.test\"]") + OTHERS
}

/// A server of ours that follows a file of the mesh's roots; services under these, and one job that may call them.
struct Foreign {
    world: World,
    program: Program,
    deploy: Side,
}

impl Foreign {
    fn start(roots: &[&ForeignCa]) -> Self {
        let followed = "[[federation]]\ntrust_domain = \"mesh.test\"\nfile = \"mesh.pem\"\n";
        let (world, program) = (World::configured(&policy(), followed), Program::start());
        follow(&world, roots);
        let deploy = Side::start(&world, "deploy");
        deploy.login(&world.token_with(&DEPLOY, &PRODUCTION));
        Self { world, program, deploy }
    }

    /// A job's Envoy that calls whoever has this ID at a port.
    fn caller(&self, side: &Side, id: &str, port: u16) -> Proxy {
        side.proxy(&changed(&beside_the_deploy(port), LEDGER_ID, id), &self.program)
    }
}

/// Put in place whole, as an operator does.
fn follow(world: &World, roots: &[&ForeignCa]) {
    let text: String = roots.iter().map(|root| root.pem()).collect();
    fs::write(world.place.file("mesh.new"), text).unwrap();
    fs::rename(world.place.file("mesh.new"), world.place.file("mesh.pem")).unwrap();
}

/// A service of the mesh: an Envoy with a certificate of the mesh's, which takes callers of ours by an agent's secrets.
struct Service {
    certificate: PathBuf,
    proxy: Proxy,
}

impl Service {
    fn start(foreign: &Foreign, side: &Side, (ca, id): (&ForeignCa, &str)) -> Self {
        let folder = side.path(&format!("service-{}", fs::read_dir(side.path(".")).unwrap().count()));
        fs::create_dir(&folder).unwrap();
        let certificate = folder.join("own.json");
        show(&certificate, ca, id);
        let own = OWN.replace("FILE", certificate.to_str().unwrap()).replace("FOLDER", folder.to_str().unwrap());
        let text = changed(&page::block("ledger.yaml"), "max_connection_duration: 60s", "max_connection_duration: 1s");
        let (head, rest) = text.split_once("            tls_certificate_sds_secret_configs:\n").unwrap();
        let (_, tail) = rest.split_once("      filters:\n").unwrap();
        let text = changed(&format!("{head}{own}      filters:\n{tail}"), DEPLOY_PREFIX, "spiffe://");
        let proxy = side.proxy(&text, &foreign.program);
        Self { certificate, proxy }
    }
}

/// What a service has in place of the page's lines: its own certificate is a file.
const OWN: &str = r#"            tls_certificate_sds_secret_configs:
            - name: own
              sds_config: { path_config_source: { path: "FILE", watched_directory: { path: "FOLDER" } } }
            validation_context_sds_secret_config:
              name: ROOTCA
              sds_config:
                resource_api_version: V3
                api_config_source:
                  api_type: GRPC
                  transport_api_version: V3
                  grpc_services: [{ envoy_grpc: { cluster_name: agent } }]
"#;

const DEPLOY_PREFIX: &str = "spiffe://ci.example.org/acme/payments/api/-/environments/production/pipelines/";

/// Shows a leaf under a root; Envoy takes what is moved into its place.
fn show(certificate: &Path, ca: &ForeignCa, id: &str) {
    let (chain, key) = ca.leaf(id);
    let secret = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "own",
        "tls_certificate": { "certificate_chain": { "inline_string": chain }, "private_key": { "inline_string": key } },
    });
    let aside = certificate.with_extension("new");
    fs::write(&aside, json!({ "resources": [secret] }).to_string()).unwrap();
    fs::rename(aside, certificate).unwrap();
}

/// The first answer with success: a service that has just been started has no secrets yet.
fn answered(caller: &Proxy) -> Answer {
    let mut last = None;
    eventually("the service answers", || {
        let answer = caller.call();
        let is_good = answer.status == 200;
        last = Some(answer);
        is_good
    });
    last.unwrap()
}

/// The caller's Envoy finds that the service is not who it says it is.
fn is_refused(caller: &Proxy) {
    eventually("the service's certificate is refused", || {
        assert_eq!(caller.call().status, 503, "{}", caller.running.log());
        caller.count("cluster.ledger.ssl.fail_verify_error") > 0
    });
}

#[test]
fn a_service_under_a_foreign_root_is_called_by_those_alone_whose_rule_names_its_trust_domain() {
    let mesh = ForeignCa::new("the mesh's root");
    let foreign = Foreign::start(&[&mesh]);
    let service = Service::start(&foreign, &foreign.deploy, (&mesh, SERVICE_ID));
    let caller = foreign.caller(&foreign.deploy, SERVICE_ID, service.proxy.port);
    let answer = answered(&caller);
    assert!(answer.body.contains(&format!("URI={DEPLOY_ID}")), "{}", answer.body);

    let other = Side::start(&foreign.world, "other");
    other.login(&foreign.world.token_with(&OTHER, &[&PRODUCTION[..], &OF_OTHERS].concat()));
    let without = foreign.caller(&other, SERVICE_ID, service.proxy.port);
    is_refused(&without);

    // The mesh's root vouches for the mesh's IDs, and not for ours.
    let impostor = Service::start(&foreign, &foreign.deploy, (&mesh, LEDGER_ID));
    is_refused(&foreign.caller(&foreign.deploy, LEDGER_ID, impostor.proxy.port));
    // And for no ID of a third trust domain.
    let third = Service::start(&foreign, &foreign.deploy, (&mesh, "spiffe://third.test/ns/ledger/sa/ledger"));
    is_refused(&foreign.caller(&foreign.deploy, "spiffe://third.test/ns/ledger/sa/ledger", third.proxy.port));
}

/// Shows: MESH-C5.
#[test]
fn a_merged_list_lets_a_foreign_root_speak_for_our_ids_which_is_why_it_is_asked_for_by_name() {
    let mesh = ForeignCa::new("the mesh's root");
    let foreign = Foreign::start(&[&mesh]);
    let impostor = Service::start(&foreign, &foreign.deploy, (&mesh, LEDGER_ID));
    let caller = |name: &str, number, settings: &str| {
        let side = Side::with(&foreign.world, name, &format!("[sds]\nvalidator = \"plain\"\n{settings}"));
        side.login(&foreign.world.token_with(&Job { number, ..DEPLOY }, &PRODUCTION));
        (foreign.caller(&side, LEDGER_ID, impostor.proxy.port), side)
    };
    let (merged, _agent) = caller("merged", 21, "merge = true\n");
    answered(&merged);
    let (plain, _agent) = caller("plain", 22, "");
    is_refused(&plain);
}

#[test]
fn a_mesh_that_rotates_its_root_costs_a_steady_caller_no_request() {
    let (old, new) = (ForeignCa::new("the mesh's root 1"), ForeignCa::new("the mesh's root 2"));
    let foreign = Foreign::start(&[&old]);
    let service = Service::start(&foreign, &foreign.deploy, (&old, SERVICE_ID));
    let caller = foreign.caller(&foreign.deploy, SERVICE_ID, service.proxy.port);
    answered(&caller);
    let mut calls = 0;
    let mut steadily_until = |what: &str, holds: &dyn Fn() -> bool| {
        eventually(what, || {
            let answer = caller.call();
            assert_eq!(answer.status, 200, "{what}, call {calls}: {}{}", answer.body, caller.running.log());
            calls += 1;
            holds()
        });
    };
    let taken = || caller.count("sds.ROOTCA.update_success");
    let connections = || caller.count("cluster.ledger.upstream_cx_total");
    let first = taken();
    follow(&foreign.world, &[&old, &new]);
    steadily_until("both roots are taken", &|| taken() > first);
    show(&service.certificate, &new, SERVICE_ID);
    let before = connections();
    steadily_until("the new leaf is shown", &|| {
        service.proxy.count("sds.own.update_success") > 1 && connections() > before + 3
    });
    follow(&foreign.world, &[&new]);
    steadily_until("the old root is gone", &|| taken() > first + 1);
    let before = connections();
    steadily_until("connections under the new root alone", &|| connections() > before + 3);
    println!("{calls} calls");
    assert_eq!(caller.count("sds.ROOTCA.update_rejected"), 0);

    // What still shows a leaf under the old root is called no more.
    let stale = Service::start(&foreign, &foreign.deploy, (&old, SERVICE_ID));
    is_refused(&foreign.caller(&foreign.deploy, SERVICE_ID, stale.proxy.port));
}

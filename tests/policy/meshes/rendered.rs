//! The golden files: what each command of `tests/golden/mesh/commands.txt` prints, and what it refuses.

use super::command::{folder, shell, text};
use super::facts::Facts;
use super::hostile::{envoy, istio, linkerd, trust_domain};
use crate::{golden, root};
use lanyard::identity::SpiffeId;
use lanyard::mesh::{Admitted, Anchors, AnchorsError, Peer};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

fn golden_folder() -> PathBuf {
    root().join("tests/golden/mesh")
}

/// Each golden file with its command's arguments.
fn commands() -> Vec<(String, String)> {
    let all = fs::read_to_string(golden_folder().join("commands.txt")).unwrap();
    let lines = all.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').map(|(file, rest)| (file.to_owned(), rest.to_owned())).unwrap()).collect()
}

/// Shows: MESH-D6, MESH-D7, MESH-E4, MESH-E5.
#[test]
fn what_is_rendered_and_what_is_refused_is_what_a_person_has_read() {
    let folder = folder();
    for (file, arguments) in commands() {
        let output = shell(&format!("lanyard policy render {arguments}"), folder.path());
        let refused = file.starts_with("refused-");
        assert_eq!(output.status.success(), !refused, "{file}: {}", text(&output.stderr));
        assert!(!refused || output.stdout.is_empty(), "{file}: a refusal prints nothing that could be applied");
        golden::hold(&golden_folder().join(file), &text(if refused { &output.stderr } else { &output.stdout }));
    }
}

#[test]
fn every_object_has_only_fields_that_its_mesh_knows() {
    let (folder, mut fields) = (folder(), 0);
    let is_yaml = |file: &str| Path::new(file).extension().is_some_and(|ending| ending == "yaml");
    for (file, arguments) in commands().into_iter().filter(|(file, _)| is_yaml(file)) {
        let output = shell(&format!("lanyard policy render {arguments} --json"), folder.path());
        let rendered: Value = serde_json::from_slice(&output.stdout).unwrap();
        let facts = Facts::of(arguments.split(' ').next().unwrap());
        for object in rendered["objects"].as_array().unwrap() {
            let (wrong, checked) = facts.check(object);
            assert_eq!(wrong, [""; 0], "{file}");
            fields += checked;
        }
        let yaml = fs::read_to_string(golden_folder().join(&file)).unwrap();
        let read: Vec<Value> = serde_saphyr::from_multiple(&yaml).unwrap();
        assert_eq!(Value::Array(read), rendered["objects"], "{file}: YAML and JSON say the same");
    }
    assert!(fields > 300, "only {fields}");
}

#[test]
fn the_tables_see_a_field_that_is_not_known_or_of_another_type() {
    let id = SpiffeId::parse("spiffe://ci.example.org/acme/api/-/x").unwrap();
    let admitted = [Admitted { rule: "r".to_owned(), peers: vec![Peer::Exact(id)] }];
    for (mesh, objects) in
        [("istio", istio(&admitted)), ("linkerd", linkerd(&admitted)), ("envoy", vec![envoy(&admitted)])]
    {
        let facts = Facts::of(mesh);
        for object in objects {
            assert_eq!(facts.check(&object).0, [""; 0]);
            for change in changes(&object) {
                assert!(!facts.check(&change).0.is_empty(), "{mesh}: {change}");
            }
        }
    }
}

/// An object with one thing wrong in each.
fn changes(object: &Value) -> Vec<Value> {
    let top = if object.get("spec").is_some() { "spec" } else { "static_resources" };
    let fields = object[top].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let mut all = Vec::new();
    for field in fields {
        let [mut renamed, mut other] = [object.clone(), object.clone()];
        let own = renamed[top].as_object_mut().unwrap();
        let value = own.remove(&field).unwrap();
        own.insert(format!("{field}x"), value);
        other[top][&field] = Value::Null;
        all.extend([renamed, other]);
    }
    all
}

/// Shows: MESH-D3.
#[test]
fn a_proxys_environment_is_read_back_by_a_shell_as_it_was_meant() {
    let folder = folder();
    fs::copy(golden_folder().join("linkerd-proxy.env"), folder.path().join("proxy.env")).unwrap();
    let value = |name: &str| {
        let output = shell(&format!(". ./proxy.env; printf %s \"$LINKERD2_PROXY_IDENTITY_{name}\""), folder.path());
        text(&output.stdout)
    };
    assert_eq!(value("SPIRE_WORKLOAD_API_ADDRESS"), "/run/lanyard/sockets/api.sock");
    assert_eq!(value("SERVER_ID"), "spiffe://ci.example.org/projects/4712/-/environments/production");
    assert_eq!(SpiffeId::parse(&value("SERVER_ID")).unwrap().trust_domain(), trust_domain());
    assert_eq!(value("SERVER_NAME"), "runner-7.jobs.example.org");
    let anchors = value("TRUST_ANCHORS");
    let read: Vec<CertificateDer<'_>> =
        CertificateDer::pem_slice_iter(anchors.as_bytes()).collect::<Result<_, _>>().unwrap();
    assert_eq!(read, [roots("mesh-roots.pem"), roots("roots.pem")].concat(), "the mesh's own, our old and our new");
}

fn roots(file: &str) -> Vec<CertificateDer<'static>> {
    let pem = fs::read(golden_folder().join(file)).unwrap();
    CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().unwrap()
}

/// Shows: MESH-D6.
#[test]
fn no_set_of_anchors_is_made_without_the_meshs_own_root() {
    let (mesh, ours) = (roots("mesh-roots.pem"), roots("roots.pem"));
    assert_eq!(Anchors::new(Vec::new(), ours.clone()), Err(AnchorsError::NoMeshRoot));
    assert_eq!(Anchors::new(ours.clone(), ours.clone()), Err(AnchorsError::NoMeshRoot));
    assert_eq!(Anchors::new(mesh.clone(), Vec::new()), Err(AnchorsError::NoOwnRoot));
    let both = [mesh, ours.clone()].concat();
    assert_eq!(Anchors::new(both, ours).unwrap().to_pem().matches("BEGIN CERTIFICATE").count(), 3);
}

/// Shows: MESH-E4.
#[test]
fn each_root_is_an_entry_of_its_own_and_no_alias_is_made() {
    let values = fs::read_to_string(golden_folder().join("istio-values.yaml")).unwrap();
    let [values]: [Value; 1] = serde_saphyr::from_multiple::<Value>(&values).unwrap().try_into().unwrap();
    let entries = values["meshConfig"]["caCertificates"].as_array().unwrap();
    let pems: Vec<_> = entries.iter().map(|entry| entry["pem"].as_str().unwrap()).collect();
    assert_eq!(pems.len(), 2);
    assert!(pems.iter().all(|pem| pem.matches("BEGIN CERTIFICATE").count() == 1));
    assert!(entries.iter().all(|entry| entry["trustDomains"] == serde_json::json!(["ci.example.org"])));
    assert!(!values.to_string().contains("Aliases"));
    assert_eq!(values["pilot"]["env"]["ISTIO_MULTIROOT_MESH"], "true");
    assert_eq!(values["meshConfig"]["defaultConfig"]["proxyMetadata"]["PROXY_CONFIG_XDS_AGENT"], "true");
}

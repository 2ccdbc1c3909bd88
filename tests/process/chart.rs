//! The Helm chart, rendered by Helm itself: objects that Kubernetes takes, a configuration that this server takes, and a
//! sentence for whoever writes a wrong value.

use crate::gitlab::Gitlab;
use crate::golden;
use crate::python;
use crate::server::{lanyard, words};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use tempfile::TempDir;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/helm/lanyard");
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/chart");
const STARTER_POLICY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/starter_files/policy.toml");
/// What the objects are held against.
const KUBERNETES: &str = "1.33";

/// The two values that are enough, and more.
fn with(more: &Value) -> Value {
    let mut values = json!({ "trustDomain": "ci.example.org", "gitlab": { "url": "https://gitlab.example.org" } });
    merge(&mut values, more);
    values
}

fn merge(values: &mut Value, more: &Value) {
    match (values, more) {
        (Value::Object(values), Value::Object(more)) => {
            for (name, value) in more {
                merge(values.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (values, more) => *values = more.clone(),
    }
}

/// Three replicas and what they share, and more.
fn shared(more: &Value) -> Value {
    let mut values = json!({
        "replicas": 3, "sealingKeySecret": "lanyard-sealing", "tlsSecret": "lanyard-tls",
        "etcd": { "endpoints": ["https://etcd-1.corp.example:2379", "https://etcd-2.corp.example"], "tlsSecret": "etcd-client" },
    });
    merge(&mut values, more);
    values
}

/// Each a house of its own.
fn houses() -> Vec<(&'static str, Value)> {
    let sets = [
        ("two-values", json!({})),
        (
            "own-rules",
            json!({ "policy": "[[rule]]\nname = \"all\"\nid = \"/{project_path}/-/pipelines/{pipeline_id}\"\nwhen = { issuer = \"gitlab\" }\n" }),
        ),
        (
            "private-gitlab",
            json!({ "gitlab": { "caConfigMap": "gitlab-ca", "audience": "https://lanyard.example.org" } }),
        ),
        ("sealing-key", json!({ "sealingKeySecret": "lanyard-sealing" })),
        (
            "gateway",
            json!({ "gateway": { "enabled": true, "parentRefs": [{ "name": "edge", "sectionName": "tls" }], "hostnames": ["lanyard.example.org"], "bundleHostnames": ["bundle.example.org"] } }),
        ),
        (
            "ingress",
            json!({ "bundle": { "ingress": { "host": "bundle.example.org", "className": "nginx", "annotations": { "nginx.ingress.kubernetes.io/ssl-passthrough": "true" } } } }),
        ),
        (
            "ingress-ends-tls",
            json!({ "bundle": { "ingress": { "host": "bundle.example.org", "tlsSecret": "public-tls" } }, "service": { "annotations": { "traefik.ingress.kubernetes.io/service.serversscheme": "https" } } }),
        ),
        (
            "watched",
            json!({ "monitoring": { "serviceMonitor": true, "alerts": true, "dashboard": true, "labels": { "release": "prometheus" } }, "networkPolicy": { "from": [{ "namespaceSelector": { "matchLabels": { "runners": "yes" } } }], "egressPorts": [8443] } }),
        ),
        (
            "settings",
            json!({ "config": { "svid": { "ttl": "10m" }, "keys": { "intermediate_lifetime": "12h" }, "segment_bytes": "1MiB", "issuer": [{ "name": "gitlab", "url": "https://gitlab.example.org", "audience": "https://lanyard.example.org", "namespaces": ["acme"], "hook": [{ "project": 12_345_678, "secret_file": "/etc/lanyard/hooks/token" }] }] } }),
        ),
        (
            "publishes",
            json!({ "networkPolicy": { "egressPorts": [6443] }, "config": { "listen": { "bundle_spiffe": ["0.0.0.0:8445"] }, "publish": [
                { "config_map": { "namespace": "cert-manager", "name": "lanyard-roots", "pem_key": "ca.crt" } },
                { "cluster_trust_bundle": { "name": "lanyard.example.org:ci:roots", "signer": "lanyard.example.org/ci" } },
                { "config_map": { "namespace": "mesh", "name": "roots", "spiffe_key": "bundle.json" }, "kubeconfig": "/etc/lanyard/other" },
            ] } }),
        ),
        ("replicas", shared(&json!({}))),
        (
            "bare",
            json!({ "bundle": { "enabled": false }, "networkPolicy": { "enabled": false }, "checkConfig": false, "service": { "type": "LoadBalancer", "port": 443, "annotations": { "a": "b" } }, "image": { "digest": format!("sha256:{}", "0".repeat(64)) }, "imagePullSecrets": ["pull"], "serviceAccount": { "name": "own" }, "storage": { "className": "fast", "size": "1Ti" }, "nodeSelector": { "disk": "ssd" }, "tolerations": [{ "operator": "Exists" }], "priorityClassName": "high", "podLabels": { "team": "ci" } }),
        ),
    ];
    sets.into_iter().map(|(name, more)| (name, with(&more))).collect()
}

fn rendered(values: &[Value]) -> Value {
    let asked = json!({ "chart": CHART, "kubernetes": KUBERNETES, "values": values });
    serde_json::from_slice(&python::run("chart.py", asked.to_string().as_bytes())).unwrap()
}

/// What the chart's own Job would say, in a folder that holds what it would see.
fn check(config: &Value, [ca, certificate, key]: [&[u8]; 3]) {
    let folder = TempDir::new().unwrap();
    let at = |text: &str| text.replace("/etc/lanyard", &folder.path().display().to_string());
    for (name, text) in config.as_object().unwrap() {
        fs::write(folder.path().join(name), at(text.as_str().unwrap())).unwrap();
    }
    let mounted = |name: &str, bytes: &[u8]| {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, bytes).unwrap();
        fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
    };
    mounted("gitlab/ca.crt", ca);
    mounted("etcd/ca.crt", ca);
    for place in ["etcd", "tls"] {
        mounted(&format!("{place}/tls.crt"), certificate);
        mounted(&format!("{place}/tls.key"), key);
    }
    mounted("sealing/sealing.key", &[7; 32]);
    mounted("hooks/token", b"a secret that GitLab knows");
    let mut judge = lanyard();
    judge.args(["config", "check"]).arg(folder.path().join("server.toml")).env("LANYARD_REPLICA", "lanyard-0");
    let checked = judge.output().unwrap();
    assert!(checked.status.success(), "{}\n{}", words(&checked), config["server.toml"]);
}

#[test]
fn a_dozen_houses_get_objects_that_kubernetes_takes_and_a_configuration_that_the_server_takes() {
    let (houses, gitlab) = (houses(), Gitlab::start());
    let ca = fs::read(gitlab.file("gitlab-ca.pem")).unwrap();
    let pair = rcgen::generate_simple_self_signed(["lanyard.ci.svc".to_owned()]).unwrap();
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let mounted = [&*ca, certificate.as_bytes(), key.as_bytes()];
    let rules = fs::read_to_string(STARTER_POLICY).unwrap();
    let rules: String =
        rules.lines().map(|line| if line.is_empty() { "    \n".to_owned() } else { format!("    {line}\n") }).collect();
    let values: Vec<Value> = houses.iter().map(|(_, values)| values.clone()).collect();
    let found = rendered(&values);
    let errors = |message: &&Value| message["severity"].as_u64() > Some(1);
    let messages = found["lint"]["messages"].as_array().unwrap();
    assert!(!messages.iter().any(|message| errors(&message)), "{messages:?}");
    for ((name, values), answer) in houses.iter().zip(found["answers"].as_array().unwrap()) {
        assert_eq!(answer["refused"], Value::Null, "{name}");
        let files = answer["files"].as_object().unwrap();
        let text: Vec<String> = files
            .iter()
            .map(|(file, text)| {
                format!(
                    "# ── {file}
{}
",
                    text.as_str().unwrap()
                )
            })
            .collect();
        golden::hold(
            Path::new(&format!("{GOLDEN}/{name}.yaml")),
            &text.concat().replace(&rules, "    (the starter's rules)\n"),
        );
        // From one house to another is an upgrade that keeps volumes and keys; "bare" asked for other volumes.
        assert!(*name == "bare" || answer["fixed"] == found["answers"][0]["fixed"], "{name}: {}", answer["fixed"]);
        let config = answer["config"].as_object().unwrap();
        check(&config["lanyard"], mounted);
        let judged = config.get("lanyard-check");
        assert_eq!(judged.is_some(), values["checkConfig"] != false, "{name}");
        assert!(
            judged.is_none_or(|judged| *judged == config["lanyard"]),
            "{name}: what is judged is what is installed"
        );
    }
}

fn wrong_of_ingresses() -> Vec<(Value, &'static str)> {
    let cases = [
        (json!({ "host": "https://bundle.example.org" }), "write a DNS name in lower case"),
        (json!({ "host": "bundle.example.org:443" }), "without a scheme, a port or a path"),
        (json!({ "className": "nginx" }), "bundle.ingress.host is missing: by which name readers"),
        (json!({ "tlsSecret": "public-tls" }), "bundle.ingress.host is missing"),
        (json!({ "host": "a" }), "such as nginx.ingress.kubernetes.io/ssl-passthrough: \"true\""),
        (
            json!({ "host": "a", "tlsSecret": "public-tls" }),
            "speaks to it in the clear; such as nginx.ingress.kubernetes.io/backend-protocol: HTTPS",
        ),
        (json!({ "hostname": "a" }), "additional properties 'hostname' not allowed"),
        (json!({ "annotations": { "a": true } }), "got boolean, want string"),
    ];
    let named = |ingress: &Value| json!({ "bundle": { "ingress": ingress } });
    let mut cases: Vec<_> = cases.iter().map(|(ingress, sentence)| (named(ingress), *sentence)).collect();
    let fine = json!({ "host": "a", "annotations": { "a": "b" } });
    cases.push((json!({ "bundle": { "enabled": false, "ingress": fine } }), "leave bundle.enabled on"));
    cases.push((
        json!({ "bundle": { "ingress": fine }, "gateway": { "hostnames": ["a"] } }),
        "bundle.ingress.host \"a\": jobs come by this name",
    ));
    cases
}

fn wrong_of_replicas() -> Vec<(Value, &'static str)> {
    vec![
        (json!({ "replicas": 3 }), "etcd.endpoints is missing: 3 replicas share an etcd"),
        (json!({ "replicas": 0 }), "at '/replicas': minimum: got 0, want 1"),
        (json!({ "replicas": "three" }), "at '/replicas': got string, want integer"),
        (
            shared(&json!({ "sealingKeySecret": "" })),
            "sealingKeySecret is missing: replicas open the same signing keys",
        ),
        (shared(&json!({ "tlsSecret": "" })), "tlsSecret is missing: each replica would make a door CA of its own"),
        (shared(&json!({ "etcd": { "endpoints": ["etcd-1:2379"] } })), "write https://, the host and a port"),
        (
            shared(&json!({ "config": { "checkpoints": { "replica": "ca-1" } } })),
            "config.checkpoints.replica: the chart says this; a replica is called after its pod",
        ),
    ]
}

#[test]
fn a_wrong_value_gets_a_sentence_that_helps() {
    let cases = [
        (json!({ "trustDomain": "" }), "trustDomain is missing: the name with which every SPIFFE ID begins"),
        (json!({ "trustDomain": "CI.example.org" }), "write lower-case letters"),
        (json!({ "trustDomain": "spiffe://ci.example.org" }), "without a scheme"),
        (json!({ "trustDomain": 7 }), "at '/trustDomain': got number, want string"),
        (json!({ "gitlab": { "url": "" } }), "gitlab.url is missing: as its users type it"),
        (json!({ "gitlab": { "url": "http://gitlab.example.org" } }), "write https:// and the host"),
        (json!({ "gitlab": { "url": "https://gitlab.example.org/" } }), "a slash at the end"),
        (json!({ "gitlab": { "url": "https://u:p@gitlab.example.org" } }), "without a user"),
        (json!({ "gitlab": { "uri": "https://gitlab.example.org" } }), "additional properties 'uri' not allowed"),
        (json!({ "gitlab": "https://gitlab.example.org" }), "at '/gitlab': got string, want object"),
        (json!({ "gateway": { "enabled": true } }), "gateway.parentRefs is missing: name the Gateway"),
        (
            json!({ "gateway": { "enabled": true, "parentRefs": [{ "name": "edge" }] } }),
            "gateway.hostnames is missing: by which name jobs come",
        ),
        (json!({ "gateway": { "enabled": true, "parentRefs": [{}], "hostnames": ["a"] } }), "missing property 'name'"),
        (json!({ "gateway": { "hostnames": ["https://lanyard.example.org"] } }), "without a scheme or a path"),
        (
            json!({ "gateway": { "enabled": true, "parentRefs": [{ "name": "edge" }], "hostnames": ["a"], "bundleHostnames": ["a"] } }),
            "a Gateway tells ports apart by name alone",
        ),
        (json!({ "names": ["a b"] }), "is no name of a server"),
        (json!({ "names": "a" }), "at '/names': got string, want array"),
        (json!({ "image": { "repository": "lanyard:1" } }), "a tag goes into image.tag"),
        (json!({ "image": { "repository": "" } }), "write the name alone"),
        (json!({ "image": { "tag": "a b" } }), "no image has such a tag"),
        (json!({ "image": { "digest": "sha256:12" } }), "64 hexadecimal digits"),
        (json!({ "image": { "pullPolicy": "Sometimes" } }), "value must be one of 'Always', 'IfNotPresent', 'Never'"),
        (json!({ "storage": { "size": "10G" } }), "such as 10Gi"),
        (json!({ "storage": { "size": 10 } }), "at '/storage/size': got number, want string"),
        (json!({ "service": { "type": "Ingress" } }), "'ClusterIP', 'NodePort', 'LoadBalancer'"),
        (json!({ "service": { "port": 70000 } }), "maximum: got 70,000, want 65,535"),
        (json!({ "monitoring": { "interval": "30" } }), "such as 30s"),
        (json!({ "logLevel": "loud" }), "'error', 'warn', 'info', 'debug', 'trace'"),
        (json!({ "config": { "data_dir": "/tmp" } }), "config.data_dir: the chart says this; the volume has its place"),
        (json!({ "config": { "trust_domain": "x" } }), "set trustDomain"),
        (json!({ "config": { "listen": "0.0.0.0:8443" } }), "at '/config/listen': got string, want object"),
        (json!({ "config": { "issuer": { "name": "gitlab" } } }), "at '/config/issuer': got object, want array"),
        (json!({ "extraVolumes": [{ "name": "data", "emptyDir": {} }] }), "the name \"data\" is the chart's own"),
        (
            json!({ "networkPolicy": { "egressPorts": ["https"] } }),
            "at '/networkPolicy/egressPorts/0': got string, want integer",
        ),
        (json!({ "extraVolumes": [{ "name": "etcd", "emptyDir": {} }] }), "the name \"etcd\" is the chart's own"),
    ];
    let cases = [&cases[..], &wrong_of_ingresses(), &wrong_of_replicas()].concat();
    let values: Vec<Value> = cases.iter().map(|(more, _)| with(more)).collect();
    let found = rendered(&[&[with(&json!({}))], &*values].concat());
    let answers = found["answers"].as_array().unwrap().iter().skip(1);
    for ((more, sentence), answer) in cases.iter().zip(answers) {
        let refused = answer["refused"].as_str().unwrap_or_else(|| panic!("{more} was rendered"));
        assert!(refused.contains(sentence), "{more}: {refused}");
    }
}

/// What the schema knows of the server's file is there; what it does not know, the server judges.
#[test]
fn the_schema_names_what_the_server_reads() {
    let schema: Value =
        serde_json::from_str(&fs::read_to_string(format!("{CHART}/values.schema.json")).unwrap()).unwrap();
    let names = schema["properties"]["config"]["properties"].as_object().unwrap().keys();
    let text = names.map(|name| name.to_owned() + " = true\n").collect::<String>();
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("server.toml"), text).unwrap();
    let checked = lanyard().args(["config", "check"]).arg(folder.path().join("server.toml")).output().unwrap();
    let said = words(&checked);
    assert!(said.contains("listen") && said.contains("lanyard server") && !said.contains("nobody reads"), "{said}");
}

/// What can be set: a map or a list that is empty is one value too.
fn leaves(values: &Value) -> usize {
    match values {
        Value::Object(inside) if !inside.is_empty() => inside.values().map(leaves).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => 1,
    }
}

/// `helm show values` is the manual.
#[test]
fn there_are_few_values_and_each_is_explained() {
    let text = fs::read_to_string(format!("{CHART}/values.yaml")).unwrap();
    let values: Value = serde_json::from_slice(&python::run("yaml_to_json.py", text.as_bytes())).unwrap();
    let count = leaves(&values[0]);
    assert!((40..60).contains(&count), "{count} values");
    let alone = text.split("\n\n").filter(|part| !part.contains('#')).count();
    assert_eq!(alone, 0, "a part without a word");
}

//! What the pages for pipelines and runners show, as GitLab and its runner would take it: tokens for the audience that a file
//! names, its variables, its scripts in a shell.

use crate::clouds::JwtMethod;
use crate::dev_env::variables;
use crate::gitlab::Gitlab;
use crate::https::Scripted;
use crate::python;
use crate::server::{lanyard, words};
use lanyard::svid::inspect_jwt;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");
/// What a job's own command would do: here it tells who it is.
const DEPLOY: &str = "#!/bin/sh\nif [ -n \"${SPIFFE_ENDPOINT_SOCKET:-}\" ]; then lanyard svid x509 --json; else openssl x509 -in svid.pem -noout -ext subjectAltName; fi\n";
/// What is not ours: commands that tell what they were called with, and by whose right.
const PROGRAMS: [(&str, &str); 2] = [
    ("aws", "#!/bin/sh\necho \"$@\"\necho \"$AWS_ROLE_ARN\"\ncat \"$AWS_WEB_IDENTITY_TOKEN_FILE\"\necho\n"),
    (
        "vault",
        "#!/bin/sh\n[ \"$*\" = 'kv get -field=password secret/deploy' ] && echo with a password for \"$VAULT_TOKEN\" >&2 && echo secret\n",
    ),
];
const ID: &str = "spiffe://dev.lanyard.test/acme/payments/api/-/";

/// The documents of a YAML text.
fn yaml(text: &str) -> Vec<Value> {
    serde_json::from_slice(&python::run("yaml_to_json.py", text.as_bytes())).unwrap()
}

/// The places of the stand-in, in place of those that the pages show.
fn here(text: &str, variables: &BTreeMap<String, String>) -> String {
    text.replace("https://lanyard.corp.example:8443", &variables["LANYARD_SERVER"])
        .replace("https://ci.corp.example/lanyard", &variables["LANYARD_AUDIENCE"])
}

/// A job, as GitLab works it out of the file and the component that it includes.
fn job(file: &str, variables: &BTreeMap<String, String>) -> Map<String, Value> {
    let text = here(&fs::read_to_string(format!("{DOCS}/pipelines/{file}")).unwrap(), variables);
    let pipeline = yaml(&text).remove(0);
    let mut job = pipeline["deploy"].as_object().unwrap().clone();
    for include in pipeline["include"].as_array().into_iter().flatten() {
        assert!(include["component"].as_str().unwrap().ends_with("/lanyard/identity@1"));
        let template = fs::read_to_string(format!("{DOCS}/pipelines/templates/identity.yml")).unwrap();
        let declared = yaml(&template).remove(0)["spec"]["inputs"].as_object().unwrap().clone();
        let given = include["inputs"].as_object().unwrap();
        assert!(given.keys().all(|name| declared.contains_key(name)), "{given:?}");
        let filled = declared.iter().fold(template, |text, (name, input)| {
            let value =
                given.get(name).or_else(|| input.get("default")).unwrap_or_else(|| panic!("{name} is not given"));
            text.replace(&format!("$[[ inputs.{name} ]]"), value.as_str().unwrap())
        });
        let hidden = yaml(&filled).remove(1)[job["extends"].as_str().unwrap()].as_object().unwrap().clone();
        job = hidden.into_iter().chain(job).collect();
    }
    // What a job says itself is not added to, but taken instead.
    let default = pipeline["default"].as_object().cloned().unwrap_or_default();
    default.into_iter().chain(job).collect()
}

/// Runs lines as a runner's shell does, with nothing but these variables.
fn shell(lines: &str, variables: &BTreeMap<String, String>, folder: &Path) -> Output {
    let binary = lanyard();
    let own = Path::new(binary.get_program()).parent().unwrap().display().to_string();
    let mut shell = Command::new("bash");
    shell.args(["-eo", "pipefail", "-c", lines]).current_dir(folder).env_clear().envs(variables);
    shell.env("PATH", format!("{}:{own}:/usr/bin:/bin", folder.display())).env("TMPDIR", folder).output().unwrap()
}

fn deployed(file: &str) -> Output {
    deployed_at(&Gitlab::start(), file, &[])
}

/// With other places than those that the example names, and what this job's runner sets besides.
fn deployed_at(gitlab: &Gitlab, file: &str, other: &[(&str, &str)]) -> Output {
    let places = variables(gitlab);
    let job = job(file, &places);
    let folder = TempDir::new().unwrap();
    for (name, program) in PROGRAMS {
        fs::write(folder.path().join(name), program).unwrap();
        fs::set_permissions(folder.path().join(name), Permissions::from_mode(0o755)).unwrap();
    }
    let deploy = folder.path().join("deploy.sh");
    fs::write(&deploy, DEPLOY).unwrap();
    fs::set_permissions(deploy, Permissions::from_mode(0o755)).unwrap();

    let ca = fs::read(&places["LANYARD_SERVER_CA"]).unwrap();
    let mut variables = BTreeMap::from([("LANYARD_DOOR_CA".to_owned(), python::digest_of_pem(&ca))]);
    if !job.contains_key("extends") {
        variables.insert("LANYARD_SERVER_CA".to_owned(), places["LANYARD_SERVER_CA"].clone());
    }
    for (name, value) in job.get("variables").and_then(Value::as_object).into_iter().flatten() {
        let value = value.as_str().unwrap().replace("$LANYARD_DOOR_CA", &variables["LANYARD_DOOR_CA"]);
        variables.insert(name.clone(), value);
    }
    for (name, token) in job["id_tokens"].as_object().unwrap() {
        variables.insert(name.clone(), gitlab.token_for(token["aud"].as_str().unwrap(), &[]));
    }
    let lines: Vec<_> = job["script"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    let mut lines = lines.join("\n");
    for (from, to) in other {
        if let Some(name) = from.strip_prefix('$') {
            variables.insert(name.to_owned(), (*to).to_owned());
        } else {
            assert!(lines.contains(from), "{file} says no {from:?} any more");
            lines = lines.replace(from, to);
        }
    }
    shell(&lines, &variables, folder.path())
}

/// From now on the stand-in's rule grants JWT-SVIDs for this audience.
fn grant(gitlab: &Gitlab, audience: &str) {
    let policy = fs::read_to_string(gitlab.file("policy.toml")).unwrap();
    fs::write(gitlab.file("policy.toml"), policy.replace("https://service.test", audience)).unwrap();
    let reloaded =
        lanyard().args(["policy", "reload", "--admin-socket"]).arg(gitlab.file("admin.sock")).output().unwrap();
    assert!(reloaded.status.success(), "{}", words(&reloaded));
}

#[test]
fn a_job_reads_a_secret_of_vault_s() {
    let (runtime, gitlab, vault) = (Runtime::new().unwrap(), Gitlab::start(), JwtMethod::new());
    let served = runtime.block_on(Scripted::serve(Arc::clone(&vault)));
    let address = format!("https://127.0.0.1:{}", served.port);
    vault.audience.lock().unwrap().clone_from(&address);
    grant(&gitlab, &address);
    let ca = TempDir::new().unwrap();
    let ca_file = ca.path().join("vault-ca.pem").display().to_string();
    fs::write(&ca_file, &served.ca_pem).unwrap();
    let places = [("https://vault.corp.example:8200", &*address), ("$VAULT_CACERT", &ca_file)];
    let output = deployed_at(&gitlab, "vault.gitlab-ci.yml", &places);
    assert!(
        output.status.success() && words(&output).contains("with a password for hvs.of-the-job"),
        "{}",
        words(&output)
    );
}

#[test]
fn a_job_takes_a_role_of_aws_s() {
    let gitlab = Gitlab::start();
    grant(&gitlab, "sts.amazonaws.com");
    let output = deployed_at(&gitlab, "aws.gitlab-ci.yml", &[]);
    let said = words(&output);
    assert!(output.status.success() && said.contains("s3 cp build.tar.gz s3://acme-releases/"), "{said}");
    assert!(said.contains("arn:aws:iam::123456789012:role/deploy"), "{said}");
    let token = said.lines().find(|line| line.starts_with("ey")).unwrap_or_else(|| panic!("{said}"));
    assert_eq!(inspect_jwt(token).unwrap().audience, ["sts.amazonaws.com"]);
}

#[test]
fn a_job_deploys_through_the_proxy_beside_it() {
    let gitlab = Gitlab::start();
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = proxy.local_addr().unwrap().port();
    // It refuses the first call, as one does that has not taken the new certificate yet.
    let serving = thread::spawn(move || {
        ["403 Forbidden", "200 OK"].map(|status| {
            let (mut connection, _) = proxy.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&connection).read_line(&mut line).unwrap();
            write!(connection, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
            line
        })
    });
    let agent = variables(&gitlab)["LANYARD_AGENT_SOCKET"].clone();
    let here = format!("http://127.0.0.1:{port}");
    let places = [("http://127.0.0.1:9001", &*here), ("$LANYARD_AGENT_SOCKET", &agent)];
    let output = deployed_at(&gitlab, "istio.gitlab-ci.yml", &places);
    assert!(output.status.success(), "{}", words(&output));
    assert!(serving.join().unwrap().iter().all(|line| line.starts_with("POST /deployments ")));
}

#[test]
fn a_job_that_takes_the_component_gets_its_identity() {
    let output = deployed("component.gitlab-ci.yml");
    assert!(output.status.success() && words(&output).contains(ID), "{}", words(&output));
}

#[test]
fn a_job_of_a_pipeline_that_gives_all_its_jobs_a_token_gets_its_identity() {
    let output = deployed("default.gitlab-ci.yml");
    assert!(output.status.success() && words(&output).contains(ID), "{}", words(&output));
}

#[test]
fn a_job_that_says_all_itself_gets_its_identity_for_two_commands_and_no_third() {
    let output = deployed("exec.gitlab-ci.yml");
    assert!(output.status.success() && words(&output).matches(ID).count() == 2, "{}", words(&output));
}

#[test]
fn a_job_with_curl_and_openssl_alone_gets_its_identity() {
    let output = deployed("curl.gitlab-ci.yml");
    assert!(output.status.success() && words(&output).contains(ID), "{}", words(&output));
    assert!(words(&output).contains("svid.pem: OK"), "{}", words(&output));
}

fn runner(file: &str) -> toml::Value {
    let text = fs::read_to_string(format!("{DOCS}/runners/{file}")).unwrap();
    toml::from_str::<toml::Table>(&text).unwrap()["runners"].as_array().unwrap()[0].clone()
}

#[test]
fn a_runner_logs_in_jobs_that_have_a_token_and_is_silent_in_others() {
    let gitlab = Gitlab::start();
    let places = variables(&gitlab);
    let folder = TempDir::new().unwrap();
    for file in ["docker.toml", "kubernetes.toml"] {
        let runner = runner(file);
        let script = runner["pre_build_script"].as_str().unwrap().replace("/run/lanyard/workload/lanyard", "lanyard");
        let mut variables: BTreeMap<_, _> = places
            .iter()
            .filter(|(name, _)| *name == "LANYARD_AGENT_SOCKET")
            .map(|(name, at)| (name.clone(), at.clone()))
            .collect();
        let quiet = shell(&script, &variables, folder.path());
        assert!(
            quiet.status.success() && quiet.stdout.is_empty() && quiet.stderr.is_empty(),
            "{file}: {}",
            words(&quiet)
        );
        // The stand-in's agent has its job already: it knows this token's job, or refuses another's.
        variables.insert("LANYARD_ID_TOKEN".to_owned(), gitlab.token_for("https://vault.test", &[]));
        let refused = shell(&script, &variables, folder.path());
        assert!(!refused.status.success() && words(&refused).contains("refused: "), "{file}: {}", words(&refused));
    }
}

#[test]
fn the_values_for_the_runner_s_own_chart_say_what_its_file_says() {
    let values = yaml(&fs::read_to_string(format!("{DOCS}/runners/values.yaml")).unwrap()).remove(0);
    let file = fs::read_to_string(format!("{DOCS}/runners/kubernetes.toml")).unwrap();
    assert_eq!(values, json!({ "runners": { "config": file } }));
}

/// The patch as the runner's own pod would have it.
#[test]
fn the_pod_of_a_job_with_its_agent_is_one_that_kubernetes_takes() {
    let runner = runner("kubernetes.toml");
    let patch = &runner["kubernetes"]["pod_spec"].as_array().unwrap()[0];
    assert_eq!(patch["patch_type"].as_str(), Some("strategic"));
    assert_eq!(runner["feature_flags"]["FF_USE_ADVANCED_POD_SPEC_CONFIGURATION"].as_bool(), Some(true));
    let mut spec = yaml(patch["patch"].as_str().unwrap()).remove(0);
    spec["containers"][0]["image"] = json!("debian:12");
    let sidecar = &spec["initContainers"][0];
    assert_eq!(sidecar["restartPolicy"], "Always", "a native sidecar: it starts before the job and ends behind it");
    let page = fs::read_to_string(format!("{DOCS}/runners/README.md")).unwrap();
    assert!(page.contains("Kubernetes 1.29 or newer") && page.contains("`FF_USE_ADVANCED_POD_SPEC_CONFIGURATION`"));
    let mounted = |place: &str| sidecar["volumeMounts"].as_array().unwrap().iter().any(|at| at["mountPath"] == place);
    let agent =
        fs::read_to_string(format!("{DOCS}/runners/agent-in-pod.toml")).unwrap().parse::<toml::Table>().unwrap();
    let state = Path::new(agent["state_dir"].as_str().unwrap());
    let volume = state.parent().unwrap().to_str().unwrap();
    assert!(mounted(volume), "the state is below a volume, not the volume, which is open to anybody");
    let mounts = |container: &Value| -> Vec<String> {
        let all = container["volumeMounts"].as_array().unwrap();
        all.iter().map(|mount| mount["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(mounts(&spec["containers"][0]), ["lanyard-workload"], "the session key is the agent's alone");
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "runner-1" }, "spec": spec });
    python::run("pod.py", pod.to_string().as_bytes());
}

#[test]
fn the_agent_of_a_pod_and_the_runner_agree_on_their_places() {
    let config = format!("{DOCS}/runners/agent-in-pod.toml");
    let checked = lanyard().args(["config", "check", &config]).output().unwrap();
    assert!(checked.status.success(), "{}", words(&checked));
    let agent = toml::from_str::<toml::Table>(&fs::read_to_string(config).unwrap()).unwrap();
    let listen = |name: &str| agent["listen"][name].as_str().unwrap().to_owned();
    for file in ["docker.toml", "kubernetes.toml"] {
        let runner = runner(file);
        let environment: Vec<_> =
            runner["environment"].as_array().unwrap().iter().filter_map(toml::Value::as_str).collect();
        let workload = format!("SPIFFE_ENDPOINT_SOCKET=unix://{}", listen("workload"));
        assert_eq!(environment, [workload, format!("LANYARD_AGENT_SOCKET={}", listen("agent"))], "{file}");
        assert!(
            runner["pre_build_script"].as_str().unwrap().contains(&format!("{} login", listen("program"))),
            "{file}"
        );
    }
}

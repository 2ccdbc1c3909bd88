//! A proxy of a runner's, which lives longer than any job: it calls by the runner's own name, by the job's while there is one,
//! and by the runner's again.

use crate::issuer::AUDIENCE;
use crate::page;
use crate::sides::{
    Answer, DEPLOY_ID, LEDGER, OF_LEDGER, OTHERS, PRODUCTION, Program, Proxy, Side, before_ledger, beside_the_deploy,
    eventually,
};
use crate::world::{Job, World};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;
use std::fs;
use std::time::{Duration, SystemTime};

const RUNNER_ID: &str = "spiffe://ci.example.org/-/lanyard/runners/ci/gitlab-runner";
/// The first line goes on in the section before it: only GitLab's projects have numbers in names.
const CLUSTER: &str = r#"names_of = "corp"

[[issuer]]
name = "cluster"
kind = "kubernetes"
url = "https://kubernetes.test"
audience = "AUDIENCE"
jwks_file = "./jwks.json"
"#;
const RUNNERS: &str = r#"
[[rule]]
name = "runners"
id = "/-/lanyard/runners/{project_path}"
ttl = "15m"
when = { issuer = "cluster", project_path = "ci/gitlab-runner" }
"#;
const A_SECOND: Duration = Duration::from_secs(1);
/// Longer than a connection lives, so that what still comes would be seen.
const IN_A_ROW: usize = 40;

/// As the kubelet keeps it in the pod.
fn projected(world: &World) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({
        "iss": "https://kubernetes.test", "aud": [AUDIENCE], "iat": now, "nbf": now, "exp": now + 3600, "jti": "token-1",
        "sub": "system:serviceaccount:ci:gitlab-runner",
        "kubernetes.io": {
            "namespace": "ci", "node": { "name": "one", "uid": "1b3e" },
            "pod": { "name": "runner-x", "uid": "778a530c" },
            "serviceaccount": { "name": "gitlab-runner", "uid": "a087d5a0" }, "warnafter": now + 3000,
        },
    });
    world.place.issuer.mint(claims.as_object().unwrap())
}

/// Who calls, as the Workload API says it.
fn caller(side: &Side, folder: &str) -> String {
    let (folder, output) = side.svid(folder);
    assert!(output.status.success(), "{output:?}");
    let pem = fs::read(folder.join("svid.pem")).unwrap();
    let leaf = CertificateDer::from_pem_slice(&pem).unwrap();
    lanyard::svid::inspect_certificate(&leaf).unwrap().spiffe_id.to_string()
}

/// Calls until so many in a row had this status: before it there is only the other one, and none fails for want of a certificate.
fn turns(proxy: &Proxy, [from, to]: [u16; 2]) -> Answer {
    let (mut statuses, mut last) = (Vec::new(), None);
    eventually("the other status", || {
        let answer = proxy.call();
        statuses.push(answer.status);
        last = Some(answer);
        statuses.ends_with(&[to; IN_A_ROW])
    });
    assert!(statuses.iter().all(|status| [from, to].contains(status)), "{statuses:?}\n{}", proxy.running.log());
    assert!(statuses.is_sorted_by_key(|status| *status == to), "once, and not to and fro: {statuses:?}");
    last.unwrap()
}

/// Shows: SDS-7, MESH-C8.
#[test]
fn a_runner_s_proxy_calls_as_the_runner_until_a_job_logs_in_then_as_the_job_and_as_the_runner_after_its_logout() {
    let policy = format!("{}{RUNNERS}{OTHERS}", page::block("policy.toml"));
    let (world, program) = (World::configured(&policy, &CLUSTER.replace("AUDIENCE", AUDIENCE)), Program::start());
    let ledger = Side::start(&world, "ledger");
    ledger.login(&world.token_with(&LEDGER, &[&PRODUCTION[..], &OF_LEDGER].concat()));
    let right = ledger.proxy(&before_ledger(A_SECOND), &program);
    let token = world.place.file("runner.token");
    fs::write(&token, projected(&world)).unwrap();
    let runner = Side::with(&world, "runner", &format!("[runner]\ntoken_file = \"{}\"\n", token.display()));
    let left = runner.proxy(&beside_the_deploy(right.port), &program);

    // Verified, and admitted nowhere; before the agent has the identity there is no connection at all.
    eventually("it is verified", || left.call().status == 403);
    assert_eq!(caller(&runner, "first"), RUNNER_ID);
    for number in [1, 2] {
        let updates = left.count("sds.default.update_success");
        runner.login(&world.token_with(&Job { number, pipeline: "574" }, &PRODUCTION));
        let answer = turns(&left, [403, 200]);
        assert!(answer.body.contains(&format!("URI={DEPLOY_ID}")), "{answer:?}");
        assert_eq!(caller(&runner, &format!("job-{number}")), DEPLOY_ID);
        runner.logout();
        turns(&left, [200, 403]);
        assert_eq!(caller(&runner, &format!("after-{number}")), RUNNER_ID);
        assert_eq!(left.count("sds.default.update_success"), updates + 2, "one for each change");
    }
    assert_eq!(left.count("sds.default.update_rejected"), 0);
    assert_eq!(left.count("sds.ROOTCA.update_success"), 1, "the roots are the same all the time");
}

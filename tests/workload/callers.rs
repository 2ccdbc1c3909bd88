//! Who may ask: processes of other users, and jobs that see our folder through a mount.

use crate::support::beside::{Beside, Site, TWO_PROFILES, within};
use lanyard::agent::{AgentSettings, Callers};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Output;
use tokio::process::Command;

/// `nobody`, and certainly not us.
pub(crate) const ANOTHER: u32 = 65_534;

/// A workload that is a process of its own: curl, which any user may run, asking for the X.509 bundles.
fn workload(socket: &Path, request: &Path) -> Command {
    calling("SpiffeWorkloadAPI/FetchX509Bundles", socket, request)
}

/// The same for any call.
pub(crate) fn calling(call: &str, socket: &Path, request: &Path) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--http2-prior-knowledge", "--max-time", "3", "--no-buffer", "--verbose", "--output", "-"]);
    curl.args(["-H", "workload.spiffe.io: true", "-H", "content-type: application/grpc", "-H", "te: trailers"]);
    curl.arg("--unix-socket").arg(socket).arg("--data-binary").arg(format!("@{}", request.display()));
    curl.arg(format!("http://localhost/{call}"));
    curl
}

/// The status that ended the call, or none where a message came instead.
fn status(ran: &Output) -> Option<String> {
    let said = String::from_utf8_lossy(&ran.stderr);
    let ended = said.lines().find_map(|line| line.strip_prefix("< grpc-status: ")).map(|code| code.trim().to_owned());
    assert!(ended.is_some() || ran.stdout.len() > 5, "neither an end nor a message: {said}");
    ended
}

/// The status with which a user's call is refused. curl may lose an answer that comes before all of its request is out, and
/// then shows nothing; it asks again, and never may it be given anything.
pub(crate) async fn refusal(uid: u32, call: impl Fn() -> Command) -> String {
    let asked = async {
        loop {
            let ran = call().uid(uid).output().await.unwrap();
            assert!(ran.stdout.is_empty(), "something was served");
            if String::from_utf8_lossy(&ran.stderr).contains("< grpc-status: ") {
                break status(&ran).unwrap();
            }
        }
    };
    within(asked).await
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Shows: EP-10, MESH-C11.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_s_agent_serves_every_user_and_one_for_its_own_user_nobody_else() {
    let site = Site::open(TWO_PROFILES).await;
    let request = site.path("request");
    fs::write(&request, [0; 5]).unwrap();
    let pod = site.logged_in().await;
    let own = AgentSettings {
        callers: Callers::OwnUid,
        workload_socket: site.path("own/api.sock"),
        state_dir: site.path("own-state"),
        ..site.agent_settings()
    };
    let own = Beside::start(own, &site.clock);
    own.login(site.token()).await.unwrap();
    for agent in [&pod, &own] {
        assert_eq!(status(&workload(&agent.socket, &request).output().await.unwrap()), None, "our own user");
    }
    assert!(is_root(), "only root can be another user too: run this test as root");
    let served = workload(&pod.socket, &request).uid(ANOTHER).output().await.unwrap();
    assert_eq!(status(&served), None, "the mount is the check");
    for call in ["SpiffeWorkloadAPI/FetchX509Bundles", "grpc.reflection.v1.ServerReflection/ServerReflectionInfo"] {
        // Were it let through by the file's mode, as a lax operator may set it, it would still be refused.
        assert_eq!(refusal(ANOTHER, || calling(call, &own.socket, &request)).await, "7", "{call}");
    }
}

/// Calls what `exec` serves as some user, and tells with which status that ends.
const CALL_AS: &str = r#"
setpriv --reuid="$1" --regid="$1" --clear-groups curl --silent --http2-prior-knowledge --max-time 3 --no-buffer --verbose \
    --output /dev/null -H 'workload.spiffe.io: true' -H 'content-type: application/grpc' -H 'te: trailers' \
    --data-binary @"$2" --unix-socket "${SPIFFE_ENDPOINT_SOCKET#unix://}" http://localhost/SpiffeWorkloadAPI/FetchX509Bundles \
    2>&1 | grep -e '^< grpc-status: ' -e "^curl: .*Permission" -e 'HTTP/2 200'
"#;

/// Shows: MESH-C11.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_s_agent_serves_its_own_user_and_those_that_were_named() {
    if !is_root() {
        println!("NOT RUN: only root can be another user too; run this test as root to see whom `exec` serves");
        return;
    }
    let site = Site::open(TWO_PROFILES).await;
    let request = site.path("request");
    fs::write(&request, [0; 5]).unwrap();
    fs::set_permissions(site.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (named, other) = (ANOTHER.to_string(), (ANOTHER - 1).to_string());
    for (uids, asks, is_served) in [
        (&["--uid", &named][..], &*named, true),
        (&["--uid", "1337", "--uid", &named], &named, true),
        (&["--uid", &named], "0", true),
        (&["--uid", &named], &other, false),
        (&[], &named, false),
    ] {
        let mut exec = Command::new(env!("CARGO_BIN_EXE_lanyard"));
        exec.args(["exec", "--server-ca"]).arg(site.path("data/door-ca.pem")).args(["--token-env", "TOKEN"]).args(uids);
        exec.args(["--", "bash", "-c", CALL_AS, "sh", asks]).arg(&request);
        exec.env("LANYARD_SERVER", site.url.to_string()).env("TOKEN", site.token()).env("TMPDIR", site.folder.path());
        let ran = exec.output().await.unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
        let (answered, refused) = (said.contains("HTTP/2 200"), said.contains("grpc-status: "));
        assert_eq!(answered && !refused, is_served, "{uids:?} asked by {asks}: {said}");
    }
}

/// Shows: WAPI-41.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_reaches_the_socket_through_a_read_only_mount_of_its_folder_also_after_a_restart() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    let (request, mount) = (site.path("request"), site.path("mount"));
    fs::write(&request, [0; 5]).unwrap();
    fs::create_dir(&mount).unwrap();
    let go = site.path("go");
    // A mount namespace of its own, in a user's namespace where we are not root; it is there before the restart.
    let script = "mount --bind \"$1\" \"$2\" && mount -o remount,ro,bind \"$2\" && ! touch \"$2/x\" 2>/dev/null \
                  && touch \"$3.mounted\" && while [ ! -e \"$3\" ]; do sleep 0.05; done && shift 3 && exec \"$@\"";
    let folder = agent.socket.parent().unwrap().to_owned();
    let mut inside = Command::new("unshare");
    inside.args(if is_root() { ["--mount"].as_slice() } else { &["--user", "--map-root-user", "--mount"] });
    inside.args(["sh", "-c", script, "sh"]).args([&folder, &mount, &go]);
    let curl = workload(&mount.join("api.sock"), &request);
    inside.arg(curl.as_std().get_program()).args(curl.as_std().get_args());
    inside.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).kill_on_drop(true);
    let job = inside.spawn().unwrap();
    let mounted = go.with_extension("mounted");
    crate::support::beside::until(|| mounted.exists()).await;

    agent.ended().await;
    let again = site.agent();
    again.x509().await;
    fs::write(&go, "").unwrap();
    assert_eq!(status(&job.wait_with_output().await.unwrap()), None);
    assert_eq!(fs::metadata(&again.socket).unwrap().permissions().mode() & 0o777, 0o777);
}

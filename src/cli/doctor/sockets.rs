//! The sockets of an agent: the Workload API, its own, and where meshes look for it.

use super::finding::{Finding, Verdict};
use crate::cli::failure::plain;
use crate::cli::svid::{first_svids, is_of_transport, leaf_of};
use crate::clock::{Clock as _, SystemClock};
use crate::wire::WorkloadAddress;
use crate::wire::workload::X509svidResponse;
use crate::wire::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::time::Duration;
use tonic::{Code, Status};

/// An agent that has an SVID gives it at once; one that has none is silent.
const SVID_WITHIN: Duration = Duration::from_secs(3);

/// Where Istio's proxies look for an agent.
const MESH_FOLDER: &str = "/var/run/secrets/workload-spiffe-uds";
/// By this name Istio falls back to its own CA in silence, where the socket is not healthy.
const MESH_FALLBACK: &str = "socket";

/// Who looks at a Workload API.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Looker {
    /// A job, which should be served.
    Job,
    /// Somebody beside the agent: that nobody has logged in is no fault, and what jobs get is not for him.
    Administrator,
}

/// The Workload API, and what it gives us.
pub(super) async fn workload(endpoint: &str, looker: Looker) -> Vec<Finding> {
    let check = "workload socket";
    let address: WorkloadAddress = match endpoint.parse() {
        Ok(address) => address,
        Err(error) => {
            let error: crate::wire::NotAnAddress = error;
            return vec![Finding::wrong(check, error.to_string(), "mend SPIFFE_ENDPOINT_SOCKET")];
        }
    };
    if let Err(error) = address.reach().await {
        let remedy = match &address {
            WorkloadAddress::Unix(path) => unreached(path, &error),
            WorkloadAddress::Tcp(_) => "does an agent listen there?",
        };
        return vec![Finding::wrong(check, format!("{endpoint}: {}", plain(&error)), remedy)];
    }
    let mut client = SpiffeWorkloadApiClient::new(address.channel());
    let svid = match tokio::time::timeout(SVID_WITHIN, first_svids(&mut client)).await {
        Ok(Ok((_stream, svids))) => given(&svids),
        Ok(Err(status)) => refused(endpoint, &status, looker),
        Err(_late) if looker == Looker::Administrator => nobody_logged_in(),
        Err(_late) => Finding::wrong(
            "SVID",
            "the agent has none yet, and waits",
            "log in with the job's token (lanyard login); if it has, the agent's log says what stands in the way",
        ),
    };
    vec![Finding::good(check, format!("{endpoint} answers")), svid]
}

/// Whether an SVID was among these.
pub(super) fn serve(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.check == "SVID" && finding.verdict == Verdict::Good)
}

/// The agent's own socket, where jobs log in.
pub(super) async fn agent(socket: &Path) -> Finding {
    let shown = socket.display();
    match WorkloadAddress::Unix(socket.to_owned()).reach().await {
        Ok(()) => Finding::good("agent socket", format!("{shown} answers")),
        Err(error) => Finding::wrong("agent socket", format!("{shown}: {}", plain(&error)), unreached(socket, &error)),
    }
}

/// Where a mesh's proxy would look, if this is a pod that has such a place.
pub(super) fn mesh() -> Option<Finding> {
    let folder = Path::new(MESH_FOLDER).read_dir().ok()?;
    let names: Vec<_> = folder.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    Some(mesh_of(&names))
}

fn mesh_of(names: &[String]) -> Finding {
    let check = "mesh socket";
    if names.iter().any(|name| name == MESH_FALLBACK) {
        let found =
            format!("{MESH_FOLDER}/{MESH_FALLBACK}: by this name Istio falls back to its own CA without a word");
        let remedy =
            "call it lanyard.sock ([listen] sds), and set WORKLOAD_IDENTITY_SOCKET_FILE=lanyard.sock for the proxy";
        return Finding::warning(check, found, remedy);
    }
    match names.iter().find(|name| Path::new(name).extension().is_some_and(|extension| extension == "sock")) {
        Some(name) => Finding::good(check, format!("{MESH_FOLDER}/{name}")),
        None => Finding::wrong(
            check,
            format!("{MESH_FOLDER} holds no socket"),
            "let the agent listen there: [listen] sds in agent.toml; the proxy waits until it does",
        ),
    }
}

/// What to do about a socket where nobody answers.
fn unreached(path: &Path, error: &io::Error) -> &'static str {
    let is = |kind| error.kind() == kind;
    if is(io::ErrorKind::PermissionDenied) {
        "this user may not enter: see socket_mode in agent.toml, and the modes of the folders above"
    } else if is(io::ErrorKind::ConnectionRefused) && is_socket(path) {
        "the agent that made it has gone: start it, and read its log"
    } else if is(io::ErrorKind::ConnectionRefused) {
        "this is no socket: mend the path"
    } else if path.parent().is_some_and(Path::is_dir) {
        "no agent has made it: is one running, with this path in [listen]?"
    } else {
        "its folder is not here either: mount the agent's folder into this container, at the same path"
    }
}

fn is_socket(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.file_type().is_socket())
}

fn given(svids: &X509svidResponse) -> Finding {
    let Some(own) = svids.svids.first() else {
        return Finding::wrong("SVID", "the agent answers without any", "is this an agent of ours, and up to date?");
    };
    let Ok(leaf) = leaf_of(own) else {
        return Finding::wrong("SVID", "what it gives is no X.509-SVID", "is this a Workload API?");
    };
    let left = leaf.not_after - SystemClock.now();
    if left.is_negative() {
        let remedy = "the agent could not renew it: its log says why, and so does `lanyard audit show` on the server";
        return Finding::wrong("SVID", format!("{} is over", own.spiffe_id), remedy);
    }
    Finding::good("SVID", format!("{}, for {} s more", own.spiffe_id, left.whole_seconds()))
}

fn nobody_logged_in() -> Finding {
    Finding::good("SVID", "none for this process, which is no job's: a job gets its own when it logs in")
}

fn refused(endpoint: &str, status: &Status, looker: Looker) -> Finding {
    if status.code() == Code::Unimplemented || is_of_transport(status) {
        let remedy = "mend SPIFFE_ENDPOINT_SOCKET: it may be the agent's own socket, or another program's";
        return Finding::wrong("SVID", format!("{endpoint} does not speak the Workload API"), remedy);
    }
    let found = format!("{:?}: {}", status.code(), status.message());
    let is = |code| status.code() == code;
    if looker == Looker::Administrator && (is(Code::PermissionDenied) || is(Code::Unavailable)) {
        return nobody_logged_in();
    }
    let remedy = if is(Code::PermissionDenied) {
        "the agent knows no job that this process is of: log in first, from the same container, cgroup and user; a final \
         refusal stands in the agent's log"
    } else if is(Code::Unavailable) {
        "the job's session is over, or the agent stops: log in anew with a fresh token"
    } else {
        "see the agent's log"
    };
    Finding::wrong("SVID", found, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mesh_s_socket_is_judged_by_its_name() {
        let verdict = |names: &[&str]| mesh_of(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).verdict;
        assert_eq!(verdict(&[]), Verdict::Wrong);
        assert_eq!(verdict(&["lanyard.sock"]), Verdict::Good);
        assert_eq!(verdict(&["lanyard.sock", "socket"]), Verdict::Warning);
    }
}

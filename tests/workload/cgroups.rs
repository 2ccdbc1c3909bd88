//! Jobs of this machine: cgroups that the test makes, and processes in them that speak to an agent for the test.

use crate::support::beside::{asked, within};
use hyper_util::rt::TokioIo;
use lanyard::wire::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use lanyard::wire::workload::{X509svidRequest, X509svidResponse};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status, Streaming};

/// A folder of cgroups in one hierarchy, removed with all processes in it.
pub(crate) struct Cgroups {
    pub(crate) hierarchy: &'static str,
    folder: PathBuf,
    name: String,
}

impl Cgroups {
    /// As root, where the hierarchy is mounted; a test that cannot do its work says what it lacks, and fails.
    pub(crate) fn make(hierarchy: &'static str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let (kind, option) = if hierarchy == "v2" { (" - cgroup2 ", "") } else { (" - cgroup ", hierarchy) };
        let mount = mounts.lines().find(|line| {
            line.contains(kind) && (option.is_empty() || line.rsplit([' ', ',']).any(|word| word == option))
        });
        let lack = "this test makes cgroups";
        let mount = mount.unwrap_or_else(|| panic!("{lack}: mount the hierarchy {hierarchy} on this machine"));
        let name = format!("lanyard-test-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let folder = Path::new(mount.split(' ').nth(4).unwrap()).join(&name);
        fs::create_dir(&folder).unwrap_or_else(|error| {
            panic!("{lack}: run it as root with a writable {} ({error})", folder.parent().unwrap().display())
        });
        Self { hierarchy, folder, name }
    }

    /// What an agent is told of where jobs are.
    pub(crate) fn jobs(&self) -> String {
        format!("/{}/job-*", self.name)
    }

    /// One more cgroup.
    pub(crate) fn cgroup(&self, name: &str) -> PathBuf {
        let folder = self.folder.join(name);
        fs::create_dir(&folder).unwrap();
        folder
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let mut folders: Vec<_> = below(&self.folder);
        folders.sort_by_key(|folder| std::cmp::Reverse(folder.as_os_str().len()));
        for folder in folders {
            end_all(&folder);
            while fs::remove_dir(&folder).is_err() && folder.exists() {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let inner = entries.filter(|path| path.is_dir()).flat_map(|path| below(&path));
    std::iter::once(folder.to_owned()).chain(inner).collect()
}

/// The processes of a cgroup.
pub(crate) fn processes(cgroup: &Path) -> Vec<i32> {
    let all = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    all.lines().map(|line| line.parse().unwrap()).collect()
}

/// Puts a process into a cgroup, as only root may.
pub(crate) fn put(process: i32, cgroup: &Path) {
    fs::write(cgroup.join("cgroup.procs"), process.to_string()).unwrap();
}

/// Ends every process of a cgroup; those that are ours alone.
pub(crate) fn end_all(cgroup: &Path) {
    for process in processes(cgroup) {
        end(process);
    }
}

/// Ends one.
pub(crate) fn end(process: i32) {
    let process = rustix::process::Pid::from_raw(process).unwrap();
    // It may have gone already.
    let _gone = rustix::process::kill_process(process, rustix::process::Signal::KILL);
}

/// How a job's process is kept from the host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kept {
    /// As Docker keeps a container: other pids, no powers.
    Apart,
    /// As Docker's `--pid=host` does.
    HostPid,
    /// Not at all, but for its cgroup.
    Loose,
    /// As Docker's `--privileged` does.
    Privileged,
}

/// A process of a job with a connection to a socket, whose bytes it passes on.
pub(crate) struct Relay {
    child: Child,
    connection: Option<(ChildStdout, ChildStdin)>,
}

impl Relay {
    /// A process of this cgroup that connects.
    pub(crate) fn start(cgroup: &Path, socket: &Path) -> Self {
        Self::kept(cgroup, socket, Kept::Loose)
    }

    /// The same in a container of this kind.
    pub(crate) fn kept(cgroup: &Path, socket: &Path, kept: Kept) -> Self {
        let no_powers = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
        let other_pids = ["unshare", "--pid", "--fork", "--kill-child"];
        let around = match kept {
            Kept::Apart => [other_pids.as_slice(), &no_powers].concat(),
            Kept::HostPid => no_powers.to_vec(),
            Kept::Loose => Vec::new(),
            Kept::Privileged => other_pids.to_vec(),
        };
        Self::spawn(cgroup, &around, socket, &[])
    }

    /// One whose connection is in the hands of another process than the one that made it.
    pub(crate) fn orphan(cgroup: &Path, socket: &Path) -> Self {
        Self::spawn(cgroup, &[], socket, &["orphan"])
    }

    fn spawn(cgroup: &Path, around: &[&str], socket: &Path, more: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$1/cgroup.procs\" && shift && exec \"$@\"", "sh"]).arg(cgroup).args(around);
        command.arg("python3").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/py/relay.py")).arg(socket).args(more);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let connection = Some((child.stdout.take().unwrap(), child.stdin.take().unwrap()));
        Self { child, connection }
    }

    /// The process that the test started.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id().unwrap()).unwrap()
    }

    /// A workload over its connection.
    pub(crate) fn workload(&mut self) -> SpiffeWorkloadApiClient<Channel> {
        SpiffeWorkloadApiClient::new(self.channel())
    }

    /// Its connection.
    pub(crate) fn channel(&mut self) -> Channel {
        let connection = Arc::new(Mutex::new(self.connection.take()));
        let connect = tower::service_fn(move |_uri: Uri| {
            let connection = connection.lock().unwrap().take();
            async move {
                let (out, into) = connection.ok_or_else(|| std::io::Error::other("the connection has ended"))?;
                std::io::Result::Ok(TokioIo::new(tokio::io::join(out, into)))
            }
        });
        Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect)
    }

    /// A stream of X.509-SVIDs over its connection.
    pub(crate) async fn x509_stream(&mut self) -> Result<Streaming<X509svidResponse>, Status> {
        Ok(within(self.workload().fetch_x509svid(asked(X509svidRequest {}))).await?.into_inner())
    }

    /// The SPIFFE ID that it is served first.
    pub(crate) async fn id(&mut self) -> Result<String, Status> {
        first_id(&mut self.x509_stream().await?).await
    }

    /// The answer to a login over its connection: the status, and the body.
    pub(crate) async fn login(&mut self, token: &str) -> (u16, String) {
        let body = format!("{{\"token\":\"{token}\"}}");
        let request = format!(
            "POST /v1/login HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let (out, into) = self.connection.as_mut().unwrap();
        within(into.write_all(request.as_bytes())).await.unwrap();
        let mut answer = String::new();
        within(out.read_to_string(&mut answer)).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

/// The ID of a stream's next message.
pub(crate) async fn first_id(stream: &mut Streaming<X509svidResponse>) -> Result<String, Status> {
    let message = within(stream.message()).await?.unwrap();
    Ok(message.svids[0].spiffe_id.clone())
}

/// Whether somebody was turned away, and given nothing.
pub(crate) fn is_refused<T>(answer: &Result<T, Status>) -> bool {
    matches!(answer, Err(status) if status.code() == Code::PermissionDenied)
}

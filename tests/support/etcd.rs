//! A real etcd, the one of Debian, on loopback ports of its own and in a folder of its own. Ended by its own process id.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what cannot go on here ends the test, and says so")]
#![expect(clippy::disallowed_methods, reason = "a process outside needs real time")]

use lanyard::store::{Channels, EtcdSettings};
use lanyard::wire::etcd_channel;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A member alone is up in a second; a busy machine may need many times that.
const UP_WITHIN: Duration = Duration::from_secs(20);

/// One member that is a cluster.
pub(crate) struct Etcd {
    child: Child,
    folder: TempDir,
    pub(crate) port: u16,
    peer_port: u16,
    /// Over TLS, with these flags; else in the clear.
    tls: Vec<String>,
    /// Whatever else it is told.
    flags: Vec<String>,
}

impl Etcd {
    /// Starts one and waits until it answers.
    pub(crate) fn start() -> Self {
        Self::over_tls(&[])
    }

    /// The same, with these flags for TLS where clients come in.
    pub(crate) fn over_tls(flags: &[String]) -> Self {
        Self::told(flags, &[])
    }

    /// The same in the clear, with other flags.
    pub(crate) fn with(flags: &[String]) -> Self {
        Self::told(&[], flags)
    }

    fn told(tls: &[String], flags: &[String]) -> Self {
        let folder = TempDir::new().unwrap();
        let (port, peer_port) = (free_port(), free_port());
        let child = run(&folder, (port, peer_port), (tls, flags));
        let mut etcd = Self { child, folder, port, peer_port, tls: tls.to_vec(), flags: flags.to_vec() };
        etcd.wait();
        etcd
    }

    /// SIGKILL, and the same again.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = run(&self.folder, (self.port, self.peer_port), (&self.tls, &self.flags));
        self.wait();
    }

    /// SIGKILL: no word to anybody.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Keeps what it holds now.
    pub(crate) fn save_snapshot(&self) {
        self.ctl(&["snapshot", "save", self.folder.path().join("snapshot").to_str().unwrap()]);
    }

    /// Holds again what it held then, as after a loss of all members.
    pub(crate) fn restore_snapshot(&mut self) {
        self.kill();
        let data = self.folder.path().join("data");
        std::fs::remove_dir_all(&data).unwrap();
        let peers = format!("http://127.0.0.1:{}", self.peer_port);
        let mut restore = Command::new("etcdctl");
        restore.env("ETCDCTL_API", "3").args(["snapshot", "restore"]).arg(self.folder.path().join("snapshot"));
        restore.arg("--data-dir").arg(&data).args(["--name", "one", "--initial-cluster", &format!("one={peers}")]);
        let said = restore.args(["--initial-advertise-peer-urls", &peers]).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        self.child = run(&self.folder, (self.port, self.peer_port), (&self.tls, &self.flags));
        self.wait();
    }

    /// What `etcdctl` says to it.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> String {
        let endpoint = format!("--endpoints=http://127.0.0.1:{}", self.port);
        let said = Command::new("etcdctl").env("ETCDCTL_API", "3").arg(endpoint).args(arguments).output().unwrap();
        assert!(said.status.success(), "etcdctl {arguments:?}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap()
    }

    /// Below a prefix, for a replica of this name.
    pub(crate) fn settings(prefix: &str, replica: &str) -> EtcdSettings {
        EtcdSettings { prefix: prefix.to_owned(), replica: replica.to_owned(), login: None }
    }

    /// The way to it.
    pub(crate) fn channels(&self) -> Channels {
        let port = self.port;
        Box::new(move || vec![etcd_channel(("127.0.0.1", port), None).unwrap()])
    }

    fn wait(&mut self) {
        let deadline = Instant::now() + UP_WITHIN;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if let Some(status) = self.child.try_wait().unwrap() {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
                panic!("etcd ended with {status}:\n{log}");
            }
            assert!(Instant::now() < deadline, "etcd is not up in time");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // One that was killed cannot be killed again; that is as good.
        let _dead = self.child.kill().and_then(|()| self.child.wait());
    }
}

fn run(folder: &TempDir, (port, peer_port): (u16, u16), (tls, flags): (&[String], &[String])) -> Child {
    let scheme = if tls.is_empty() { "http" } else { "https" };
    let (url, peers) = (format!("{scheme}://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer_port}"));
    let log = File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
    // setpriv: it must not outlive a test that is killed.
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "etcd", "--name", "one", "--log-level", "error", "--logger", "zap"])
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
        .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
        .args(["--initial-cluster", &format!("one={peers}")])
        .args(tls)
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|fault| panic!("etcd cannot be started ({fault}): install etcd-server and util-linux"))
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

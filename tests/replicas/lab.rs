//! A network of its own for a few nodes: each in a network namespace, all on one bridge. Links and routes can be cut.
//!
//! The test runs in namespaces of its own (network, mounts, processes), so that nothing of it is left when it ends,
//! however it ends.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const INSIDE: &str = "LANYARD_TEST_LAB";

/// Whether this process is in such namespaces. If not, it has run that test in some, to its good end.
pub(crate) fn runs_in_lab(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.arg(std::env::current_exe().unwrap()).args([test, "--exact", "--nocapture", "--include-ignored"]);
    let ended =
        command.env(INSIDE, "yes").output().unwrap_or_else(|fault| panic!("unshare ({fault}): install util-linux"));
    let said = String::from_utf8_lossy(&ended.stdout);
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.contains("1 passed"), "namespaces need root:\n{said}{errors}");
    println!("{said}");
    false
}

/// The bridge, and who is on it.
pub(crate) struct Lab {
    nodes: Vec<Node>,
}

/// One node, held open by a process that sleeps in its namespace.
struct Node {
    holder: Child,
}

impl Lab {
    /// So many nodes, numbered from 0.
    pub(crate) fn new(count: usize) -> Self {
        ip("link set lo up");
        ip("link add bridge type bridge");
        ip("addr add 10.77.0.1/24 dev bridge");
        ip("link set bridge up");
        let mut lab = Self { nodes: Vec::new() };
        for number in 0..count {
            let mut sleep = Command::new("unshare");
            sleep.args(["--net", "setpriv", "--pdeathsig", "KILL", "sleep", "infinity"]).stdin(Stdio::null());
            let holder = sleep.spawn().unwrap();
            let pid = holder.id();
            lab.nodes.push(Node { holder });
            // Until the holder has left our namespace.
            let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
            while std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|theirs| theirs == ours) {
                std::thread::sleep(Duration::from_millis(5));
            }
            ip(&format!("link add v{number} type veth peer name eth0 netns {pid}"));
            ip(&format!("link set v{number} master bridge up"));
            lab.run(number, "ip link set lo up");
            lab.run(number, &format!("ip addr add {}/24 dev eth0", address(number)));
            lab.run(number, "ip link set eth0 up");
        }
        lab
    }

    /// A command on a node, to be started.
    pub(crate) fn on(&self, node: usize, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.nodes[node].holder.id()));
        command.args(["setpriv", "--pdeathsig", "KILL", program]);
        command
    }

    /// What one node sends to another is lost; the way back is open.
    pub(crate) fn lose(&self, from: usize, to: usize) {
        self.run(from, &format!("ip route add blackhole {}/32", address(to)));
    }

    /// It arrives again.
    pub(crate) fn find(&self, from: usize, to: usize) {
        self.run(from, &format!("ip route del blackhole {}/32", address(to)));
    }

    fn run(&self, node: usize, words: &str) {
        let mut words = words.split(' ');
        let mut command = self.on(node, words.next().unwrap());
        let output = command.args(words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _dead = node.holder.kill().and_then(|()| node.holder.wait());
        }
    }
}

/// How late a thread that wants to run a hundred times a second is let: what the machine had no time for looks like a slow
/// server otherwise.
pub(crate) struct Starved(Arc<AtomicU64>);

impl Starved {
    pub(crate) fn watch() -> Self {
        let most = Arc::new(AtomicU64::new(0));
        let (told, tick) = (Arc::downgrade(&most), Duration::from_millis(10));
        std::thread::spawn(move || {
            while let Some(most) = told.upgrade() {
                let began = Instant::now();
                std::thread::sleep(tick);
                let late = began.elapsed().saturating_sub(tick).as_millis();
                most.fetch_max(u64::try_from(late).unwrap(), Ordering::Relaxed);
            }
        });
        Self(most)
    }

    /// The longest since it was asked last.
    pub(crate) fn take(&self) -> Duration {
        Duration::from_millis(self.0.swap(0, Ordering::Relaxed))
    }
}

/// Takes a node off the bridge, or puts it there again.
pub(crate) fn link(node: usize, up: bool) {
    ip(&format!("link set v{node} {}", if up { "up" } else { "down" }));
}

/// The bridge passes on what comes from a node and goes to it, or loses all of that without a word to anybody: the link is up.
pub(crate) fn passes(node: usize, all: bool) {
    ip(&format!("link set v{node} {}", if all { "master bridge" } else { "nomaster" }));
}

/// Where a node is.
pub(crate) fn address(node: usize) -> String {
    format!("10.77.0.{}", 11 + node)
}

fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output();
    let output = output.unwrap_or_else(|fault| panic!("ip ({fault}): install iproute2"));
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

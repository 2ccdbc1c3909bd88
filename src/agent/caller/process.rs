//! The process at a socket's other end, held so that no other one can pass for it.
//!
//! **Invariants**: the pidfd is that of whoever called connect(2) (`SO_PEERPIDFD`), so a pid that was given to another
//! process since, even before we accepted, is noticed; facts count only if the process still lives after they were read,
//! since until then its pid is its own.

use super::cgroup_path::cgroup_of;
use super::cgroup_tree::{Tree, is_gone};
use super::process_text::{Status, start_time};
use super::which_job::{Facts, NotAJob};
use nix::sys::socket::{getsockopt, sockopt};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use tokio::net::UnixStream;

/// See the file's words.
#[derive(Debug)]
pub(in crate::agent) struct Process {
    pid: i32,
    pidfd: OwnedFd,
    started: u64,
}

impl Process {
    /// Whoever connected.
    pub(in crate::agent) fn of(stream: &UnixStream) -> Result<Self, NotAJob> {
        let pid = stream.peer_cred().map_err(|error| NotAJob::reading("who has connected", &error))?.pid();
        // Linux says 0 for a process in a pid namespace that is not below ours (pid_namespaces(7)).
        let pid = pid.filter(|pid| *pid > 0).ok_or(NotAJob::OtherPids)?;
        let pidfd = getsockopt(stream, sockopt::PeerPidfd).map_err(|_gone| NotAJob::Gone)?;
        let started = started(pid)?;
        let process = Self { pid, pidfd, started };
        process.lives()?;
        Ok(process)
    }

    /// Whether this system can say who has connected: Linux 6.5 or newer.
    ///
    /// # Errors
    /// When it cannot, or lets us make no sockets.
    pub(in crate::agent) fn can_be_told() -> io::Result<()> {
        let (one, _other) = std::os::unix::net::UnixStream::pair()?;
        getsockopt(&one, sockopt::PeerPidfd)?;
        Ok(())
    }

    /// What the kernel says of it now.
    pub(in crate::agent) fn facts(&self, tree: &Tree) -> Result<Facts, NotAJob> {
        if started(self.pid)? != self.started {
            return Err(NotAJob::Gone);
        }
        let cgroup = cgroup_of(&read(self.pid, "cgroup")?, &tree.hierarchy)?;
        let status = Status::parse(&String::from_utf8_lossy(&read(self.pid, "status")?));
        let status = status.ok_or(NotAJob::Unreadable { what: "its status", why: ErrorKind::InvalidData })?;
        // Powers in a user namespace of its own are none over the host (user_namespaces(7)).
        let of_host = read(self.pid, "uid_map")? == own_uid_map()?;
        self.lives()?;
        Ok(Facts { cgroup, own_pids: status.own_pids, powerful: status.powerful && of_host })
    }

    /// A pidfd can be read once its process has ended (`pidfd_open(2)`).
    fn lives(&self) -> Result<(), NotAJob> {
        match poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&Timespec::default())) {
            Ok(0) => Ok(()),
            Ok(_) | Err(_) => Err(NotAJob::Gone),
        }
    }
}

fn started(pid: i32) -> Result<u64, NotAJob> {
    let stat = read(pid, "stat")?;
    start_time(&String::from_utf8_lossy(&stat))
        .ok_or(NotAJob::Unreadable { what: "its start time", why: ErrorKind::InvalidData })
}

fn own_uid_map() -> Result<Vec<u8>, NotAJob> {
    fs::read("/proc/self/uid_map").map_err(|error| NotAJob::reading("its own uid_map", &error))
}

fn read(pid: i32, what: &'static str) -> Result<Vec<u8>, NotAJob> {
    fs::read(format!("/proc/{pid}/{what}")).map_err(|error| NotAJob::reading(what, &error))
}

impl NotAJob {
    /// What could not be read, unless it is no more.
    pub(in crate::agent) fn reading(what: &'static str, error: &io::Error) -> Self {
        if is_gone(error) { Self::Gone } else { Self::Unreadable { what, why: error.kind() } }
    }
}

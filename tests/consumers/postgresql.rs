//! PostgreSQL: a cluster of its own, by a user that is not root.

use crate::consumer::{Consumer, Learns, Running, Setting, run};
use crate::dialogue::Dialogue;
use rustix::process::{Signal, getuid};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) struct Postgres;

/// Small, and forgotten with the test.
pub(crate) const SMALL: &str =
    "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nfsync = off\nshared_buffers = '1MB'\n";

impl Postgres {
    /// A program of the newest version here, run as the user that the cluster belongs to.
    pub(crate) fn program(&self, name: &str) -> Command {
        let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
            .unwrap_or_else(|error| panic!("/usr/lib/postgresql: {error}; `tests/run` installs PostgreSQL"))
            .map(|entry| entry.unwrap().path().join("bin").join(name))
            .filter(|program| program.exists())
            .collect();
        versions.sort();
        let mut command = Command::new(versions.pop().unwrap());
        if let Some(user) = self.user() {
            command.uid(user);
        }
        command.current_dir("/");
        command
    }

    /// With what some SQL makes, a statement a line.
    pub(crate) fn make_cluster(&self, data: &Path, sql: &str) {
        let made = ["--no-sync", "--auth=trust", "--username=postgres", "--no-locale", "--no-instructions"];
        run(self.program("initdb").args(made).arg("-D").arg(data));
        let commands = data.with_extension("sql");
        fs::write(&commands, sql).unwrap();
        let input = fs::File::open(commands).unwrap();
        run(self.program("postgres").args(["--single", "-D"]).arg(data).arg("postgres").stdin(input));
    }
}

impl Consumer for Postgres {
    fn name(&self) -> &'static str {
        "PostgreSQL"
    }

    fn dialogue(&self) -> Dialogue {
        Dialogue::Postgres("p4711", "postgres")
    }

    fn learns(&self) -> Learns {
        Learns::Reload
    }

    fn prepare(&self, setting: &Setting) -> Command {
        let data = setting.folder.join("data");
        if !data.exists() {
            self.make_cluster(&data, "create role p4711 login\n");
        }
        let settings = setting.text("postgresql.conf");
        fs::write(data.join("postgresql.conf"), format!("port = {}\n{SMALL}{settings}", setting.port)).unwrap();
        fs::write(data.join("pg_hba.conf"), setting.text("pg_hba.conf")).unwrap();
        let mut command = self.program("postgres");
        command.arg("-D").arg(data);
        command
    }

    fn reload(&self, _setting: &Setting, running: &Running) {
        running.signal(Signal::HUP);
    }

    fn stop(&self) -> Signal {
        Signal::INT
    }

    fn user(&self) -> Option<u32> {
        if !getuid().is_root() {
            return None;
        }
        let users = fs::read_to_string("/etc/passwd").unwrap();
        let own = users.lines().find_map(|line| line.strip_prefix("postgres:")?.split(':').nth(1)?.parse().ok());
        Some(own.unwrap_or_else(|| panic!("no user postgres; `tests/run` installs PostgreSQL")))
    }
}

#[test]
fn postgresql() {
    crate::row::hold(&Postgres);
}

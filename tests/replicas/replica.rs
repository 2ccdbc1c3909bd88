//! One replica: a folder, a process, and what operators type at it.

use crate::etcd::Etcd;
use crate::mute::Way;
use crate::place::Place;
use crate::server::{Server, lanyard, words};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A change on one replica is in force on all within this (issue: a second); and what a busy machine may add.
pub(crate) const WITHIN: Duration = Duration::from_secs(1);

/// Several, with what they share.
pub(crate) struct Replicas {
    pub(crate) etcd: Etcd,
    pub(crate) all: Vec<Replica>,
    shared: TempDir,
}

/// One of them.
pub(crate) struct Replica {
    pub(crate) place: Place,
    pub(crate) server: Option<Server>,
}

impl Replicas {
    /// So many, one after the other: each finds what the first has made.
    pub(crate) fn start(count: usize) -> Self {
        let mut replicas = Self::prepare(count);
        replicas.all.iter_mut().for_each(Replica::start_again);
        replicas
    }

    /// So many at once, as a chart starts them: they have the sealing key, and nothing else yet; one file says nothing of
    /// their names, which their environment does.
    pub(crate) fn start_at_once(count: usize) -> Self {
        let mut replicas = Self::prepare(count);
        let key = replicas.shared.path().join("sealing.key");
        fs::write(&key, [7; 32]).unwrap();
        fs::set_permissions(key, Permissions::from_mode(0o600)).unwrap();
        for (number, replica) in (0..).zip(&mut replicas.all) {
            let config = replica.place.config();
            let text = fs::read_to_string(&config).unwrap();
            let unnamed = text.replace(&format!("checkpoints = {{ replica = \"ca-{}\" }}\n", number + 1), "");
            assert_ne!(unnamed, text);
            fs::write(&config, unnamed).unwrap();
            let mut server = lanyard();
            server.arg("server").env("LANYARD_REPLICA", format!("lanyard-{number}"));
            replica.server = Some(Server::run(&mut server, &config));
        }
        for Replica { place, server } in &mut replicas.all {
            server.as_mut().unwrap().wait_until_ready(place);
        }
        replicas
    }

    /// One more, which knows the same etcd by these ways.
    pub(crate) fn join(&mut self, ways: &[&Way]) {
        let urls: Vec<_> = ways.iter().map(|way| format!("http://127.0.0.1:{}", way.port)).collect();
        let urls: Vec<_> = urls.iter().map(String::as_str).collect();
        let name = format!("ca-{}", self.all.len() + 1);
        let place = place(&name, &urls, &self.shared.path().join("sealing.key"));
        fs::write(place.file("jwks.json"), self.all[0].place.issuer.jwks()).unwrap();
        let mut replica = Replica { place, server: None };
        replica.start_again();
        self.all.push(replica);
    }

    /// So many that are not started yet.
    pub(crate) fn prepare(count: usize) -> Self {
        let (etcd, shared) = (Etcd::start(), TempDir::new().unwrap());
        let url = format!("http://127.0.0.1:{}", etcd.port);
        let mut all: Vec<Replica> = Vec::new();
        for number in 1..=count {
            let place = place(&format!("ca-{number}"), &[&url], &shared.path().join("sealing.key"));
            if let Some(first) = all.first() {
                fs::write(place.file("jwks.json"), first.place.issuer.jwks()).unwrap();
            }
            all.push(Replica { place, server: None });
        }
        Self { etcd, all, shared }
    }
}

impl Replica {
    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.server.take().unwrap().kill();
    }

    pub(crate) fn start_again(&mut self) {
        self.server = Some(Server::start(&self.place));
    }

    /// A command at its admin socket: what it printed.
    pub(crate) fn operator(&self, arguments: &[&str]) -> String {
        let mut command = lanyard();
        command.args(arguments).arg("--admin-socket").arg(self.place.data().join("admin.sock"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", words(&output));
        words(&output)
    }

    /// A command at its admin socket that is refused: why.
    pub(crate) fn refuses(&self, arguments: &[&str]) -> String {
        let mut command = lanyard();
        command.args(arguments).arg("--admin-socket").arg(self.place.data().join("admin.sock"));
        let output = command.output().unwrap();
        assert!(!output.status.success(), "{arguments:?}: {}", words(&output));
        words(&output)
    }

    /// What `/ready` says.
    pub(crate) fn health(&self) -> serde_json::Value {
        let address = format!("127.0.0.1:{}", self.place.health_port);
        let output = lanyard().args(["health", "--json", "--address", &address]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_odd| panic!("{}", words(&output)))
    }
}

/// A place whose server shares its store.
pub(crate) fn place(name: &str, endpoints: &[&str], sealing_key: &Path) -> Place {
    // The lab's members are in namespaces of this machine, at addresses of their own.
    let is_here = endpoints.iter().all(|url| url.contains("//127.0.0.1:"));
    let allowed = if is_here { "" } else { "allow_http = \"namespaces of one machine\"\n" };
    let endpoints = endpoints.iter().map(|url| format!("{url:?}")).collect::<Vec<_>>().join(", ");
    let sealing_key = sealing_key.display();
    Place::with(&format!(
        "checkpoints = {{ replica = \"{name}\" }}\nkeys = {{ sealing_key_file = \"{sealing_key}\" }}\n\
         [store.etcd]\nendpoints = [{endpoints}]\n{allowed}"
    ))
}

/// Waits until it is so; how long that took.
pub(crate) async fn until<F: Future<Output = bool>>(limit: Duration, mut so: impl FnMut() -> F) -> Duration {
    let began = Instant::now();
    while !so().await {
        assert!(began.elapsed() < limit, "not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}

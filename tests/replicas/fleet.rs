//! Three members of etcd and three replicas, each on a node of the lab; any can be killed, started again, cut off.

use crate::agent::Way;
use crate::issuer::FakeIssuer;
use crate::journal::records;
use crate::lab::{Lab, address};
use crate::place::Place;
use crate::replica::place;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Members of etcd; replicas are the nodes after them.
pub(crate) const MEMBERS: usize = 3;
/// Replicas.
pub(crate) const REPLICAS: usize = 3;
const CLIENTS: u16 = 2379;
const PEERS: u16 = 2380;

/// All of it.
pub(crate) struct Fleet {
    members: Vec<Option<Child>>,
    replicas: Vec<Option<Child>>,
    pub(crate) places: Vec<Place>,
    pub(crate) folder: TempDir,
    pub(crate) lab: Lab,
}

/// What `etcdctl` says to a member; none where it does not answer.
pub(crate) fn ctl(member: usize, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").args(["--dial-timeout=300ms", "--command-timeout=700ms"]);
    command.arg(format!("--endpoints=http://{}:{CLIENTS}", address(member))).args(arguments);
    let output = command.output().unwrap_or_else(|fault| panic!("etcdctl ({fault}): install etcd-client"));
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Until a member answers for a quorum.
pub(crate) fn wait_for_quorum(limit: Duration) {
    let began = Instant::now();
    while (0..MEMBERS).all(|member| ctl(member, &["get", "~nothing"]).is_none()) {
        assert!(began.elapsed() < limit, "no quorum within {limit:?}");
    }
}

impl Fleet {
    pub(crate) fn start(issuer: &FakeIssuer) -> Self {
        let (lab, folder) = (Lab::new(MEMBERS + REPLICAS), TempDir::new().unwrap());
        let urls: Vec<_> = (0..MEMBERS).map(|member| format!("http://{}:{CLIENTS}", address(member))).collect();
        let urls: Vec<_> = urls.iter().map(String::as_str).collect();
        let sealing_key = folder.path().join("sealing.key");
        let mut places: Vec<Place> = Vec::new();
        for number in 0..REPLICAS {
            let place = place(&format!("ca-{number}"), &urls, &sealing_key);
            fs::write(place.file("jwks.json"), issuer.jwks()).unwrap();
            settle(&place, &address(MEMBERS + number));
            places.push(place);
        }
        let (members, replicas) = ((0..MEMBERS).map(|_| None).collect(), (0..REPLICAS).map(|_| None).collect());
        let mut fleet = Self { members, replicas, places, folder, lab };
        (0..MEMBERS).for_each(|member| fleet.start_member(member));
        wait_for_quorum(Duration::from_secs(30));
        for replica in 0..REPLICAS {
            fleet.start_replica(replica);
            fleet.wait_for_replica(replica);
        }
        fleet
    }

    /// How a replica's issuer port is reached.
    pub(crate) fn way(&self, replica: usize) -> Way {
        let place = &self.places[replica];
        Way::to(place, format!("https://{}:{}", address(MEMBERS + replica), place.port))
    }

    pub(crate) fn start_member(&mut self, member: usize) {
        let (name, own) = (format!("m{member}"), address(member));
        let mut etcd = self.lab.on(member, "etcd");
        etcd.args([
            "--name",
            &name,
            "--initial-cluster",
            &initial_cluster(),
            "--logger",
            "zap",
            "--log-level",
            "error",
            // Else a member that was away makes the others elect anew when it comes back.
            "--pre-vote",
        ])
        .arg("--data-dir")
        .arg(self.folder.path().join(&name))
        .args(["--listen-client-urls", &format!("http://{own}:{CLIENTS}")])
        .args(["--advertise-client-urls", &format!("http://{own}:{CLIENTS}")])
        .args(["--listen-peer-urls", &format!("http://{own}:{PEERS}")])
        .args(["--initial-advertise-peer-urls", &format!("http://{own}:{PEERS}")]);
        self.members[member] = Some(started(&mut etcd, &self.folder.path().join(format!("{name}.log"))));
    }

    pub(crate) fn kill_member(&mut self, member: usize) {
        kill(self.members[member].take());
    }

    pub(crate) fn start_replica(&mut self, replica: usize) {
        self.start_replica_at(replica, 0);
    }

    /// With a wall clock that is off by so many seconds.
    pub(crate) fn start_replica_at(&mut self, replica: usize, offset: i64) {
        let config = self.places[replica].config();
        let mut lanyard = self.lab.on(MEMBERS + replica, env!("CARGO_BIN_EXE_lanyard"));
        if offset != 0 {
            let shim = wrong_clock(self.folder.path());
            lanyard.env("LD_PRELOAD", shim).env("LANYARD_TEST_CLOCK_OFFSET", offset.to_string());
        }
        lanyard.args(["server", "--config"]).arg(&config);
        self.replicas[replica] = Some(started(&mut lanyard, &config.with_extension("log")));
    }

    /// Keeps what etcd holds now, if a member lets it.
    pub(crate) fn save_snapshot(&self) -> bool {
        let file = self.folder.path().join("snapshot");
        // One that cannot be reached saves nothing; then the former one stays.
        let aside = self.folder.path().join("snapshot.aside");
        let saved = (0..MEMBERS).any(|member| ctl(member, &["snapshot", "save", aside.to_str().unwrap()]).is_some());
        saved && fs::rename(aside, file).is_ok()
    }

    /// All members lose what they hold, and hold what was kept; then the replicas are reconciled as the manual says.
    pub(crate) fn restore_snapshot(&mut self) {
        (0..MEMBERS).for_each(|member| self.kill_member(member));
        for member in 0..MEMBERS {
            let (name, data) = (format!("m{member}"), self.folder.path().join(format!("m{member}")));
            fs::remove_dir_all(&data).unwrap();
            let mut restore = Command::new("etcdctl");
            restore.env("ETCDCTL_API", "3").args(["snapshot", "restore"]).arg(self.folder.path().join("snapshot"));
            restore.arg("--data-dir").arg(&data).args(["--name", &name, "--initial-cluster", &initial_cluster()]);
            restore.arg(format!("--initial-advertise-peer-urls=http://{}:{PEERS}", address(member)));
            let said = restore.output().unwrap();
            assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        }
        (0..MEMBERS).for_each(|member| self.start_member(member));
        wait_for_quorum(Duration::from_secs(30));
        // While they run they give nothing that was given before: the load says whether that is so.
        std::thread::sleep(Duration::from_secs(1));
        (0..REPLICAS).for_each(|replica| self.kill_replica(replica));
        for replica in 0..REPLICAS {
            let mut reconcile = self.lab.on(MEMBERS + replica, env!("CARGO_BIN_EXE_lanyard"));
            let said = reconcile.args(["store", "reconcile", "--config"]).arg(self.places[replica].config()).output();
            let said = said.unwrap();
            assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        }
        for replica in 0..REPLICAS {
            self.start_replica(replica);
            self.wait_for_replica(replica);
        }
    }

    pub(crate) fn kill_replica(&mut self, replica: usize) {
        kill(self.replicas[replica].take());
    }

    /// Stops a process for a while without killing it, as a slow disk does; or lets it go on.
    pub(crate) fn freeze_member(&self, member: usize, frozen: bool) {
        let pid = self.members[member].as_ref().unwrap().id().to_string();
        let signal = if frozen { "-STOP" } else { "-CONT" };
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// What etcd holds of a session, and all journals tell of it.
    pub(crate) fn all_of(&self, session: &str) -> String {
        let key = format!("lanyard/session/{session}");
        let held = (0..MEMBERS).map(|member| ctl(member, &["get", &key, "--write-out=json"]).unwrap_or_default());
        let mut all: Vec<_> = held.collect();
        for (replica, place) in self.places.iter().enumerate() {
            for mut record in records(place).into_iter().filter(|record| record.to_string().contains(session)) {
                let shared = &record["put"]["shared"];
                let of = |key: &str| shared[key].to_string().contains(session);
                let told = ["epoch", "revision", "seen"].map(|name| shared[name].to_string());
                let what = format!("{told:?} put {} delete {}", of("put"), of("delete"));
                let entry = record["entry"].take();
                all.push(format!("{replica}: {} {} {what} {}", record["seq"], record["at"], entry["kind"]));
            }
            let mended = records(place).into_iter().filter(|record| record["entry"]["kind"] == "store_reconciled");
            all.extend(mended.map(|record| format!("{replica}: {} {}", record["at"], record["entry"])));
            let log = fs::read_to_string(place.config().with_extension("log")).unwrap();
            let odd = log.lines().filter(|line| !line.contains("INFO") && !line.contains("\"info\""));
            all.extend(odd.map(|line| format!("{replica}: {line}")));
        }
        all.join("\n")
    }

    /// The end of its log.
    pub(crate) fn last_words(&self, replica: usize) -> String {
        let log = fs::read_to_string(self.places[replica].config().with_extension("log")).unwrap();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Until a replica that was started listens.
    pub(crate) fn wait_for_replica(&mut self, replica: usize) {
        let began = Instant::now();
        let door_ca = self.places[replica].data().join("door-ca.pem");
        let port = (address(MEMBERS + replica), self.places[replica].port);
        while !door_ca.exists() || std::net::TcpStream::connect((&*port.0, port.1)).is_err() {
            let ended = self.replicas[replica].as_mut().unwrap().try_wait().unwrap();
            let log = || fs::read_to_string(self.places[replica].config().with_extension("log")).unwrap();
            assert!(ended.is_none() && began.elapsed() < Duration::from_secs(30), "replica {replica}:\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.replicas.drain(..).chain(self.members.drain(..)).for_each(kill);
    }
}

/// The place's ports on a node instead of on loopback.
fn settle(place: &Place, address: &str) {
    let text = fs::read_to_string(place.config()).unwrap();
    let (issuer, bundle) =
        (format!("issuer = \"127.0.0.1:{}\"", place.port), format!("127.0.0.1:{}", place.bundle_port));
    let text = text.replace(&issuer, &format!("issuer = \"{address}:{}\"", place.port));
    let text = text.replace(&bundle, &format!("{address}:{}", place.bundle_port));
    fs::write(place.config(), format!("{text}\n[tls]\nnames = [\"{address}\"]\n")).unwrap();
}

fn initial_cluster() -> String {
    let all: Vec<_> = (0..MEMBERS).map(|one| format!("m{one}=http://{}:{PEERS}", address(one))).collect();
    all.join(",")
}

/// What puts the wall clock of a process off, built once.
fn wrong_clock(folder: &Path) -> PathBuf {
    let library = folder.join("wrong_clock.so");
    if !library.exists() {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/replicas/wrong_clock.c");
        let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
        assert!(built.unwrap_or_else(|fault| panic!("cc ({fault}): install gcc")).success());
    }
    library
}

fn started(command: &mut Command, log: &Path) -> Child {
    let log = File::options().create(true).append(true).open(log).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

fn kill(child: Option<Child>) {
    if let Some(mut child) = child {
        // One that has ended already cannot be killed; that is as good.
        let _dead = child.kill().and_then(|()| child.wait());
    }
}

//! A domain controller of Samba's on an address of its own. The domain is made once, and copied for each test.

use crate::support::hierarchy::{Hierarchy, P256, SOUND};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What all entries stand below.
pub(crate) const BASE: &str = "DC=corp,DC=lanyard,DC=test";
/// As whom a server asks.
pub(crate) const BIND: &str = "svc-lanyard@corp.lanyard.test";
/// With which password.
pub(crate) const PASSWORD: &str = "Svc-Passw0rd-1!";
/// Debian's own, which has Samba's modules.
const PYTHON: &str = "/usr/bin/python3";
/// Who is in the domain.
const PEOPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/directory/people.py");
/// A busy machine takes many times the second that it usually takes.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A domain and its only controller.
pub(crate) struct Domain {
    folder: TempDir,
    pub(crate) pki: Hierarchy,
    pub(crate) address: Ipv4Addr,
    samba: Option<Child>,
}

impl Domain {
    /// One that answers.
    pub(crate) fn new() -> Self {
        let (template, folder) = (template(), TempDir::new().unwrap());
        run(Command::new("cp")
            .args(["-a", "--reflink=auto", "--sparse=always"])
            .arg(template.join("."))
            .arg(folder.path()));
        let conf = folder.path().join("etc/smb.conf");
        let made_at = fs::read_to_string(folder.path().join("made-at")).unwrap();
        let text = fs::read_to_string(&conf).unwrap().replace(&made_at, &folder.path().display().to_string());
        fs::write(&conf, text).unwrap();
        fs::create_dir_all(folder.path().join("run")).unwrap();
        let (pki, address) = (Hierarchy::new(), free_address());
        pki.root("ca", P256, SOUND);
        let of_server = format!("basicConstraints=CA:FALSE\nsubjectAltName=IP:{address}\nextendedKeyUsage=serverAuth");
        pki.below_for("dc1", "ca", P256, (&of_server, "2"));
        pki.root("another", P256, SOUND);
        run(Command::new("chmod").arg("600").arg(pki.path("dc1.key")));
        let mut domain = Self { folder, pki, address, samba: None };
        domain.start();
        domain
    }

    /// Starts it, and waits until it answers.
    pub(crate) fn start(&mut self) {
        let option = |name: &str, value: String| format!("--option={name}={value}");
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let pem = |name: &str| self.pki.path(name).display().to_string();
        let log = File::create(self.folder.path().join("samba.log")).unwrap();
        let mut samba = Command::new("samba");
        samba.args(["--foreground", "--no-process-group", "--model=single", "--debug-stdout", "-d", "1", "-s"]);
        samba.arg(path("etc/smb.conf")).args([
            option("server services", "ldap".to_owned()),
            option("interfaces", format!("{}/8", self.address)),
            option("bind interfaces only", "yes".to_owned()),
            option("tls cafile", pem("ca.pem")),
            option("tls certfile", pem("dc1.pem")),
            option("tls keyfile", pem("dc1.key")),
            option("pid directory", path("run")),
            option("ncalrpc dir", path("ncalrpc")),
        ]);
        let samba = samba.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
        self.samba = Some(samba.unwrap_or_else(|error| panic!("samba: {error}: {PACKAGES}")));
        let deadline = Instant::now() + READY_WITHIN;
        while std::net::TcpStream::connect((self.address, 636)).is_err() {
            let ended = self.samba.as_mut().unwrap().try_wait().unwrap();
            let log = || fs::read_to_string(self.folder.path().join("samba.log")).unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "no domain controller ({ended:?}): {}", log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// It dies, and everybody who is connected hears it.
    pub(crate) fn kill(&mut self) {
        let mut samba = self.samba.take().unwrap();
        samba.kill().unwrap();
        samba.wait().unwrap();
    }

    /// It stops where it is, in the middle of whatever it does, or goes on.
    pub(crate) fn signal(&self, signal: &str) {
        run(Command::new("kill").arg(format!("-{signal}")).arg(self.samba.as_ref().unwrap().id().to_string()));
    }

    /// Does something by Samba's own tool, whether the controller runs or not.
    pub(crate) fn tool(&self, arguments: &[&str]) {
        let mut tool = Command::new("samba-tool");
        tool.args(arguments).arg("-s").arg(self.folder.path().join("etc/smb.conf"));
        run(tool.arg("-H").arg(self.folder.path().join("private/sam.ldb")));
    }

    /// Somebody tries a password.
    pub(crate) fn try_password(&self, name: &str, password: &str) -> bool {
        let mut search = Command::new("ldapsearch");
        search.args(["-x", "-s", "base", "-b", "", "-w", password, "-D", &format!("{name}@corp.lanyard.test"), "-H"]);
        search.arg(format!("ldaps://{}", self.address)).env("LDAPTLS_CACERT", self.pki.path("ca.pem"));
        search.output().unwrap_or_else(|error| panic!("ldapsearch: {error}: {PACKAGES}")).status.success()
    }

    /// The SID of a group, as Samba's tool tells it.
    pub(crate) fn sid_of_group(&self, name: &str) -> String {
        let mut show = Command::new("samba-tool");
        show.args(["group", "show", name, "--attributes=objectSid", "-s"]).arg(self.folder.path().join("etc/smb.conf"));
        let said =
            String::from_utf8(run(show.arg("-H").arg(self.folder.path().join("private/sam.ldb"))).stdout).unwrap();
        said.lines().find_map(|line| line.strip_prefix("objectSid: ")).unwrap().to_owned()
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        if let Some(samba) = &mut self.samba {
            let _dead = samba.kill().and_then(|()| samba.wait());
        }
    }
}

const PACKAGES: &str = "install the Debian packages samba samba-ad-dc samba-ad-provision samba-dsdb-modules samba-vfs-modules \
                        winbind ldap-utils";

/// A domain with its people, made by whoever comes first. Others wait for it, in other processes too.
fn template() -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let people = fs::read(PEOPLE).unwrap();
    let made = all.join(format!("domain-{}", lanyard::crypto::Digest::of(&people)));
    fs::create_dir_all(all).unwrap();
    let lock = File::create(all.join("domain.lock")).unwrap();
    lock.lock().unwrap();
    if made.join("made-at").exists() {
        return made;
    }
    let new = TempDir::new_in(all).unwrap();
    let domain = new.path().join("domain");
    let mut provision = Command::new("samba-tool");
    provision.args(["domain", "provision", "--configfile=/dev/null", "--realm=CORP.LANYARD.TEST", "--domain=CORP"]);
    provision.args(["--host-name=dc1", "--host-ip=127.0.0.1", "--server-role=dc", "--dns-backend=NONE"]);
    provision.args(["--adminpass=Lanyard-Test-1!", "--option=interfaces=lo", "--option=bind interfaces only=yes"]);
    run(provision.arg("--targetdir").arg(&domain));
    run(Command::new(PYTHON)
        .args([PEOPLE.as_ref(), domain.join("etc/smb.conf").as_os_str()])
        .arg(domain.join("private/sam.ldb")));
    fs::write(domain.join("made-at"), domain.display().to_string()).unwrap();
    fs::rename(&domain, &made).unwrap();
    made
}

/// An address of this machine on which nobody listens, other for each test and each process.
fn free_address() -> Ipv4Addr {
    static STEPS: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = std::process::id().wrapping_mul(61).wrapping_add(STEPS.fetch_add(1, Ordering::Relaxed));
        let [_, second, third, last] = step.to_be_bytes();
        if matches!(last, 0 | 255) {
            continue;
        }
        let address = Ipv4Addr::new(127, 64 | second & 0x3f, third, last);
        match TcpListener::bind((address, 636)) {
            Ok(_free) => return address,
            Err(taken) if taken.kind() == ErrorKind::AddrInUse => {}
            Err(error) => panic!("a domain controller has ports below 1024, so this test must run as root: {error}"),
        }
    }
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}: {PACKAGES}"));
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", said(&output.stdout), said(&output.stderr));
    output
}

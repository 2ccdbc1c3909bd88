//! Authorities above ours, made by the `openssl` command: nothing of them comes from Lanyard's own hand.

use lanyard::upstream::{Disk, RootsFile, UpstreamKind, UpstreamSettings};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// What a sound authority says.
pub(crate) const SOUND: &str =
    "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash";
/// What an intermediate of ours says.
pub(crate) const OURS: &str = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n\
                               subjectKeyIdentifier=hash\nsubjectAltName=URI:spiffe://ci.example.org";
/// An elliptic key, as openssl makes it.
pub(crate) const P256: &[&str] = &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// Files of authorities, each by its name.
pub(crate) struct Hierarchy {
    folder: TempDir,
}

impl Hierarchy {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    /// A root, and below it an authority that signs for us: both sound, both elliptic.
    pub(crate) fn two_tiers() -> Self {
        let made = Self::new();
        made.root("root", P256, SOUND);
        made.below("upstream", "root", P256, SOUND);
        made.serve("upstream", &["upstream"], &["root"]);
        made
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Ten years long.
    pub(crate) fn root(&self, name: &str, key: &[&str], extensions: &str) {
        let config = format!("[req]\ndistinguished_name=dn\n[dn]\n[ext]\n{extensions}\n");
        fs::write(self.path("root.cnf"), config).unwrap();
        let (subject, [key_file, file]) = (format!("/O=Corp/CN={name}"), files(name));
        let made = ["req", "-x509", "-nodes", "-days", "3650", "-config", "root.cnf", "-extensions", "ext", "-subj"];
        self.openssl(&[&made, &[&subject, "-keyout", &key_file, "-out", &file, "-newkey"][..], key].concat());
    }

    /// Nine years long.
    pub(crate) fn below(&self, name: &str, issuer: &str, key: &[&str], extensions: &str) {
        self.below_for(name, issuer, key, (extensions, "3285"));
    }

    /// So many days long.
    pub(crate) fn below_for(&self, name: &str, issuer: &str, key: &[&str], (extensions, days): (&str, &str)) {
        fs::write(self.path("ext.cnf"), extensions).unwrap();
        fs::write(self.path("req.cnf"), "[req]\ndistinguished_name=dn\n[dn]\n").unwrap();
        let (subject, [key_file, file], [issuer_key, issuer]) =
            (format!("/O=Corp/CN={name}"), files(name), files(issuer));
        let asked = ["req", "-new", "-nodes", "-config", "req.cnf", "-subj", &subject, "-keyout", &key_file];
        self.openssl(&[&asked[..], &["-out", "asked.csr", "-newkey"], key].concat());
        let signed = ["x509", "-req", "-in", "asked.csr", "-CA", &issuer, "-CAkey", &issuer_key, "-CAcreateserial"];
        self.openssl(&[&signed[..], &["-days", days, "-extfile", "ext.cnf", "-out", &file]].concat());
    }

    /// Signs what somebody asks for, saying what it is told to say.
    pub(crate) fn sign(&self, csr: &str, issuer: &str, (extensions, days): (&str, &str)) -> String {
        fs::write(self.path("ours.csr"), csr).unwrap();
        fs::write(self.path("ours.cnf"), extensions).unwrap();
        let [issuer_key, issuer] = files(issuer);
        let signed = ["x509", "-req", "-in", "ours.csr", "-CA", &issuer, "-CAkey", &issuer_key, "-CAcreateserial"];
        self.openssl(&[&signed[..], &["-days", days, "-extfile", "ours.cnf", "-out", "ours.signed"]].concat());
        fs::read_to_string(self.path("ours.signed")).unwrap()
    }

    /// A request of somebody else.
    pub(crate) fn another_request(&self) -> String {
        let asked = ["req", "-new", "-nodes", "-config", "req.cnf", "-subj", "/CN=another", "-keyout", "another.key"];
        self.openssl(&[&asked[..], &["-out", "another.csr", "-newkey"], P256].concat());
        fs::read_to_string(self.path("another.csr")).unwrap()
    }

    /// Puts files where a server looks for them: the key of one, a chain, and roots.
    pub(crate) fn serve(&self, key: &str, chain: &[&str], roots: &[&str]) {
        fs::copy(self.path(&format!("{key}.key")), self.path("ours.key")).unwrap();
        fs::set_permissions(self.path("ours.key"), fs::Permissions::from_mode(0o600)).unwrap();
        self.put("ours.pem", chain);
        self.put("roots.pem", roots);
    }

    /// Certificates one behind another in a file, which is put in place whole.
    pub(crate) fn put(&self, file: &str, names: &[&str]) {
        let text: String = names.iter().map(|name| self.pem(name)).collect();
        fs::write(self.path("aside"), text).unwrap();
        fs::rename(self.path("aside"), self.path(file)).unwrap();
    }

    pub(crate) fn pem(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.pem"))).unwrap()
    }

    pub(crate) fn disk(&self) -> Disk {
        Disk { certificate: self.path("ours.pem"), key: self.path("ours.key") }
    }

    pub(crate) fn roots(&self) -> RootsFile {
        RootsFile::new(self.path("roots.pem"))
    }

    pub(crate) fn settings(&self) -> UpstreamSettings {
        UpstreamSettings { roots: self.roots(), kind: UpstreamKind::Disk(self.disk()) }
    }

    /// The section of a server's configuration.
    pub(crate) fn section(&self) -> String {
        let place = |name: &str| self.path(name).display().to_string();
        let [roots, chain, key] = ["roots.pem", "ours.pem", "ours.key"].map(place);
        format!("[upstream]\nkind = \"disk\"\nroots_file = \"{roots}\"\ncertificate = \"{chain}\"\nkey = \"{key}\"\n")
    }

    fn openssl(&self, words: &[&str]) {
        let ran = Command::new("openssl").current_dir(self.folder.path()).args(words).output().unwrap();
        assert!(ran.status.success(), "openssl {words:?}: {}", String::from_utf8_lossy(&ran.stderr));
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn files(name: &str) -> [String; 2] {
    [format!("{name}.key"), format!("{name}.pem")]
}

//! Tokens of `SoftHSM`, for a test that runs in a process of its own: what a module sees is said by its environment.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Debian has it, on any machine.
const MODULES: [&str; 2] = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so"];
pub(crate) const PIN: &str = "5678-of-the-user";
const SO_PIN: &str = "1234-of-the-officer";

/// A folder of tokens.
pub(crate) struct Tokens(PathBuf);

impl Tokens {
    /// Runs a test again in a process whose tokens are in a folder of its own. There, and only there, it has them.
    pub(crate) fn apart(test: &str) -> Option<Self> {
        if let Some(folder) = std::env::var_os("LANYARD_TEST_TOKENS") {
            return Some(Self(folder.into()));
        }
        let folder = tempfile::tempdir().unwrap();
        let tokens = folder.path().join("tokens");
        fs::create_dir(&tokens).unwrap();
        let conf = folder.path().join("softhsm2.conf");
        let where_they_are =
            format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", tokens.display());
        fs::write(&conf, where_they_are).unwrap();
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args([test, "--exact"]).env("SOFTHSM2_CONF", conf).env("LANYARD_TEST_TOKENS", folder.path());
        let output = again.output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        None
    }

    pub(crate) fn module() -> &'static Path {
        let found = MODULES.iter().map(Path::new).find(|path| path.is_file());
        found.unwrap_or_else(|| panic!("SoftHSM is missing: install the Debian package softhsm2"))
    }

    /// A module whose tokens count wrong PINs and lock themselves, which `SoftHSM`'s never do.
    pub(crate) fn counting_module(&self) -> PathBuf {
        let (module, source) =
            (self.0.join("counting.so"), concat!(env!("CARGO_MANIFEST_DIR"), "/tests/custody/counting.c"));
        let is = |name: &str, path: &Path| format!("-D{name}=\"{}\"", path.display());
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-o"]).arg(&module).arg(source);
        cc.args([is("SOFTHSM", Self::module()), is("COUNT", &self.0.join("wrong-pins"))]).arg("-ldl");
        let output = cc.output().unwrap_or_else(|error| panic!("cc, which links every program of ours: {error}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        module
    }

    /// How many wrong PINs it has counted since the last right one.
    pub(crate) fn wrong_pins(&self) -> u32 {
        fs::read_to_string(self.0.join("wrong-pins")).unwrap().trim().parse().unwrap()
    }

    /// With `token` below, and the PIN beside it.
    pub(crate) fn pin_file(&self, pin: &str) -> PathBuf {
        let file = self.0.join("pin");
        fs::write(&file, format!("{pin}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        file
    }

    pub(crate) fn initialise(&self, label: &str) {
        self.util(&["--init-token", "--free", "--label", label, "--so-pin", SO_PIN, "--pin", PIN]);
    }

    /// Out of its slot, until it is put back.
    pub(crate) fn unplug(&self) {
        fs::rename(self.0.join("tokens"), self.0.join("unplugged")).unwrap();
        fs::create_dir(self.0.join("tokens")).unwrap();
    }

    pub(crate) fn plug_in(&self) {
        fs::remove_dir_all(self.0.join("tokens")).unwrap();
        fs::rename(self.0.join("unplugged"), self.0.join("tokens")).unwrap();
    }

    fn util(&self, arguments: &[&str]) {
        assert!(self.0.join("tokens").is_dir());
        let output = Command::new("softhsm2-util").args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

//! The units for systemd: it takes them, and finds them closed.

use crate::server::{lanyard, words};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const SYSTEMD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/systemd");

/// On its scale from 0, closed, to 100: what systemd calls OK ends at 39.
const EXPOSED_MAX: &str = "--threshold=20";

#[test]
fn systemd_takes_the_units_and_finds_them_closed() {
    let own = lanyard().get_program().to_string_lossy().into_owned();
    let folder = TempDir::new().unwrap();
    for name in ["lanyard.service", "lanyard-agent.service"] {
        let text = fs::read_to_string(format!("{}/docs/systemd/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let unit = folder.path().join(name);
        fs::write(&unit, text.replace("/usr/bin/lanyard", &own)).unwrap();
        let analyze = |arguments: &[&str]| {
            let output = Command::new("systemd-analyze").args(arguments).arg(&unit).output();
            output.expect("systemd-analyze: tests/run installs systemd")
        };
        let verified = analyze(&["verify"]);
        assert!(verified.status.success() && words(&verified).is_empty(), "{name}: {}", words(&verified));
        let closed = analyze(&["security", "--no-pager", "--offline=true", EXPOSED_MAX]);
        assert!(closed.status.success(), "{name}: {}", words(&closed));
        assert!(words(&closed).contains("Overall exposure level"), "{}", words(&closed));
    }
}

/// What the package's script would have made.
#[test]
fn the_package_makes_the_users_of_the_units_and_a_folder_that_only_root_writes() {
    let root = TempDir::new().unwrap();
    for (kind, of) in [("sysusers", "systemd-sysusers"), ("tmpfiles", "systemd-tmpfiles")] {
        let folder = root.path().join(format!("usr/lib/{kind}.d"));
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        fs::copy(format!("{SYSTEMD}/lanyard.{kind}"), folder.join("lanyard.conf")).unwrap();
        let script = fs::read_to_string(format!("{SYSTEMD}/debian/postinst")).unwrap();
        let line = script.lines().map(str::trim).find(|line| line.starts_with(of)).unwrap();
        let arguments: Vec<&str> = line.split(' ').skip(1).collect();
        let made = Command::new(of).arg(format!("--root={}", root.path().display())).args(arguments).output().unwrap();
        assert!(made.status.success(), "{of}: {}", words(&made));
    }
    let users = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    for unit in ["lanyard.service", "lanyard-agent.service"] {
        let text = fs::read_to_string(format!("{SYSTEMD}/{unit}")).unwrap();
        let user = text.lines().find_map(|line| line.strip_prefix("User=")).unwrap();
        let line = users.lines().find(|line| line.starts_with(&format!("{user}:"))).unwrap_or_else(|| panic!("{user}"));
        assert!(line.ends_with(":/usr/sbin/nologin"), "{line}");
    }
    let folder = fs::metadata(root.path().join("etc/lanyard")).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o755);
}

/// Everything that the package brings is in the tree, and its scripts are scripts.
#[test]
fn what_the_package_names_is_there() {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = toml::from_str(&fs::read_to_string(tree.join("Cargo.toml")).unwrap()).unwrap();
    let package = &manifest["package"]["metadata"]["deb"];
    for asset in package["assets"].as_array().unwrap() {
        let source = asset[0].as_str().unwrap();
        assert!(source == "target/release/lanyard" || tree.join(source).is_file(), "{source}");
    }
    let postinst = fs::read_to_string(format!("{SYSTEMD}/debian/postinst")).unwrap();
    for tool in postinst.lines().filter_map(|line| line.trim().strip_prefix("systemd-")?.split(' ').next()) {
        let needed = format!("systemd | systemd-standalone-{tool}");
        assert!(package["depends"].as_str().unwrap().contains(&needed), "{needed}");
    }
    for script in ["postinst", "postrm", "prerm"] {
        let scripts = tree.join(package["maintainer-scripts"].as_str().unwrap());
        assert!(Command::new("sh").arg("-n").arg(scripts.join(script)).status().unwrap().success(), "{script}");
    }
}

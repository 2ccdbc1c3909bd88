//! The units for systemd: it takes them, and finds them closed.

use crate::server::{lanyard, words};
use std::fs;
use std::process::Command;
use tempfile::TempDir;

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

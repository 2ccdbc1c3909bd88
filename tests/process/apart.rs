//! A test apart from the rest of the machine: in a mount namespace of its own, where file systems can be small or
//! read-only. All of it is gone with the process, whatever happens in it.

use std::path::Path;
use std::process::Command;

/// Says to the process inside that it is inside.
const INSIDE: &str = "TEST_APART";

/// Runs the test of this name again in a namespace of its own; true for the one inside, which does the work.
///
/// Needs root, as CI has it. Without it the test fails and says so.
pub(crate) fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let own = std::env::current_exe().unwrap();
    let ran = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(own)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    println!("{said}");
    // Nor may it pass because no test has this name.
    let passed = ran.status.success() && said.contains("1 passed");
    assert!(passed, "{test}: it mounts file systems of its own, and needs root and `unshare` of util-linux");
    false
}

/// An empty file system in memory, with this much room.
pub(crate) fn mount_small(at: &Path, kib: usize) {
    std::fs::create_dir_all(at).unwrap();
    let options = format!("size={kib}k,mode=0700");
    must(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at));
}

/// From now on nothing in it can be changed.
pub(crate) fn make_read_only(at: &Path) {
    must(Command::new("mount").args(["-o", "remount,ro"]).arg(at));
}

/// It can be changed again.
pub(crate) fn make_writable(at: &Path) {
    must(Command::new("mount").args(["-o", "remount,rw"]).arg(at));
}

fn must(command: &mut Command) {
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

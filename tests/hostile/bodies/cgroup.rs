//! `/proc/PID/cgroup` behind a line that names the hierarchy: a path is one that stands there, once, and stays below its root.

use super::Seed;
use super::law::{Cost, can_be_shown};
use lanyard::agent::{CgroupPath, Hierarchy, cgroup_of};

const DOCKER: &str = "12:pids:/docker/4f5e\n4:cpu,cpuacct:/docker/4f5e\n1:name=systemd:/docker/4f5e\n";

/// A container's process on hosts of each kind.
pub fn seeds() -> Vec<Seed> {
    let unified = "v2\n0::/system.slice/docker-4f5e.scope/init\n".to_owned();
    vec![
        Seed::new("unified", unified),
        Seed::new("version-1", format!("cpuacct\n{DOCKER}")),
        Seed::new("named", format!("name=systemd\n{DOCKER}0::/\n")),
        Seed::new("root", format!("v2\n{DOCKER}0::/\n")),
    ]
}

/// See the file's words.
pub fn body(bytes: &[u8]) -> bool {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (name, text) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let hierarchy = String::from_utf8_lossy(name).parse::<Hierarchy>().unwrap();
    let found = Cost::SMALL.of(bytes.len(), || cgroup_of(text, &hierarchy));
    let reversed: Vec<&[u8]> = text.split(|byte| *byte == b'\n').rev().collect();
    let found_reversed = cgroup_of(&reversed.join(&b'\n'), &hierarchy);
    assert_eq!(found.as_ref().ok(), found_reversed.as_ref().ok(), "the order of lines says nothing");
    match &found {
        Ok(path) => stands_there(path, &hierarchy, text),
        Err(error) => can_be_shown(error),
    }
    found.is_ok()
}

/// Looked for by other means than the reader's.
fn stands_there(path: &CgroupPath, hierarchy: &Hierarchy, text: &[u8]) {
    let wanted = match hierarchy {
        Hierarchy::V1(name) => name.as_bytes(),
        Hierarchy::V2 => &[],
    };
    let colon = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b':');
    let lines = text.split(|byte| *byte == b'\n').filter_map(|line| {
        let (id, rest) = line.split_at(colon(line)?);
        let (names, path) = rest[1..].split_at(colon(&rest[1..])?);
        // Of version 2 no controllers are named at all; a list of two empty names is none.
        let is_it = match hierarchy {
            Hierarchy::V1(_) => id != b"0" && names.split(|byte| *byte == b',').any(|name| name == wanted),
            Hierarchy::V2 => id == b"0" && names.is_empty(),
        };
        is_it.then_some(&path[1..])
    });
    assert_eq!(lines.collect::<Vec<_>>(), [path.as_str().as_bytes()]);
    assert!(path.as_str().len() <= 4096 && path.as_str().starts_with('/'));
    assert!(path.names().all(|name| !["", ".", ".."].contains(&name) && !name.contains(['/', '\n'])));
    assert_eq!(path.is_root(), path.names().next().is_none());
    assert!(path.contains(path) && !path.as_str().ends_with(" (deleted)"));
}

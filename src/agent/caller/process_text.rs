//! What other files of `/proc/PID` say (proc(5)), read from their text.

use super::cgroup_path::Hierarchy;
use std::path::PathBuf;

/// Capabilities by which a process gets out of its container, or into another one (capabilities(7)): `DAC_READ_SEARCH`,
/// `SYS_MODULE`, `SYS_RAWIO`, `SYS_PTRACE`, `SYS_ADMIN`, `PERFMON` and `BPF`. None is among those that Docker gives unasked.
const POWERS: u64 = 1 << 2 | 1 << 16 | 1 << 17 | 1 << 19 | 1 << 21 | 1 << 38 | 1 << 39;

/// The number of `starttime` among the fields behind the command's name; the third field of the line is the first there.
const START_TIME: usize = 22 - 3;

/// When a process started, in ticks since the machine did (`/proc/PID/stat`). Its name stands in parentheses and may hold
/// anything, so the last one ends it.
pub(super) fn start_time(stat: &str) -> Option<u64> {
    let (_name, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(START_TIME)?.parse().ok()
}

/// How a process is kept apart (`/proc/PID/status`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Status {
    /// Whether it is in a pid namespace below ours.
    pub(super) own_pids: bool,
    /// Whether it, or what it may run, can have one of [`POWERS`].
    pub(super) powerful: bool,
}

impl Status {
    pub(super) fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let powers = |name: &str| u64::from_str_radix(field(name)?.trim(), 16).ok();
        let own_pids = field("NSpid")?.split_ascii_whitespace().count() > 1;
        Some(Self { own_pids, powerful: (powers("CapBnd")? | powers("CapPrm")?) & POWERS != 0 })
    }
}

/// Where the whole of a hierarchy is mounted (`/proc/PID/mountinfo`).
pub(super) fn mount_of(hierarchy: &Hierarchy, mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, folder) = (place.next()?, place.next()?);
        let mut kind = kind.split(' ');
        let (file_system, options) = (kind.next()?, kind.nth(1)?);
        let is_it = match hierarchy {
            Hierarchy::V1(name) => file_system == "cgroup" && options.split(',').any(|option| option == name),
            Hierarchy::V2 => file_system == "cgroup2",
        };
        // A backslash stands for a byte that we would have to decode; no cgroup is mounted at such a place.
        (is_it && root == "/" && !folder.contains('\\')).then(|| PathBuf::from(folder))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_cannot_name_itself_older() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        assert_eq!(start_time(&format!("7 (sh) {rest}")), Some(4711));
        assert_eq!(
            start_time(&format!("7 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 1) {rest}\n")),
            Some(4711)
        );
        assert_eq!(start_time("7 (sh) S 1 2"), None);
    }

    #[test]
    fn powers_count_whether_held_or_to_be_had() {
        let status = |nspid: &str, permitted: &str, bounding: &str| {
            Status::parse(&format!("Name:\tsh\nNSpid:\t{nspid}\nCapPrm:\t{permitted}\nCapBnd:\t{bounding}\n"))
        };
        // What Docker gives a container, and what `--privileged` does.
        let (usual, all) = ("00000000a80425fb", "000001ffffffffff");
        for (nspid, permitted, bounding, expected) in [
            ("4711\t7", usual, usual, (true, false)),
            ("4711\t7", "0000000000000000", all, (true, true)),
            ("4711\t7", all, usual, (true, true)),
            ("4711", usual, usual, (false, false)),
        ] {
            let found = status(nspid, permitted, bounding).unwrap();
            assert_eq!((found.own_pids, found.powerful), expected, "{nspid} {permitted} {bounding}");
        }
        assert_eq!(status("1", "x", usual), None);
    }

    #[test]
    fn a_hierarchy_is_found_where_all_of_it_is_mounted() {
        let mounts = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      40 31 0:36 /docker/4f /mnt rw shared:1 - cgroup cgroup rw,pids\n\
                      39 31 0:36 / /sys/fs/cgroup/pids rw shared:1 - cgroup cgroup rw,pids\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let mount = |name: &str| mount_of(&name.parse().unwrap(), mounts);
        assert_eq!(mount("v2"), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(mount("pids"), Some(PathBuf::from("/sys/fs/cgroup/pids")));
        assert_eq!(mount("rw"), mount("pids"), "an operator who names an option gets what it finds");
        assert_eq!(mount("memory"), None);
    }
}

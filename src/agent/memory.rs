//! Whether a folder is kept in memory, where a secret ends with the machine.

use std::path::Path;

/// Whether the folder lives in memory; when the system does not tell, it is believed to.
pub fn on_memory(folder: &Path) -> bool {
    let (Ok(folder), Ok(mounts)) = (folder.canonicalize(), std::fs::read_to_string("/proc/self/mounts")) else {
        return true;
    };
    file_system(&folder, &mounts).is_none_or(|kind| matches!(kind, "tmpfs" | "ramfs"))
}

/// The kind of file system that a path is on (proc(5), `/proc/self/mounts`): the longest mount point, the last of those.
fn file_system<'m>(path: &Path, mounts: &'m str) -> Option<&'m str> {
    let kind = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            Some((words.next()?, words.next()?))
        })
        .filter(|(place, _)| path.starts_with(place))
        .max_by_key(|(place, _)| place.len());
    kind.map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_decides_and_of_two_at_one_place_the_later() {
        let mounts = "overlay / overlay rw 0 0\ntmpfs /run tmpfs rw 0 0\n/dev/sda /run/kept ext4 rw 0 0\n\
                      /dev/sdb /mnt ext4 rw 0 0\ntmpfs /mnt tmpfs rw 0 0\nodd\n";
        for (path, kind) in [
            ("/srv", "overlay"),
            ("/run", "tmpfs"),
            ("/run/lanyard/files", "tmpfs"),
            ("/runner", "overlay"),
            ("/run/kept/x", "ext4"),
            ("/mnt/x", "tmpfs"),
        ] {
            assert_eq!(file_system(Path::new(path), mounts), Some(kind), "{path}");
        }
        assert_eq!(file_system(Path::new("/srv"), ""), None);
        assert!(on_memory(Path::new("/dev/shm")) && on_memory(Path::new("/nowhere/at/all")));
    }
}

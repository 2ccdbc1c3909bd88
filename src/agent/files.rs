//! SVIDs as files, for software that reads nothing else: all files of one state change together.
//!
//! ```text
//!   DIR/svid.pem ─▶ ..data/svid.pem        DIR/..data ─▶ ..gen-…   one rename switches all of them
//! ```
//! Readers that open the three files one after another may still straddle a switch; the hook runs after it.

use crate::crypto::PemLabel;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const CURRENT: &str = "..data";
const GENERATION: &str = "..gen-";

/// Everybody on the machine may read certificates.
const MODE_PUBLIC: u32 = 0o644;

/// Private keys are for their owner alone.
const MODE_SECRET: u32 = 0o600;

/// The files of one X.509-SVID: `svid.pem`, `svid_key.pem`, `svid_bundle.pem`.
#[derive(Debug)]
pub struct SvidFiles {
    files: Vec<(String, u32, Zeroizing<String>)>,
}

impl SvidFiles {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { files: Vec::new() }
    }

    /// Adds one SVID, all of it DER; a name other than the default's empty one stands in the file names:
    /// `svid.NAME.pem`. A name that is no plain word gets no files.
    pub fn add<'a>(
        &mut self,
        name: &str,
        chain: impl IntoIterator<Item = &'a [u8]>,
        key: &[u8],
        bundle: impl IntoIterator<Item = &'a [u8]>,
    ) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !name.bytes().all(plain) {
            tracing::warn!(profile = name, "this profile's name cannot stand in a file name; it is not written");
            return;
        }
        let suffix = if name.is_empty() { String::new() } else { format!(".{name}") };
        let certificates = |ders: &mut dyn Iterator<Item = &'a [u8]>| {
            Zeroizing::new(ders.map(|der| PemLabel::Certificate.armour(der).to_string()).collect::<String>())
        };
        let chain = certificates(&mut chain.into_iter());
        let bundle = certificates(&mut bundle.into_iter());
        self.files.push((format!("svid{suffix}.pem"), MODE_PUBLIC, chain));
        self.files.push((format!("svid_key{suffix}.pem"), MODE_SECRET, PemLabel::PrivateKey.armour(key)));
        self.files.push((format!("svid_bundle{suffix}.pem"), MODE_PUBLIC, bundle));
    }

    /// Puts these files, and no others of a former state, into the folder.
    ///
    /// # Errors
    /// When the system does not let us; the former state then stays, and nothing of the new one.
    pub fn publish(&self, folder: &Path, generation: &str) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let name = format!("{GENERATION}{generation}");
        let inside = folder.join(&name);
        DirBuilder::new().mode(0o755).create(&inside)?;
        if let Err(error) = self.write(&inside).and_then(|()| replace_link(Path::new(&name), &folder.join(CURRENT))) {
            // No half key is left lying about. If it cannot be removed, the first error is still the one to tell.
            drop(std::fs::remove_dir_all(&inside));
            return Err(error);
        }
        for (file, ..) in &self.files {
            replace_link(&Path::new(CURRENT).join(file), &folder.join(file))?;
        }
        sweep(folder, Some(&name))
    }

    fn write(&self, inside: &Path) -> io::Result<()> {
        for (file, mode, content) in &self.files {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(*mode).open(inside.join(file))?;
            // Whatever the process's umask takes away, readers are promised these modes.
            file.set_permissions(PermissionsExt::from_mode(*mode))?;
            file.write_all(content.as_bytes())?;
        }
        Ok(())
    }
}

impl Default for SvidFiles {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes away what was published: the identity has ended.
pub(super) fn withdraw(folder: &Path) -> io::Result<()> {
    match std::fs::remove_file(folder.join(CURRENT)) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    if folder.exists() { sweep(folder, None) } else { Ok(()) }
}

/// Makes a symbolic link, or turns an old one, in one step.
fn replace_link(target: &Path, link: &Path) -> io::Result<()> {
    if std::fs::read_link(link).is_ok_and(|now| now == target) {
        return Ok(());
    }
    let mut aside = link.as_os_str().to_owned();
    aside.push(".new");
    let aside = PathBuf::from(aside);
    match std::fs::remove_file(&aside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    symlink(target, &aside)?;
    std::fs::rename(&aside, link)
}

/// Removes the generations that are not current, and the links that lead nowhere.
fn sweep(folder: &Path, current: Option<&str>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(GENERATION) && current != Some(&*name) {
            std::fs::remove_dir_all(entry.path())?;
        } else if std::fs::read_link(entry.path()).is_ok_and(|to| to.starts_with(CURRENT)) && !entry.path().exists() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn publish(folder: &Path, generation: &str, profiles: &[&str]) {
        let mut files = SvidFiles::new();
        for profile in profiles {
            files.add(profile, [[1, 2, 3].as_slice()], generation.as_bytes(), [[4_u8].as_slice()]);
        }
        files.publish(folder, generation).unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_generation_replaces_the_old_one_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        publish(folder.path(), "1", &["", "istio"]);
        publish(folder.path(), "2", &[""]);
        assert_eq!(names(folder.path()), ["..data", "..gen-2", "svid.pem", "svid_bundle.pem", "svid_key.pem"]);
        let key = std::fs::read_to_string(folder.path().join("svid_key.pem")).unwrap();
        assert_eq!(key, "-----BEGIN PRIVATE KEY-----\nMg==\n-----END PRIVATE KEY-----\n");
        let mode = |file| std::fs::metadata(folder.path().join(file)).unwrap().mode() & 0o777;
        assert_eq!((mode("svid_key.pem"), mode("svid.pem")), (0o600, 0o644));
        withdraw(folder.path()).unwrap();
        assert!(names(folder.path()).is_empty());
        withdraw(&folder.path().join("never made")).unwrap();
    }

    #[test]
    fn a_profile_cannot_lead_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        publish(folder.path(), "1", &["../../x", ""]);
        assert_eq!(names(folder.path()).len(), 5);
    }
}

//! SVIDs as files, for software that reads nothing else: all files of one state change together.
//!
//! ```text
//!   DIR/svid.pem ─▶ ..data/svid.pem        DIR/..data ─▶ ..gen-…   one rename switches all of them
//! ```
//! Whoever opens `..data` once and reads its files from there sees one state; the one before stays until the next, for
//! readers that are still in it. Who opens the files one after another may straddle a switch; the hook runs after it.

use super::layout::{Layout, SvidTexts, certificates};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const CURRENT: &str = "..data";
const CRLS: &str = "svid_crl.pem";
const GENERATION: &str = "..gen-";

/// Everybody on the machine may read certificates.
pub(super) const MODE_PUBLIC: u32 = 0o644;

/// Private keys are for their owner alone.
pub(super) const MODE_SECRET: u32 = 0o600;

/// The files of one state, in the layouts that readers want.
#[derive(Debug)]
pub struct SvidFiles {
    layouts: Vec<Layout>,
    files: Vec<(String, u32, Zeroizing<String>)>,
}

impl SvidFiles {
    /// Nothing yet, in the layout `pem`.
    pub fn new() -> Self {
        Self::with(&[Layout::Pem])
    }

    /// Nothing yet, in these layouts.
    pub fn with(layouts: &[Layout]) -> Self {
        let mut layouts = layouts.to_vec();
        layouts.sort_unstable();
        layouts.dedup();
        Self { layouts, files: Vec::new() }
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
        let texts = SvidTexts::of(chain, key, bundle);
        for (stem, mode, text) in self.layouts.iter().flat_map(|layout| texts.files(*layout)) {
            self.files.push((format!("{stem}{suffix}.pem"), mode, text));
        }
    }

    /// Adds the roots of one trust domain, DER, where they are wanted apart.
    pub fn add_bundle(&mut self, trust_domain: &str, roots: &[&[u8]]) {
        if self.layouts.contains(&Layout::PerTrustDomain) {
            let text = Zeroizing::new(certificates(roots));
            self.files.push((format!("bundle.{trust_domain}.pem"), MODE_PUBLIC, text));
        }
    }

    /// Adds the revocation lists of all authorities, PEM, in one file for all layouts: their readers take it apart from the rest.
    pub fn add_crls(&mut self, lists: &str) {
        self.files.push((CRLS.to_owned(), MODE_PUBLIC, Zeroizing::new(lists.to_owned())));
    }

    /// Puts these files, and no others of a former state, into the folder.
    ///
    /// # Errors
    /// When the system does not let us; the former state then stays, and nothing of the new one.
    pub fn publish(&self, folder: &Path, generation: &str) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let former = std::fs::read_link(folder.join(CURRENT)).ok();
        let (name, inside) = make_generation(folder, generation)?;
        let name = Path::new(&name);
        if let Err(error) = self.write_into(&inside).and_then(|()| self.lead_to(folder, name)) {
            // Whatever of it is there holds a key, and this comes again every few seconds.
            if let Err(left) = sweep(folder, |kept| kept != name) {
                tracing::warn!(error = %left, folder = %folder.display(), "an unfinished state's files cannot be removed");
            }
            return Err(error);
        }
        // Readers have the new state: what is still to do is no reason to write it again.
        let durable = File::open(folder).and_then(|folder| folder.sync_all());
        if let Err(error) = durable.and(sweep(folder, |kept| kept == name || Some(kept) == former.as_deref())) {
            tracing::warn!(%error, folder = %folder.display(), "the former states' files cannot be removed");
        }
        Ok(())
    }

    /// The links come before the switch, for they can fail and it is the last step; new ones lead nowhere until then.
    fn lead_to(&self, folder: &Path, generation: &Path) -> io::Result<()> {
        for (file, ..) in &self.files {
            replace_link(&Path::new(CURRENT).join(file), &folder.join(file))?;
        }
        File::open(folder)?.sync_all()?;
        replace_link(generation, &folder.join(CURRENT))
    }

    /// Everything is on the disk before anybody is led to it.
    fn write_into(&self, inside: &Path) -> io::Result<()> {
        for (file, mode, content) in &self.files {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(*mode).open(inside.join(file))?;
            // Whatever the process's umask takes away, readers are promised these modes.
            file.set_permissions(PermissionsExt::from_mode(*mode))?;
            file.write_all(content.as_bytes())?;
            file.sync_all()?;
        }
        // Whatever the process's umask takes away.
        std::fs::set_permissions(inside, PermissionsExt::from_mode(0o755))?;
        File::open(inside)?.sync_all()
    }
}

/// A folder for a state, new also where a former run, or the same state written again, has left one of that name.
fn make_generation(folder: &Path, generation: &str) -> io::Result<(String, PathBuf)> {
    let mut again = 0_u32;
    loop {
        let name =
            if again == 0 { format!("{GENERATION}{generation}") } else { format!("{GENERATION}{generation}.{again}") };
        let inside = folder.join(&name);
        match DirBuilder::new().mode(0o755).create(&inside) {
            Ok(()) => return Ok((name, inside)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => again += 1,
            Err(error) => return Err(error),
        }
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
    if folder.exists() { sweep(folder, |_| false) } else { Ok(()) }
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
    std::fs::rename(&aside, link).inspect_err(|_refused| drop(std::fs::remove_file(&aside)))
}

/// Removes the generations that are not kept, and the links that lead nowhere. What cannot be removed keeps nothing else;
/// the last such error is told.
fn sweep(folder: &Path, kept: impl Fn(&Path) -> bool) -> io::Result<()> {
    let mut swept = Ok(());
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let dangles =
            || std::fs::read_link(entry.path()).is_ok_and(|to| to.starts_with(CURRENT)) && !entry.path().exists();
        let removed = if name.to_string_lossy().starts_with(GENERATION) && !kept(Path::new(&name)) {
            std::fs::remove_dir_all(entry.path())
        } else if dangles() {
            std::fs::remove_file(entry.path())
        } else {
            Ok(())
        };
        swept = removed.and(swept);
    }
    swept
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
    fn a_new_generation_replaces_the_old_one_and_leaves_only_that_behind() {
        let folder = tempfile::tempdir().unwrap();
        publish(folder.path(), "0", &[""]);
        publish(folder.path(), "1", &["", "istio"]);
        publish(folder.path(), "2", &[""]);
        assert_eq!(
            names(folder.path()),
            ["..data", "..gen-1", "..gen-2", "svid.pem", "svid_bundle.pem", "svid_key.pem"]
        );
        let key = std::fs::read_to_string(folder.path().join("svid_key.pem")).unwrap();
        assert_eq!(key, "-----BEGIN PRIVATE KEY-----\nMg==\n-----END PRIVATE KEY-----\n");
        let mode = |file| std::fs::metadata(folder.path().join(file)).unwrap().mode() & 0o777;
        assert_eq!((mode("svid_key.pem"), mode("svid.pem")), (0o600, 0o644));
        withdraw(folder.path()).unwrap();
        assert!(names(folder.path()).is_empty());
        withdraw(&folder.path().join("never made")).unwrap();
    }

    #[test]
    fn the_same_state_written_again_is_a_generation_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            publish(folder.path(), "2", &[""]);
        }
        assert_eq!(names(folder.path()).len(), 6, "the two newest, and four links");
    }

    #[test]
    fn a_generation_that_cannot_be_written_leaves_the_former_and_no_key() {
        let folder = tempfile::tempdir().unwrap();
        publish(folder.path(), "1", &[""]);
        let mut files = SvidFiles::new();
        files.add("", [[1].as_slice()], b"2", [[4_u8].as_slice()]);
        files.add("", [[1].as_slice()], b"2", [[4_u8].as_slice()]);
        files.publish(folder.path(), "2").unwrap_err();
        assert_eq!(names(folder.path()), ["..data", "..gen-1", "svid.pem", "svid_bundle.pem", "svid_key.pem"]);
    }

    #[test]
    fn a_link_that_cannot_be_made_leaves_the_former_state_and_no_key_however_often_it_is_tried() {
        let folder = tempfile::tempdir().unwrap();
        publish(folder.path(), "1", &[""]);
        let in_the_way = folder.path().join("svid_key.istio.pem");
        std::fs::create_dir(&in_the_way).unwrap();
        let before = names(folder.path());
        for generation in ["2", "3"] {
            let mut files = SvidFiles::new();
            for profile in ["", "istio"] {
                files.add(profile, [[1].as_slice()], generation.as_bytes(), [[4_u8].as_slice()]);
            }
            files.publish(folder.path(), generation).unwrap_err();
            assert_eq!(names(folder.path()), before);
            assert_eq!(std::fs::read_link(folder.path().join(CURRENT)).unwrap(), Path::new("..gen-1"));
        }
        std::fs::remove_dir(in_the_way).unwrap();
        publish(folder.path(), "4", &["", "istio"]);
        assert_eq!(names(folder.path()).len(), 9, "two states, their link, and six of files");
    }

    #[test]
    fn what_cannot_be_swept_keeps_neither_the_new_state_nor_the_rest_of_the_sweep_back() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("..gen-none of ours"), "a file").unwrap();
        for generation in ["1", "2", "3", "4"] {
            publish(folder.path(), generation, &[""]);
        }
        let left = names(folder.path());
        assert_eq!(left[..3], ["..data", "..gen-3", "..gen-4"], "{left:?}");
    }

    #[test]
    fn a_profile_cannot_lead_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        publish(folder.path(), "1", &["../../x", ""]);
        assert_eq!(names(folder.path()).len(), 5);
    }
}

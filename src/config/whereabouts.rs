//! Where a server is, for commands that look after it. They read what they need and nothing of what the server issues by:
//! a slip in a policy is no reason why nobody could ask whether the server is well, or take a backup.

use super::Environment;
use super::doors::read_listen;
use super::places::read_places;
use super::problem::{Problem, read_text};
use super::reader::Reader;
use super::sealing::read_sealing;
use super::section::Section;
use super::server::{load_server, read_trust_domain};
use super::vault::read_vault;
use crate::authority::SealingSettings;
use crate::backup::Folder;
use crate::custody::PlacesSettings;
use crate::identity::TrustDomain;
use crate::vault::VaultSettings;
use rustix::fs::{Access, access};
use rustix::process::geteuid;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A part of a configuration.
#[derive(Clone, Debug)]
pub struct Partly<T> {
    /// The part; nothing is wrong with it.
    pub settings: T,
    /// How many problems the configuration has besides.
    pub other_problems: usize,
}

/// A server's data folder, what opens it, and its admin socket.
#[derive(Clone, Debug)]
pub struct Whereabouts {
    /// Whose identities it issues.
    pub trust_domain: TrustDomain,
    /// Where journal, index and sealed keys live.
    pub data_dir: PathBuf,
    /// The Unix socket for operators.
    pub admin_socket: PathBuf,
    /// Where the sealing key is.
    pub sealing: SealingSettings,
    /// What may wrap it.
    pub places: PlacesSettings,
    /// Where one of these may be.
    pub vault: Option<VaultSettings>,
}

impl Whereabouts {
    /// The data folder, for backups.
    pub fn folder(&self) -> Folder {
        folder_of(&self.trust_domain, &self.data_dir, &self.sealing)
    }
}

/// A server's data folder, for backups.
pub(super) fn folder_of(trust_domain: &TrustDomain, data_dir: &Path, sealing: &SealingSettings) -> Folder {
    let wrapped_key = sealing.place.is_some().then(|| sealing.file.clone());
    Folder { trust_domain: trust_domain.clone(), path: data_dir.to_owned(), wrapped_key }
}

/// Reads where a server is.
///
/// # Errors
/// Every problem of the file, where that cannot be known for them.
pub fn load_whereabouts(file: &Path, environment: &dyn Environment) -> Result<Partly<Whereabouts>, Vec<Problem>> {
    load_part(file, environment, |reader, root| {
        let trust_domain = read_trust_domain(root);
        let data_dir =
            root.path("data_dir").or_else(|| root.missing("data_dir", "write the folder for journal and keys"))?;
        let admin_socket = read_listen(root, &data_dir).admin_socket;
        let mut keys = root.section("keys");
        let places = read_places(&mut keys);
        let sealing = read_sealing(&mut keys, &places).settings(reader, (&data_dir, environment));
        let vault = read_vault(root, &places);
        Some(Whereabouts { trust_domain: trust_domain?, data_dir, admin_socket, sealing, places, vault })
    })
}

/// Reads where a server's health is asked; none where it is nowhere.
///
/// # Errors
/// Every problem of the file, where that cannot be known for them.
pub fn load_health(file: &Path, environment: &dyn Environment) -> Result<Partly<Option<SocketAddr>>, Vec<Problem>> {
    load_part(file, environment, |_reader, root| Some(read_listen(root, Path::new("")).health))
}

fn load_part<T>(
    file: &Path,
    environment: &dyn Environment,
    read: impl FnOnce(&Reader<'_>, &mut Section<'_, '_>) -> Option<T>,
) -> Result<Partly<T>, Vec<Problem>> {
    let text = read_text(file, "name the server's configuration with --config")?;
    let reader = Reader::new(file, &text);
    let part = read(&reader, &mut reader.document());
    // Lines that are not TOML may be any others' business: what is needed was read in spite of them, or was not.
    let in_spite = reader.broken.get();
    let problems = reader.settled(Some(())).err().unwrap_or_default();
    match part {
        Some(settings) if in_spite || problems.is_empty() => {
            let other_problems = load_server(file, environment).map_or_else(|problems| problems.len(), |_whole| 0);
            Ok(Partly { settings, other_problems })
        }
        _ => Err(load_server(file, environment).err().unwrap_or(problems)),
    }
}

/// Why a server that is started here and by this user would not find its data folder, if it would not.
pub fn check_data_dir(file: &Path, data_dir: &Path) -> Option<Problem> {
    let (found, remedy) = match std::fs::metadata(data_dir) {
        Ok(found) if found.uid() == geteuid().as_raw() => return None,
        Ok(found) => (
            format!(
                "{}, which belongs to uid {}, and this is uid {}",
                data_dir.display(),
                found.uid(),
                geteuid().as_raw()
            ),
            "give it to the server's user, and check as that one",
        ),
        Err(_missing) => {
            let parent = data_dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            match access(parent, Access::WRITE_OK | Access::EXEC_OK) {
                Ok(()) => return None,
                Err(error) => (
                    format!(
                        "{}, which is not there and cannot be made in {} ({error})",
                        data_dir.display(),
                        parent.display()
                    ),
                    "mend it, mount what belongs there, or check as the server's user",
                ),
            }
        }
    };
    let (file, key) = (file.to_owned(), "data_dir".to_owned());
    Some(Problem { file, line: None, key, found, remedy: remedy.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::super::MapEnvironment;
    use super::*;

    #[test]
    fn a_data_folder_that_no_start_would_find_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let told = |data: &str| check_data_dir(Path::new("server.toml"), &folder.path().join(data));
        assert_eq!(told("."), None);
        assert_eq!(told("data"), None);
        assert!(told("gone/data").unwrap().to_string().contains("data_dir: "), "{:?}", told("gone/data"));
    }

    #[test]
    fn what_is_wrong_elsewhere_is_counted_and_keeps_nobody_from_finding_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.toml");
        let good = "trust_domain = \"ci.example.org\"\ndata_dir = \"data\"\n[listen]\nhealth = \"127.0.0.1:8081\"\n";
        for more in ["", "[[issuer]]\nname = \"corp\"\n", "[policy\n"] {
            std::fs::write(&file, format!("{good}{more}")).unwrap();
            let found = load_whereabouts(&file, &MapEnvironment::default()).unwrap();
            assert_eq!(found.settings.admin_socket, folder.path().join("data/admin.sock"), "{more}");
            let health = load_health(&file, &MapEnvironment::default()).unwrap();
            assert_eq!(health.settings, "127.0.0.1:8081".parse().ok(), "{more}");
            assert!(found.other_problems > 0 && health.other_problems == found.other_problems, "{more}");
        }
        for (wrong, key) in [("data_dir = 7", "data_dir"), ("[listen]\nhealth = \"here\"", "listen.health")] {
            std::fs::write(&file, format!("trust_domain = \"ci.example.org\"\n{wrong}\n")).unwrap();
            let problems = match key {
                "data_dir" => load_whereabouts(&file, &MapEnvironment::default()).map(drop).unwrap_err(),
                _ => load_health(&file, &MapEnvironment::default()).map(drop).unwrap_err(),
            };
            assert!(problems.iter().any(|problem| problem.key == key), "{problems:#?}");
        }
    }
}

//! Where the sealing key is, which place wraps it, and which key was there before.

use super::Environment;
use super::places::{in_memory, read_name};
use super::reader::Reader;
use super::section::Section;
use crate::authority::SealingSettings;
use crate::custody::PlacesSettings;
use std::path::{Path, PathBuf};

/// A key that no place wraps.
const FILE: &str = "file";

/// What systemd calls it where it hands the key over (`LoadCredential=`).
const CREDENTIAL: &str = "lanyard-sealing.key";

/// As it is named; what is not depends on the data folder.
pub(super) struct NamedSealing {
    file: Option<PathBuf>,
    place: Option<String>,
    former: Option<PathBuf>,
    former_line: Option<usize>,
}

pub(super) fn read_sealing(keys: &mut Section<'_, '_>, places: &PlacesSettings) -> NamedSealing {
    let file = keys.path("sealing_key_file");
    let line = keys.line_of("sealing_place");
    let place = read_name(keys, "sealing_place", FILE, &places.places);
    if place.as_ref().is_some_and(|place| in_memory(&places.places, place)) {
        let found = "a place in memory, which could open nothing after a restart";
        keys.problem("sealing_place", line, found, "name a place that lasts, or \"file\"");
    }
    let former_line = keys.line_of("former_sealing_key_file");
    let former = keys.path("former_sealing_key_file");
    NamedSealing { file, place, former, former_line }
}

impl NamedSealing {
    pub(super) fn settings(
        self,
        reader: &Reader<'_>,
        (data_dir, environment): (&Path, &dyn Environment),
    ) -> SealingSettings {
        let Self { file, place, former, former_line } = self;
        let file = file.unwrap_or_else(|| match &place {
            Some(_) => data_dir.join("sealing.wrapped"),
            None => credential(environment).unwrap_or_else(|| data_dir.join("sealing.key")),
        });
        if former.as_ref() == Some(&file) {
            let found = "the file of the key that is to replace it".to_owned();
            let remedy = "name another file as sealing_key_file; it is made at the next start".to_owned();
            reader.report(former_line, "keys.former_sealing_key_file".to_owned(), found, remedy);
        }
        SealingSettings { file, place, former }
    }
}

/// The key that systemd hands to the service, if it does. Its folder is for reading, and may hold others only: no key is ever
/// made there.
fn credential(environment: &dyn Environment) -> Option<PathBuf> {
    let handed = Path::new(&environment.value("CREDENTIALS_DIRECTORY")?).join(CREDENTIAL);
    handed.exists().then_some(handed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MapEnvironment;

    #[test]
    fn a_credential_is_the_key_only_where_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let handed = folder.path().to_string_lossy().into_owned();
        let environment = MapEnvironment([("CREDENTIALS_DIRECTORY".to_owned(), handed)].into());
        std::fs::write(folder.path().join("vault-token"), "another").unwrap();
        assert_eq!(credential(&environment), None);
        std::fs::write(folder.path().join(CREDENTIAL), [7; 32]).unwrap();
        assert_eq!(credential(&environment), Some(folder.path().join(CREDENTIAL)));
        assert_eq!(credential(&MapEnvironment::default()), None);
    }

    #[test]
    fn the_unit_for_systemd_names_the_credential_as_it_is_read() {
        let unit = include_str!("../../docs/systemd/lanyard.service");
        assert!(unit.contains(&format!("\n# LoadCredential={CREDENTIAL}:")), "{unit}");
    }
}

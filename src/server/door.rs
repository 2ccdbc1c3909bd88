//! The certificate that the server's port shows: an operator's, or one of the door CA in the data folder.

use super::{ServerError, data_folder};
use crate::config::{DoorFiles, DoorSettings, ServerSettings};
use crate::crypto::{Digest, Random};
use crate::tls::{DoorCa, DoorCertificate};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// What clients are given.
const CA_FILE: &str = "door-ca.pem";
/// What only the server may read.
const CA_KEY_FILE: &str = "door-ca-key.pem";

/// Reads or makes what the settings ask for.
pub(super) fn open_door(
    settings: &ServerSettings,
    random: &Random,
    now: OffsetDateTime,
) -> Result<DoorCertificate, ServerError> {
    Ok(match &settings.doors.certificate {
        DoorSettings::Files(files) => open_files(files)?,
        DoorSettings::DoorCa { names } => {
            let ca = open_ca(&settings.data_dir, random, now)?;
            tracing::info!(server_ca_sha256 = %Digest::of(ca.certificate()), "clients know this server by its door CA");
            DoorCertificate::from_ca(ca, names.clone(), now)?
        }
    })
}

/// An operator's certificate with its key.
pub(super) fn open_files(files: &DoorFiles) -> Result<DoorCertificate, ServerError> {
    Ok(DoorCertificate::from_files(&files.certificate, &files.key)?)
}

/// Makes the data folder of a new server, with the door CA that its clients will be told of.
///
/// # Errors
/// `Folder`, `FolderOpen`, `File`, `Tls`.
pub fn make_door_ca(folder: &Path, random: &Random, now: OffsetDateTime) -> Result<DoorCa, ServerError> {
    data_folder::own(folder)?;
    open_ca(folder, random, now)
}

/// `init` makes it, or the first start of a server without one.
///
/// The certificate is written last: where it is, its key is too, and whoever was given it can go on trusting it.
fn open_ca(folder: &Path, random: &Random, now: OffsetDateTime) -> Result<DoorCa, ServerError> {
    let (certificate_path, key_path) = (folder.join(CA_FILE), folder.join(CA_KEY_FILE));
    if let Some(certificate) = read(&certificate_path)? {
        let key = read(&key_path)?.ok_or_else(|| failed(&key_path, io::ErrorKind::NotFound.into()))?;
        return Ok(DoorCa::load(&certificate, &key, random)?);
    }
    let ca = DoorCa::make(random, now)?;
    write(&key_path, &ca.key_to_pem(), 0o600)?;
    write(&certificate_path, &ca.to_pem(), 0o644)?;
    Ok(ca)
}

fn read(path: &Path) -> Result<Option<Zeroizing<String>>, ServerError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, error)),
    }
}

/// Whole or not at all, also through a crash.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), ServerError> {
    let aside = path.with_extension("new");
    let written = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&aside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, path)
    };
    written().map_err(|error| failed(path, error))
}

fn failed(path: &Path, source: io::Error) -> ServerError {
    ServerError::File { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_door_ca_is_made_once_and_its_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let (random, now) = (Random::system(), OffsetDateTime::UNIX_EPOCH);
        let first = open_ca(folder.path(), &random, now).unwrap();
        assert_eq!(open_ca(folder.path(), &random, now).unwrap().certificate(), first.certificate());
        let mode = fs::metadata(folder.path().join(CA_KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_file(folder.path().join(CA_KEY_FILE)).unwrap();
        assert!(matches!(open_ca(folder.path(), &random, now), Err(ServerError::File { .. })));
    }
}

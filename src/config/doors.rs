//! Where a server listens, and the certificate that it shows there.

use super::section::Section;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The issuer door of a server that names none.
const LISTEN: &str = "127.0.0.1:8443";

/// The certificate that the doors show.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DoorSettings {
    /// Made at the first start in the data folder, for these names; clients trust its PEM.
    DoorCa {
        /// DNS names and addresses.
        names: Vec<String>,
    },
    /// An operator's.
    Files(DoorFiles),
}

/// An operator's certificate, read again when its files change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DoorFiles {
    /// PEM, leaf first.
    pub certificate: PathBuf,
    /// PEM, unencrypted.
    pub key: PathBuf,
}

/// Where the server is to be reached.
pub(super) struct Listen {
    pub(super) doors: Vec<SocketAddr>,
    pub(super) bundle: Vec<SocketAddr>,
    pub(super) bundle_spiffe: Vec<SocketAddr>,
    pub(super) health: Option<SocketAddr>,
    pub(super) admin_socket: Option<PathBuf>,
}

pub(super) fn read_listen(mut listen: Section<'_, '_>) -> Listen {
    let doors = listen.list("issuer", "an address with a port, such as \"0.0.0.0:8443\"", str::parse);
    let bundle = listen.list("bundle", "an address with a port, such as \"0.0.0.0:8444\"", str::parse);
    let spiffe = listen.list("bundle_spiffe", "an address with a port, such as \"0.0.0.0:8445\"", str::parse);
    let health = read_health(&mut listen);
    let admin_socket = listen.path("admin_socket");
    listen.finish();
    let doors = doors.unwrap_or_else(|| LISTEN.parse().into_iter().collect());
    let (bundle, bundle_spiffe) = (bundle.unwrap_or_default(), spiffe.unwrap_or_default());
    Listen { doors, bundle, bundle_spiffe, health, admin_socket }
}

/// `health = "off"` switches the plain port off.
fn read_health(listen: &mut Section<'_, '_>) -> Option<SocketAddr> {
    let line = listen.line_of("health");
    let would_do = "a loopback address with a port, such as \"127.0.0.1:8081\", or \"off\"";
    let address = listen.parsed("health", would_do, |text| match text {
        "off" => Ok(None),
        address => address.parse::<SocketAddr>().map(Some),
    })??;
    if !address.ip().is_loopback() && !address.ip().is_unspecified() {
        listen.problem(
            "health",
            line,
            format!("\"{address}\""),
            "keep it on loopback or 0.0.0.0: it speaks without TLS",
        );
    }
    Some(address)
}

/// What `[tls]` says.
pub(super) struct ReadDoor {
    pub(super) door: Option<DoorSettings>,
    pub(super) bundle_certificate: Option<DoorFiles>,
}

pub(super) fn read_door(mut tls: Section<'_, '_>, doors: &[SocketAddr]) -> ReadDoor {
    let names = tls.list("names", "a DNS name or an address of this server", |name| {
        if name.is_empty() || name.contains(char::is_whitespace) { Err("no name") } else { Ok(name.to_owned()) }
    });
    let (names_given, made) = (names.is_some(), "for a door CA");
    let door = match read_files(&mut tls, ["cert_file", "key_file"], made) {
        Found::Both(files) if !names_given => Some(DoorSettings::Files(files)),
        Found::Both(_) => {
            tls.problem("names", None, "given beside cert_file", "leave names out: the certificate has its own");
            None
        }
        Found::Neither => Some(DoorSettings::DoorCa { names: names.unwrap_or_else(|| default_names(doors)) }),
        Found::One => None,
    };
    let shared = "for the server's own certificate";
    let bundle_certificate = match read_files(&mut tls, ["bundle_cert_file", "bundle_key_file"], shared) {
        Found::Both(files) => Some(files),
        Found::Neither | Found::One => None,
    };
    tls.finish();
    ReadDoor { door, bundle_certificate }
}

enum Found {
    Both(DoorFiles),
    Neither,
    /// And that is a problem.
    One,
}

fn read_files(tls: &mut Section<'_, '_>, [certificate_key, key_key]: [&'static str; 2], without: &str) -> Found {
    let missing = |tls: &Section<'_, '_>, key, what| {
        let remedy = format!("write the {what}'s file too, or neither {without}");
        tls.missing::<()>(key, &remedy).map_or(Found::One, |()| Found::One)
    };
    match (tls.file(certificate_key), tls.file(key_key)) {
        (Some((certificate, _)), Some((key, _))) => Found::Both(DoorFiles { certificate, key }),
        (Some(_), None) => missing(tls, key_key, "private key"),
        (None, Some(_)) => missing(tls, certificate_key, "certificate"),
        (None, None) => Found::Neither,
    }
}

/// The addresses it listens on, and what this machine calls itself.
fn default_names(doors: &[SocketAddr]) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    for door in doors {
        let name = door.ip().to_string();
        if !door.ip().is_unspecified() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

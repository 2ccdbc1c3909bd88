//! Where a server listens, and the certificate that it shows there.

use super::section::Section;
use super::server::DoorSettings;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The issuer door of a server that names none.
const LISTEN: &str = "127.0.0.1:8443";

/// Where the server is to be reached.
pub(super) struct Listen {
    pub(super) doors: Vec<SocketAddr>,
    pub(super) bundle: Vec<SocketAddr>,
    pub(super) health: Option<SocketAddr>,
    pub(super) admin_socket: Option<PathBuf>,
}

pub(super) fn read_listen(mut listen: Section<'_, '_>) -> Listen {
    let doors = listen.list("issuer", "an address with a port, such as \"0.0.0.0:8443\"", str::parse);
    let bundle = listen.list("bundle", "an address with a port, such as \"0.0.0.0:8444\"", str::parse);
    let health = read_health(&mut listen);
    let admin_socket = listen.path("admin_socket");
    listen.finish();
    let doors = doors.unwrap_or_else(|| LISTEN.parse().into_iter().collect());
    Listen { doors, bundle: bundle.unwrap_or_default(), health, admin_socket }
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

pub(super) fn read_door(mut tls: Section<'_, '_>, doors: &[SocketAddr]) -> Option<DoorSettings> {
    let names = tls.list("names", "a DNS name or an address of this server", |name| {
        if name.is_empty() || name.contains(char::is_whitespace) { Err("no name") } else { Ok(name.to_owned()) }
    });
    let names_given = names.is_some();
    let (certificate, key) = (tls.file("cert_file"), tls.file("key_file"));
    let door = match (certificate, key) {
        (Some((certificate, _)), Some((key, _))) if !names_given => Some(DoorSettings::Files { certificate, key }),
        (Some(_), Some(_)) => {
            tls.problem("names", None, "given beside cert_file", "leave names out: the certificate has its own");
            None
        }
        (Some(_), None) => tls.missing("key_file", "write the private key's file too, or neither for a door CA"),
        (None, Some(_)) => tls.missing("cert_file", "write the certificate's file too, or neither for a door CA"),
        (None, None) => Some(DoorSettings::DoorCa { names: names.unwrap_or_else(|| default_names(doors)) }),
    };
    tls.finish();
    door
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

//! Where a server listens, and the certificate that it shows there.

use super::section::Section;
use crate::wire::{Network, Proxies, are_everybody};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

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

/// Where the server is to be reached, and what it shows there.
#[derive(Clone, Debug)]
pub struct DoorsSettings {
    /// The issuer port: gRPC and REST.
    pub issuer: Vec<SocketAddr>,
    /// The bundle port: the trust bundle and revocation lists for anybody; none switches it off.
    pub bundle: Vec<SocketAddr>,
    /// The port of the bundle endpoint's SPIFFE profile; none switches it off.
    pub bundle_spiffe: Vec<SocketAddr>,
    /// Balancers whose connections to the TLS ports begin with a PROXY header.
    pub proxies: Proxies,
    /// The server's own TLS certificate.
    pub certificate: DoorSettings,
    /// The bundle port's, where it is another.
    pub bundle_certificate: Option<DoorFiles>,
    /// The Unix socket for operators.
    pub admin_socket: PathBuf,
    /// The plain port for `/live`, `/ready` and `/metrics`; none switches it off.
    pub health: Option<SocketAddr>,
}

/// Where a server listens.
pub(super) struct Listen {
    issuer: Vec<SocketAddr>,
    bundle: Vec<SocketAddr>,
    bundle_spiffe: Vec<SocketAddr>,
    proxies: Proxies,
    pub(super) admin_socket: PathBuf,
    pub(super) health: Option<SocketAddr>,
}

/// `[listen]`; the admin socket is in the data folder unless it was moved.
pub(super) fn read_listen(root: &mut Section<'_, '_>, data_dir: &Path) -> Listen {
    let mut listen = root.section("listen");
    let lines = ["issuer", "bundle", "bundle_spiffe", "health"].map(|key| (key, listen.line_of(key)));
    let issuer = listen.list("issuer", "an address with a port, such as \"0.0.0.0:8443\"", str::parse);
    let bundle = listen.list("bundle", "an address with a port, such as \"0.0.0.0:8444\"", str::parse);
    let spiffe = listen.list("bundle_spiffe", "an address with a port, such as \"0.0.0.0:8445\"", str::parse);
    let balancer = "a balancer's address or network, such as \"10.0.0.7\" or \"10.1.0.0/16\"";
    let line = listen.line_of("proxy_protocol_from");
    let proxies = listen.list("proxy_protocol_from", balancer, str::parse::<Network>).unwrap_or_default();
    if are_everybody(&proxies) {
        let found = "everybody, by parts; whoever is named here says whose connection it brings";
        listen.problem("proxy_protocol_from", line, found, "write the balancers' own addresses and networks");
    }
    let health = read_health(&mut listen);
    let admin_socket = listen.path("admin_socket");
    let issuer = issuer.unwrap_or_else(|| LISTEN.parse().into_iter().collect());
    let [bundle, bundle_spiffe] = [bundle, spiffe].map(Option::unwrap_or_default);
    let all = [issuer.as_slice(), &bundle, &bundle_spiffe, health.as_slice()];
    report_taken(&listen, lines, all);
    listen.finish();
    let admin_socket = admin_socket.unwrap_or_else(|| data_dir.join("admin.sock"));
    Listen { issuer, bundle, bundle_spiffe, proxies: proxies.into_iter().collect(), admin_socket, health }
}

/// No address can be listened on twice.
fn report_taken(listen: &Section<'_, '_>, lines: [(&'static str, Option<usize>); 4], all: [&[SocketAddr]; 4]) {
    let mut taken: Vec<(SocketAddr, &str)> = Vec::new();
    for ((key, line), addresses) in lines.into_iter().zip(all) {
        for address in addresses {
            if let Some((_, first)) = taken.iter().find(|(other, _)| are_one(*other, *address)) {
                let found = format!("\"{address}\", where {} listens already", listen.key_path(first));
                listen.problem(key, line, found, "write another port");
            }
            taken.push((*address, key));
        }
    }
}

/// Whether who listens on the one leaves no room for the other. Port 0 is any that is free.
pub(super) fn are_one(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    let same = one.ip() == other.ip() || (everywhere && one.is_ipv4() == other.is_ipv4());
    same && one.port() == other.port() && one.port() != 0
}

impl DoorsSettings {
    /// What listens on an address already, by its key.
    pub(super) fn taken(&self, address: SocketAddr) -> Option<&'static str> {
        let Self { issuer, bundle, bundle_spiffe, health, .. } = self;
        let all = [issuer.as_slice(), bundle, bundle_spiffe, health.as_slice()];
        let taken = |addresses: &[SocketAddr]| addresses.iter().any(|other| are_one(*other, address));
        let names = ["listen.issuer", "listen.bundle", "listen.bundle_spiffe", "listen.health"];
        names.into_iter().zip(all).find(|(_, addresses)| taken(addresses)).map(|(name, _)| name)
    }
}

/// `[listen]` and `[tls]`.
pub(super) fn read_doors(root: &mut Section<'_, '_>, data_dir: &Path) -> DoorsSettings {
    let Listen { issuer, bundle, bundle_spiffe, proxies, admin_socket, health } = read_listen(root, data_dir);
    let (certificate, bundle_certificate) = read_certificates(root.section("tls"), &issuer);
    DoorsSettings { issuer, bundle, bundle_spiffe, proxies, certificate, bundle_certificate, admin_socket, health }
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

/// What all doors show, and what the bundle port does instead.
fn read_certificates(mut tls: Section<'_, '_>, doors: &[SocketAddr]) -> (DoorSettings, Option<DoorFiles>) {
    let names = tls.list("names", "a DNS name or an address of this server", |name| {
        if name.is_empty() || name.contains(char::is_whitespace) { Err("no name") } else { Ok(name.to_owned()) }
    });
    let names_given = names.is_some();
    let certificate = match read_files(&mut tls, ["cert_file", "key_file"], "for a door CA") {
        Found::Both(files) => {
            if names_given {
                tls.problem("names", None, "given beside cert_file", "leave names out: the certificate has its own");
            }
            DoorSettings::Files(files)
        }
        Found::Neither | Found::One => DoorSettings::DoorCa { names: names.unwrap_or_else(|| default_names(doors)) },
    };
    let shared = "for the server's own certificate";
    let bundle_certificate = match read_files(&mut tls, ["bundle_cert_file", "bundle_key_file"], shared) {
        Found::Both(files) => Some(files),
        Found::Neither | Found::One => None,
    };
    tls.finish();
    (certificate, bundle_certificate)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_leaves_a_port_to_nobody() {
        for (one, other, clash) in [
            ("127.0.0.1:8443", "127.0.0.1:8443", true),
            ("0.0.0.0:8443", "127.0.0.1:8443", true),
            ("127.0.0.1:8443", "127.0.0.1:8081", false),
            ("127.0.0.1:8443", "127.0.0.2:8443", false),
            ("127.0.0.1:8443", "[::1]:8443", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            assert_eq!(are_one(one.parse().unwrap(), other.parse().unwrap()), clash, "{one} {other}");
        }
    }
}

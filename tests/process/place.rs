//! A folder with all that a server needs: configuration, policy, an issuer's keys, ports of its own.

use crate::issuer::{AUDIENCE, FakeIssuer, POLICY, URL};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use tempfile::TempDir;

/// Ports below those that the kernel gives to outgoing connections (from 32768): between a kill and the restart no client
/// can be given the server's port.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// The folder, and the only issuer that the server in it believes.
pub(crate) struct Place {
    folder: TempDir,
    pub(crate) issuer: FakeIssuer,
    pub(crate) port: u16,
    pub(crate) health_port: u16,
    pub(crate) bundle_port: u16,
}

impl Place {
    /// A folder that no server has seen.
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// The same, with more settings at the top of the configuration.
    pub(crate) fn with(settings: &str) -> Self {
        let place = Self {
            folder: TempDir::new().unwrap(),
            issuer: FakeIssuer::new(),
            port: free_port(),
            health_port: free_port(),
            bundle_port: free_port(),
        };
        fs::write(place.file("jwks.json"), place.issuer.jwks()).unwrap();
        fs::write(place.file("policy.toml"), POLICY).unwrap();
        fs::write(place.config(), place.settings(settings)).unwrap();
        fs::create_dir(place.data()).unwrap();
        place
    }

    fn settings(&self, more: &str) -> String {
        let (port, health_port, bundle_port) = (self.port, self.health_port, self.bundle_port);
        format!(
            r#"
trust_domain = "ci.example.org"
data_dir = "data"
policy_file = "policy.toml"
{more}

[listen]
issuer = "127.0.0.1:{port}"
health = "127.0.0.1:{health_port}"
bundle = ["127.0.0.1:{bundle_port}"]

[[issuer]]
name = "corp"
url = "{URL}"
audience = "{AUDIENCE}"
jwks_file = "jwks.json"
"#
        )
    }

    /// The server's configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.file("server.toml")
    }

    /// The same configuration on ports of its own.
    pub(crate) fn config_with_other_ports(&self) -> PathBuf {
        let text = fs::read_to_string(self.config()).unwrap();
        let ports = [self.port, self.health_port, self.bundle_port];
        let other = |text: String, port: u16| text.replace(&format!(":{port}"), &format!(":{}", free_port()));
        let text = ports.into_iter().fold(text, other);
        let path = self.file("other-ports.toml");
        fs::write(&path, text).unwrap();
        path
    }

    /// The server's data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.file("data")
    }

    /// What clients of the server's port trust.
    pub(crate) fn door_ca(&self) -> Vec<u8> {
        fs::read(self.data().join("door-ca.pem")).unwrap()
    }

    /// The journal's segments, oldest first.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let mut segments: Vec<PathBuf> = fs::read_dir(self.data().join("journal"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
            .collect();
        segments.sort();
        segments
    }

    /// Some file of the folder.
    pub(crate) fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A port that nobody listens on; no other call in this process gets it.
pub(crate) fn free_port() -> u16 {
    static STEPS: AtomicU16 = AtomicU16::new(0);
    let width = PORTS.end - PORTS.start;
    // Processes that test at the same time begin at different places.
    let start = u16::try_from(std::process::id() * 61 % u32::from(width)).unwrap();
    loop {
        let step = STEPS.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + (start + step) % width;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

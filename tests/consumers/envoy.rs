//! Envoy, with the validation context that reads CRLs and with the SPIFFE validator.

use crate::consumer::{Consumer, Learns, Setting, installed};
use crate::dialogue::Dialogue;
use std::path::Path;
use std::process::Command;

enum Envoy {
    Plain,
    Spiffe,
}

impl Consumer for Envoy {
    fn name(&self) -> &'static str {
        match self {
            Self::Plain => "Envoy",
            Self::Spiffe => "Envoy, SPIFFE validator",
        }
    }

    fn dialogue(&self) -> Dialogue {
        Dialogue::Http
    }

    fn learns(&self) -> Learns {
        match self {
            Self::Plain => Learns::Alone,
            Self::Spiffe => Learns::Never,
        }
    }

    fn prepare(&self, setting: &Setting) -> Command {
        let whole = setting.write("envoy.yaml");
        setting.write("svid.yaml");
        let trust = match self {
            Self::Plain => setting.text("trust.yaml"),
            Self::Spiffe => setting.text("trust-spiffe.yaml"),
        };
        std::fs::write(setting.folder.join("trust.yaml"), trust).unwrap();
        command(&whole)
    }
}

/// Envoy on a configuration.
pub(crate) fn command(whole: &Path) -> Command {
    let mut command = Command::new(installed("LANYARD_TEST_ENVOY"));
    // No shared memory with other Envoys, and few threads.
    command.args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning", "-c"]).arg(whole);
    command
}

#[test]
fn envoy() {
    crate::row::hold(&Envoy::Plain);
}

#[test]
fn envoy_with_its_spiffe_validator() {
    crate::row::hold(&Envoy::Spiffe);
}

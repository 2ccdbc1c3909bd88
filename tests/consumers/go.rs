//! Go's `crypto/tls`, and go-spiffe on top of it.

use crate::consumer::{Consumer, Learns, Sessions, Setting};
use crate::dialogue::Dialogue;
use crate::installed::installed;
use std::process::Command;

enum Go {
    Plain,
    Spiffe,
}

impl Consumer for Go {
    fn name(&self) -> &'static str {
        match self {
            Self::Plain => "Go",
            Self::Spiffe => "go-spiffe",
        }
    }

    fn dialogue(&self) -> Dialogue {
        Dialogue::Http
    }

    fn learns(&self) -> Learns {
        Learns::Never
    }

    fn prepare(&self, setting: &Setting) -> Command {
        let mut command = Command::new(installed("LANYARD_TEST_GO_CONSUMER"));
        let kind = match self {
            Self::Plain => "plain",
            Self::Spiffe => "spiffe",
        };
        let sessions = match setting.sessions {
            Sessions::AsItComes => "sessions",
            Sessions::Off => "no-sessions",
        };
        command.args([kind, sessions, &format!("127.0.0.1:{}", setting.port)]).arg(&setting.files);
        command
    }
}

#[test]
fn go() {
    crate::row::hold(&Go::Plain);
}

#[test]
fn go_spiffe() {
    crate::row::hold(&Go::Spiffe);
}

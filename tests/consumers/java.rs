//! Java's own TLS: as it comes, and where the program asks for revocation to be checked.

use crate::consumer::{Consumer, Learns, Sessions, Setting, source};
use crate::dialogue::Dialogue;
use std::process::Command;
use std::time::Duration;

enum Java {
    AsItComes,
    CheckingRevocation,
}

impl Consumer for Java {
    fn name(&self) -> &'static str {
        match self {
            Self::AsItComes => "Java",
            Self::CheckingRevocation => "Java, checking revocation",
        }
    }

    fn dialogue(&self) -> Dialogue {
        Dialogue::Http
    }

    fn learns(&self) -> Learns {
        match self {
            Self::AsItComes => Learns::Never,
            Self::CheckingRevocation => Learns::Restart,
        }
    }

    fn prepare(&self, setting: &Setting) -> Command {
        // A JVM that compiles little starts sooner, and these live for seconds.
        let mut command = Command::new("java");
        command.args(["-XX:TieredStopAtLevel=1", "-Xshare:auto"]);
        let kind = match self {
            Self::AsItComes => "plain",
            Self::CheckingRevocation => "revocation",
        };
        let sessions = match setting.sessions {
            Sessions::AsItComes => "sessions",
            Sessions::Off => "no-sessions",
        };
        command.arg(source("tests/consumers/Consumer.java")).args([kind, sessions, &setting.port.to_string()]);
        command.arg(&setting.files);
        command
    }

    /// The shortest that it can be told, counted in whole seconds.
    fn sessions_last(&self) -> Duration {
        Duration::from_secs(3)
    }
}

#[test]
fn java() {
    crate::row::hold(&Java::AsItComes);
}

#[test]
fn java_that_checks_revocation() {
    crate::row::hold(&Java::CheckingRevocation);
}

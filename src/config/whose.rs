//! Any configuration, for a check that is told no more than its name: a server's or an agent's.

use super::problem::{Problem, read_text};
use super::reader::Reader;
use super::{Environment, ServerSettings, agent, server};
use crate::agent::AgentSettings;
use std::path::Path;
use toml::de::DeTable;

/// What only an agent's file says.
const OF_AN_AGENT: [&str; 4] = ["host", "mode", "server", "state_dir"];
/// What only a server's file says.
const OF_A_SERVER: [&str; 4] = ["data_dir", "issuer", "policy_file", "trust_domain"];

/// Whose configuration a file is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Whose {
    /// An agent's.
    Agent,
    /// A server's.
    Server,
}

/// What one is, read and checked.
#[derive(Debug)]
pub enum AnySettings {
    /// An agent's.
    Agent(Box<AgentSettings>),
    /// A server's.
    Server(Box<ServerSettings>),
}

impl Whose {
    /// By most of the keys that only one of them has; what tells nothing is read as a server's.
    fn of(text: &str) -> Self {
        let (table, _errors) = DeTable::parse_recoverable(text);
        let held = |keys: [&str; 4]| keys.into_iter().filter(|key| table.get_ref().contains_key(*key)).count();
        if held(OF_AN_AGENT) > held(OF_A_SERVER) { Self::Agent } else { Self::Server }
    }

    /// One word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Server => "server",
        }
    }
}

/// Reads and checks a file as what it is.
pub fn load_any(file: &Path, environment: &dyn Environment) -> (Whose, Result<AnySettings, Vec<Problem>>) {
    let text = match read_text(file, "name the configuration of a server or an agent") {
        Ok(text) => text,
        Err(problems) => return (Whose::Server, Err(problems)),
    };
    let (whose, reader) = (Whose::of(&text), Reader::new(file, &text));
    let settings = match whose {
        Whose::Agent => agent::read(&reader, environment).map(Box::new).map(AnySettings::Agent),
        Whose::Server => server::read(&reader, environment).map(Box::new).map(AnySettings::Server),
    };
    (whose, reader.settled(settings))
}

#[cfg(test)]
mod tests {
    use super::super::MapEnvironment;
    use super::*;

    #[test]
    fn each_file_is_checked_as_what_it_is_also_with_problems() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("some.toml");
        for (text, wanted) in [
            ("server = \"https://lanyard.test\"\nmode = \"pod\"\n[listen]\nworklaod = \"/run/x\"", Whose::Agent),
            ("trust_domain = \"ci.test\"\nserver = \"\"\n[[issuer]]", Whose::Server),
            ("mode = \"host\"\n=", Whose::Agent),
            ("", Whose::Server),
        ] {
            std::fs::write(&file, text).unwrap();
            let (whose, read) = load_any(&file, &MapEnvironment::default());
            assert_eq!(whose, wanted, "{text}");
            assert!(read.is_err());
        }
    }
}

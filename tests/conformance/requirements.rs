//! The table of requirements, as `tests/vectors/requirements.toml` has it.

use super::shows::Shown;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const LEVELS: [&str; 5] = ["MUST", "SHOULD", "MAY", "INT", "POL"];

/// Whoever enforces requirements besides our own tests.
const CLIENTS: [&str; 14] = [
    "go-spiffe",
    "rust-spiffe",
    "py-spiffe",
    "java-spiffe",
    "SPIRE",
    "spiffe-helper",
    "CSI driver",
    "Envoy",
    "Istio",
    "Linkerd",
    "TLS libraries",
    "gRPC libraries",
    "gRPC xDS",
    "the kernel",
];

/// All requirements, in the order of the standards.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Requirements {
    #[serde(rename = "section")]
    pub(super) sections: Vec<Section>,
}

/// What one standard asks, or one part of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    pub(super) title: String,
    pub(super) requirements: Vec<Requirement>,
}

/// One thing asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Requirement {
    pub(super) id: String,
    pub(super) level: String,
    /// Who enforces it, separated by commas; may be empty.
    pub(super) clients: String,
    pub(super) asks: String,
    /// What later work will bring it, or the rest of it.
    pub(super) waits: Option<String>,
    /// Why no test can show it.
    pub(super) by: Option<String>,
}

impl Requirements {
    pub(super) fn load(root: &Path) -> Self {
        Self::parse(&fs::read_to_string(root.join("tests/vectors/requirements.toml")).unwrap())
    }

    pub(super) fn parse(table: &str) -> Self {
        toml::from_str(table).unwrap()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Requirement> {
        self.sections.iter().flat_map(|section| &section.requirements)
    }

    /// What is missing, unknown, or there twice.
    pub(super) fn complaints(&self, shown: &Shown) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut known = BTreeSet::new();
        for one in self.all() {
            let mut complain = |what: String| complaints.push(format!("{}: {what}", one.id));
            if !known.insert(one.id.as_str()) {
                complain("stands there twice".to_owned());
            }
            if !LEVELS.contains(&one.level.as_str()) {
                complain(format!("the level {} is none", one.level));
            }
            for client in one.clients.split(", ").filter(|client| !client.is_empty() && !CLIENTS.contains(client)) {
                complain(format!("the client {client} is none"));
            }
            if !shown.shows(&one.id) && one.waits.is_none() && one.by.is_none() {
                complain("no test shows it, and it neither waits for anything nor says why not".to_owned());
            }
        }
        for (id, tests) in shown.by_requirement.iter().filter(|(id, _tests)| !known.contains(id.as_str())) {
            complaints
                .extend(tests.iter().map(|test| format!("{id}: {} shows it, but it is no requirement", test.path)));
        }
        let strange = shown.vectors.keys().filter(|id| !known.contains(id.as_str()));
        complaints.extend(strange.map(|id| format!("{id}: vectors name it, but it is no requirement")));
        complaints
    }
}

//! The `[sds]` part of an agent's file: how the secrets for proxies are called, and what a bundle's tells them to do.

use super::section::Section;
use crate::agent::{SecretNames, Validator};
use std::collections::BTreeMap;

pub(super) fn read_secrets(mut sds: Section<'_, '_>) -> SecretNames {
    let usual = SecretNames::default();
    let svid = names(&mut sds, "svid").unwrap_or(usual.svid);
    let bundles = names(&mut sds, "bundles").unwrap_or(usual.bundles);
    let would_do = "\"spiffe\": each trust domain's IDs are verified by its own roots; or \"plain\", for proxies that do \
                    not know Envoy's SPIFFE validator: by our own roots alone";
    let validator = sds.parsed("validator", would_do, |text| match text {
        "plain" => Ok(Validator::Plain),
        "spiffe" => Ok(Validator::Spiffe),
        _ => Err("no validator"),
    });
    let merge = read_merge(&mut sds, validator);
    let (crl_line, crl) = (sds.line_of("crl"), sds.flag("crl").unwrap_or(false));
    if crl && merge {
        let found = "true beside merge: there are no lists of other trust domains' roots, so proxies would refuse all of theirs";
        sds.problem("crl", crl_line, found, "keep one of them");
    }
    if let Some(twice) = svid.iter().find(|name| bundles.contains(name)) {
        sds.problem(
            "bundles",
            sds.line_of("bundles"),
            format!("{twice:?}, which means the SVID"),
            "choose another name",
        );
    }
    let aliases = read_aliases(sds.section("aliases"));
    sds.finish();
    SecretNames { svid, bundles, aliases, validator: validator.unwrap_or(usual.validator), merge, crl }
}

/// Proxies that ask for the plain list by their own metadata get it merged too, so it may stand beside either validator.
fn read_merge(sds: &mut Section<'_, '_>, validator: Option<Validator>) -> bool {
    let line = sds.line_of("merge");
    let merge = sds.flag("merge").unwrap_or(false);
    if merge {
        let found = match validator {
            Some(Validator::Plain) => "true, so that a root of one trust domain can vouch for the IDs of every other",
            Some(Validator::Spiffe) | None => {
                "true, so that for proxies without the SPIFFE validator a root of one trust domain can vouch for the IDs of \
                 every other"
            }
        };
        sds.warning("merge", line, found, "leave it out where every proxy knows Envoy's SPIFFE validator");
    }
    merge
}

fn names(sds: &mut Section<'_, '_>, key: &'static str) -> Option<Vec<String>> {
    sds.list(
        key,
        "one or several names, each a text",
        |name| if name.is_empty() { Err("empty") } else { Ok(name.to_owned()) },
    )
}

/// `"asked for" = "one of the other names"`.
fn read_aliases(mut aliases: Section<'_, '_>) -> BTreeMap<String, String> {
    let mut read = BTreeMap::new();
    for (line, alias, value) in aliases.entries() {
        match value.get_ref().as_str() {
            Some(name) if !name.is_empty() => drop(read.insert(alias, name.to_owned())),
            _ => {
                aliases.problem(
                    &alias,
                    Some(line),
                    "no name",
                    "write the name that it stands for, such as \"default\"",
                );
            }
        }
    }
    aliases.finish();
    read
}

#[cfg(test)]
mod tests {
    use super::super::MapEnvironment;
    use super::super::agent::load_agent;
    use super::*;
    use crate::agent::AgentSettings;
    use std::path::Path;

    fn load_all(settings: &str) -> Result<AgentSettings, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("agent.toml");
        let head = "server = \"https://lanyard.test:8443\"\nmode = \"pod\"\nstate_dir = \"/run/x\"\n";
        std::fs::write(&file, [head, settings].concat()).unwrap();
        let loaded = load_agent(&file, &MapEnvironment::default());
        loaded.map_err(|found| found.into_iter().map(|problem| problem.key).collect())
    }

    fn load(sds: &str) -> Result<SecretNames, Vec<String>> {
        let listen = "[listen]\nworkload = \"/run/x/workload.sock\"\nsds = \"/run/x/lanyard.sock\"\n";
        load_all(&[listen, sds].concat()).map(|settings| settings.secrets)
    }

    #[test]
    fn names_are_those_that_proxies_ask_for_unless_others_are_written() {
        assert_eq!(load(""), Ok(SecretNames::default()));
        let istio = load("[sds]\nvalidator = \"plain\"\nsvid = \"own\"\n[sds.aliases]\nlanyard = \"own\"\n").unwrap();
        assert_eq!((istio.svid, istio.validator), (vec!["own".to_owned()], Validator::Plain));
        assert_eq!(istio.aliases, BTreeMap::from([("lanyard".to_owned(), "own".to_owned())]));
    }

    #[test]
    fn the_manual_s_chapter_shows_the_names_that_hold_without_it_and_aliases() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations/agents.md");
        let page = std::fs::read_to_string(page).unwrap();
        let chapter = page.split("\n## Secrets for Envoy and Istio\n").nth(1).unwrap();
        let shown = chapter.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
        let settings = load_all(shown).unwrap();
        assert_eq!(settings.sds_socket.as_deref(), Some(Path::new("/run/lanyard/mesh/lanyard.sock")));
        let aliases = [("lanyard", "default"), ("lanyard-roots", "ROOTCA")];
        let aliases = aliases.map(|(alias, name)| (alias.to_owned(), name.to_owned())).into();
        assert_eq!(settings.secrets, SecretNames { aliases, ..SecretNames::default() });
    }

    #[test]
    fn revocation_lists_are_opted_into_and_go_with_no_merged_list() {
        assert!(load("[sds]\ncrl = true\n").unwrap().crl);
        assert!(load("[sds]\nvalidator = \"plain\"\ncrl = true\n").unwrap().crl);
        assert_eq!(load("[sds]\nmerge = true\ncrl = true\n").unwrap_err(), ["sds.crl"]);
    }

    #[test]
    fn what_cannot_be_meant_is_told() {
        let wrong =
            "[sds]\nsvid = [\"x\", \"\"]\nbundles = \"x\"\nvalidator = \"none\"\nother = 1\n[sds.aliases]\na = 1\n";
        let keys = ["sds.svid", "sds.bundles", "sds.validator", "sds.other", "sds.aliases.a"].map(str::to_owned);
        let mut found = load(wrong).unwrap_err();
        found.sort();
        let mut keys = keys.to_vec();
        keys.sort();
        assert_eq!(found, keys);
    }
}

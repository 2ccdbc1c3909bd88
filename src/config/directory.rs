//! `[directory]`: the Active Directory in which the users of issuers have their accounts.

use super::ca_file::read_ca_file;
use super::quantity::SPAN_MAX;
use super::section::Section;
use super::sources::System;
use crate::crypto::read_secret_file;
use crate::directory::{DirectorySettings, Group, Server, Way, is_dn};
use crate::facts::ActiveDirectory;
use crate::telemetry::chain;
use crate::tls::ServerTrust;
use crate::token::{IssuerKind, IssuerName, Issuers};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Each is a search for each account that is asked about.
const GROUPS_MAX: usize = 64;
/// Looking more often than answers can change is no use to anybody.
const LOOK_EVERY_MIN: Duration = Duration::from_secs(1);

/// None where there is no such section, or it does not do.
pub(super) fn read_directory(root: &mut Section<'_, '_>, of: (&Issuers, &[System])) -> Option<DirectorySettings> {
    if !root.holds("directory") {
        root.skip("directory");
        return None;
    }
    let mut section = root.section("directory");
    let (_, systems) = of;
    let names = read_issuers(&mut section, of);
    let would_do = "its servers, such as \"ldaps://dc1.corp.example\"; ldap:// means StartTLS";
    let servers = section.list("url", would_do, Server::parse).filter(|servers| !servers.is_empty());
    let servers = servers.or_else(|| section.missing("url", &format!("write {would_do}")));
    let trust = if section.holds("ca_file") {
        read_ca_file(&mut section, "ca_file").map(|(_pem, trust)| trust)
    } else {
        section.skip("ca_file");
        Some(ServerTrust::System)
    };
    let bind = section.text("bind", "the account as which we ask, such as \"svc-lanyard@corp.example\"");
    let bind = bind.or_else(|| section.missing("bind", "write the account as which we ask, with its domain"));
    let password_file = read_password_file(&mut section);
    let dn = |text: &str| if is_dn(text) { Ok(text.to_owned()) } else { Err("no DN") };
    let base = section.parsed("base", "the DN that accounts stand below, such as \"DC=corp,DC=example\"", dn);
    let base = base.or_else(|| section.missing("base", "write the DN that accounts stand below"));
    let ways = read_ways(&mut section, (names.as_deref(), systems));
    let groups = read_groups(section.section("groups"));
    let look_every = read_look_every(&mut section);
    section.finish();
    Some(DirectorySettings {
        issuers: names?,
        servers: servers?,
        trust: trust?,
        bind: bind?,
        password_file: password_file?,
        base: base?,
        ways: ways?,
        groups,
        look_every,
    })
}

/// Whose users have accounts here. Of a GitLab only: others tell nothing of a user's accounts.
fn read_issuers(section: &mut Section<'_, '_>, (issuers, systems): (&Issuers, &[System])) -> Option<Vec<IssuerName>> {
    let gitlabs = issuers.iter().filter(|issuer| issuer.expectations.kind == IssuerKind::GitLab);
    let known: Vec<String> = gitlabs.map(|issuer| issuer.name().to_string()).collect();
    let would_do = format!("the names of issuers whose users have accounts in it; GitLabs are: {}", known.join(", "));
    let has_another = |name: &IssuerName| {
        let its = systems.iter().filter(|system| system.issuers().contains(name));
        its.flat_map(|system| system.facts()).any(|fact| ActiveDirectory::FACTS.contains(fact))
    };
    let names = section.list("issuers", &would_do, |text| match issuers.by_name(text) {
        Some(issuer) if has_another(issuer.name()) => Err("whose users' accounts are in another directory already"),
        Some(issuer) if issuer.expectations.kind == IssuerKind::GitLab => Ok(issuer.name().clone()),
        Some(_) => Err("no GitLab, so that nothing leads from its tokens to an account"),
        None => Err("no issuer of this name"),
    });
    let names = names.filter(|names| !names.is_empty());
    names.or_else(|| section.missing("issuers", &format!("write {would_do}")))
}

/// It must do already now: an empty one would bind as nobody.
fn read_password_file(section: &mut Section<'_, '_>) -> Option<PathBuf> {
    let line = section.line_of("password_file");
    let path = section.path("password_file");
    let path = path.or_else(|| section.missing("password_file", "write the file with that account's password"))?;
    let remedy = "put the password alone into a file of mode 0600";
    match read_secret_file(&path) {
        Ok(bytes) if bytes.trim_ascii().is_empty() => section.problem("password_file", line, "an empty file", remedy),
        Ok(_) => {}
        Err(error) => section.problem("password_file", line, chain(&error), remedy),
    }
    Some(path)
}

/// `[[directory.account]]`, in their order.
fn read_ways(
    section: &mut Section<'_, '_>,
    (issuers, systems): (Option<&[IssuerName]>, &[System]),
) -> Option<Vec<Way>> {
    let sections = section.sections("account");
    if sections.is_empty() {
        let remedy = "say how a token leads to an account: [[directory.account]] with provider = \"ldapmain\", as GitLab's \
                      LDAP provider is called";
        return section.missing("account", remedy);
    }
    // Every table is read before the first wrong one counts.
    let ways: Vec<Option<Way>> = sections.into_iter().map(read_way).collect();
    let can_be_asked =
        |name: &IssuerName| systems.iter().any(|system| system.gitlab().is_some_and(|api| api.issuer == *name));
    let silent = issuers.unwrap_or_default().iter().find(|name| !can_be_asked(name));
    if let (Some(silent), true) = (silent, ways.iter().flatten().any(|way| matches!(way, Way::Asked(_)))) {
        let found = format!("from = \"api\", and {silent} has no [issuer.api]");
        section.problem("account", None, found, "add one with a token_file of an administrator's token");
    }
    ways.into_iter().collect()
}

fn read_way(mut section: Section<'_, '_>) -> Option<Way> {
    let given = ["provider", "claim"].into_iter().filter(|key| section.holds(key)).count();
    let (line, beside) = (section.line_of("claim"), section.holds("attribute"));
    let provider = section.text("provider", "a provider of user_identities, such as \"ldapmain\"");
    let from_line = section.line_of("from");
    let is_asked = section.parsed("from", "\"token\" or \"api\"", |text| match text {
        "api" => Ok(true),
        "token" => Ok(false),
        _ => Err("nothing that tells links"),
    });
    let claim = section.parsed("claim", "\"user_email\" or \"user_login\"", |text| match text {
        "user_email" => Ok(("user_email", "mail")),
        "user_login" => Ok(("user_login", "sAMAccountName")),
        _ => Err("no claim that leads to an account"),
    });
    let attribute = section.parsed("attribute", "an attribute, such as \"userPrincipalName\"", |text| {
        let fits = text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if fits { Ok(text.to_owned()) } else { Err("no name of an attribute") }
    });
    if given == 2 {
        section.problem("claim", line, "given beside provider", "make two tables of it, the better one first");
    }
    let way = match (provider, claim) {
        (Some(provider), None) => match attribute {
            Some(attribute) => Some(Way::Identity { provider, attribute }),
            None => (!beside).then_some(Way::Link { provider }),
        },
        (None, Some((claim, usual))) => {
            section.warning(
                "claim",
                line,
                format!("{claim}, which its user may change in GitLab: whoever can take another's is taken for them"),
                "use it only where GitLab lets nobody change it, and put a provider before it",
            );
            Some(Way::Claim { claim, attribute: attribute.unwrap_or_else(|| usual.to_owned()) })
        }
        (None, None) if given == 0 => section.missing("provider", "write a provider of user_identities, or a claim"),
        (Some(_), Some(_)) | (None, None) => None,
    };
    if is_asked.is_some() && matches!(way, Some(Way::Claim { .. })) {
        section.problem("from", from_line, "given beside claim", "leave it out: a claim stands in the token");
    }
    section.finish();
    way.map(|way| if is_asked == Some(true) { Way::Asked(Box::new(way)) } else { way })
}

/// `[directory.groups]`: names for rules.
fn read_groups(mut section: Section<'_, '_>) -> BTreeMap<String, Group> {
    let entries = section.entries();
    if entries.len() > GROUPS_MAX {
        let found = format!("{} groups", entries.len());
        section.problem("", None, found, format!("name at most {GROUPS_MAX}: each is asked about for each account"));
    }
    let mut groups = BTreeMap::new();
    for (line, name, value) in entries {
        let would_do = "write the group's SID, such as \"S-1-5-21-…-1104\", or its DN";
        match value.get_ref().as_str().map(Group::parse) {
            Some(Ok(group)) => drop(groups.insert(name, group)),
            Some(Err(error)) => section.problem(&name, Some(line), error, would_do),
            None => section.problem(&name, Some(line), super::words::an(value.get_ref()), would_do),
        }
    }
    groups
}

fn read_look_every(section: &mut Section<'_, '_>) -> Duration {
    let line = section.line_of("look_every");
    let every = section.duration("look_every", SPAN_MAX);
    if every.is_some_and(|every| every < LOOK_EVERY_MIN) {
        section.problem("look_every", line, "less than a second", "write a span such as \"1m\"");
    }
    every.unwrap_or(DirectorySettings::LOOK_EVERY)
}

#[cfg(test)]
mod tests {
    use super::super::{MapEnvironment, Problem, ServerSettings, load_server};
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    const WHOLE: &str = "issuers = \"corp\"\nurl = \"ldaps://dc1.corp.example\"\nbind = \"svc@corp.example\"\n\
                         password_file = \"password\"\nbase = \"DC=corp,DC=example\"\n";
    const LINK: &str = "[[directory.account]]\nprovider = \"ldapmain\"\n";

    /// A server's file with this at its end, and a rule that needs this.
    fn load(lines: &str, need: &str) -> Result<ServerSettings, Vec<Problem>> {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).unwrap();
            fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        };
        put("password", "Pa55 wörd\n");
        put("empty", "\n");
        put("open", "Pa55");
        fs::set_permissions(folder.path().join("open"), fs::Permissions::from_mode(0o644)).unwrap();
        let rule = "[[rule]]\nname = \"a\"\nid = \"/{project_path}/-/a\"\nwhen.issuer = \"corp\"\n";
        put("policy.toml", &format!("{rule}{need}"));
        let issuer = "[[issuer]]\nname = \"corp\"\nurl = \"https://gitlab.example\"\naudience = \"a\"\n";
        let other =
            "[[issuer]]\nname = \"hub\"\nkind = \"github\"\nurl = \"https://token.example\"\naudience = \"a\"\n";
        let server = "trust_domain = \"ci.example.org\"\ndata_dir = \"data\"\npolicy_file = \"policy.toml\"\n";
        put("server.toml", &format!("{server}{issuer}{other}{lines}"));
        load_server(&folder.path().join("server.toml"), &MapEnvironment::default())
    }

    fn problems(lines: &str, need: &str) -> Vec<String> {
        load(lines, need).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_directory_is_read_with_each_way_to_an_account() {
        assert!(load("", "").unwrap().directory.is_none());
        let ways = "[[directory.account]]\nprovider = \"ldapmain\"\n[[directory.account]]\nprovider = \"saml\"\n\
                    attribute = \"userPrincipalName\"\n[[directory.account]]\nclaim = \"user_login\"\n";
        let groups = "[directory.groups]\nrelease = \"CN=release,OU=Groups,DC=corp\"\nadmins = \"S-1-5-32-544\"\n";
        let read = load(&format!("[directory]\n{WHOLE}{ways}{groups}"), "").unwrap();
        let directory = read.directory.unwrap();
        let text = str::to_owned;
        assert_eq!(
            directory.ways,
            [
                Way::Link { provider: text("ldapmain") },
                Way::Identity { provider: text("saml"), attribute: text("userPrincipalName") },
                Way::Claim { claim: "user_login", attribute: text("sAMAccountName") },
            ]
        );
        assert_eq!((directory.groups.len(), directory.look_every), (2, Duration::from_secs(60)));
        assert!(
            read.warnings.iter().any(|warning| warning.to_string().contains("user_login, which its user may change"))
        );
    }

    #[test]
    fn all_that_is_wrong_with_a_directory_is_found_without_asking_it() {
        for (lines, wanted) in [
            ("", &["account", "base", "bind", "issuers", "password_file", "url"][..]),
            (&format!("{WHOLE}{LINK}look_every = \"10s\"\n"), &["account[0].look_every"]),
            (&format!("{WHOLE}look_every = \"10ms\"\n{LINK}"), &["look_every"]),
            (&WHOLE.replace("corp\"\nurl", "hub\"\nurl"), &["account", "issuers"]),
            (&WHOLE.replace("corp\"\nurl", "crop\"\nurl"), &["account", "issuers"]),
            (&format!("{}{LINK}", WHOLE.replace("ldaps", "https")), &["url"]),
            (&format!("{}{LINK}", WHOLE.replace("\"password\"", "\"empty\"")), &["password_file"]),
            (&format!("{}{LINK}", WHOLE.replace("\"password\"", "\"open\"")), &["password_file"]),
            (&format!("{}{LINK}", WHOLE.replace("\"password\"", "\"gone\"")), &["password_file"]),
            (&format!("{}{LINK}", WHOLE.replace("DC=corp,DC=example", "corp")), &["base"]),
            (&format!("{WHOLE}ca_file = \"password\"\n{LINK}"), &["ca_file"]),
            (&format!("{WHOLE}[[directory.account]]\n"), &["account[0].provider"]),
            (&format!("{WHOLE}{LINK}claim = \"user_email\"\n"), &["account[0].claim"]),
            (&format!("{WHOLE}{LINK}attribute = \"mail)(cn=*\"\n"), &["account[0].attribute"]),
            (&format!("{WHOLE}[[directory.account]]\nclaim = \"sub\"\n"), &["account[0].claim"]),
            (&format!("{WHOLE}{LINK}[directory.groups]\na = \"release\"\nb = 7\n"), &["groups.a", "groups.b"]),
        ] {
            let problems = load(&format!("[directory]\n{lines}"), "").unwrap_err();
            let mut keys: Vec<_> =
                problems.iter().map(|problem| problem.key.trim_start_matches("directory.")).collect();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys, wanted, "{lines}: {problems:#?}");
            assert!(!format!("{problems:?}").contains("Pa55"));
        }
    }

    #[test]
    fn a_rule_asks_for_a_group_that_has_a_name_by_that_or_by_what_it_stands_for() {
        let groups = "[directory.groups]\nrelease = \"CN=release,OU=Groups,DC=corp\"\nadmins = \"S-1-5-32-544\"\n";
        let lines = format!("[directory]\n{WHOLE}{LINK}{groups}");
        for text in ["release", "cn=Release, ou=groups,dc=corp"] {
            let read = load(&lines, &format!("need.\"directory.group\" = \"{text}\"\n")).unwrap();
            assert_eq!(read.policy.rules()[0].needs[0].to_string(), "directory.group = release");
        }
        let both = load(&lines, "need.\"directory.group\" = [\"S-1-5-32-544\", \"release\"]\n").unwrap();
        assert_eq!(both.policy.rules()[0].needs[0].to_string(), "directory.group = one of admins, release");
        for text in ["relase", "CN=other,DC=corp", "S-1-5-32-545"] {
            let said = problems(&lines, &format!("need.\"directory.group\" = \"{text}\"\n")).concat();
            assert!(said.contains("no group of [directory.groups]"), "{said}");
        }
        let said = problems("", "need.\"directory.enabled\" = true\n").concat();
        assert!(said.contains("a place in the issuers of [directory]"), "{said}");
    }
}

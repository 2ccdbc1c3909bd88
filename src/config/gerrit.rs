//! `[issuer.gerrit]`: where the reviews are of what an issuer's jobs run on.

use super::ca_file::read_ca_file;
use super::conditions::id;
use super::issuer::check_https;
use super::section::Section;
use super::sources::{System, read_limits, read_token_file};
use super::words::an;
use crate::facts::{GerritApi, GerritProject, LetIn, Place};
use crate::token::Issuer;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What Gerrit's own pages show of a change that may be submitted.
const LABELS: [(&str, i32); 2] = [("Code-Review", 2), ("Verified", 1)];

/// Reads it.
pub(super) fn read_gerrit(mut section: Section<'_, '_>, issuer: Option<&Issuer>) -> Option<System> {
    let would_do = "Gerrit's own address with https://, such as \"https://gerrit.corp.example\"";
    let url = section.parsed("url", would_do, check_https);
    let url = url.or_else(|| section.missing("url", &format!("write {would_do}")));
    let would_do = "the user of Gerrit's who asks, such as \"lanyard\"";
    let user = section.parsed("user", would_do, check_user);
    let user = user.or_else(|| section.missing("user", &format!("write {would_do}")));
    let token_file = read_token_file(&mut section, "write the file with that user's HTTP password");
    let ca_pem = read_ca_file(&mut section, "ca_file").map(|(pem, _trust)| pem);
    let limits = read_limits(&mut section);
    let labels = read_labels(&mut section);
    let allow_forced = section.flag("allow_forced").unwrap_or(false);
    let server_email = section.text("server_email", "the address by which Gerrit signs its own merges");
    let projects = read_projects(&mut section);
    section.finish();
    let url = url?.trim_end_matches('/').to_owned();
    let place = Place { url, let_in: LetIn::Basic { user: user? }, token_file: token_file?, ca_pem };
    let issuer = issuer?.name().clone();
    Some(Arc::new(GerritApi { issuer, place, limits, projects, labels, allow_forced, server_email }))
}

/// A colon would end the name where Gerrit reads it (RFC 7617 §2).
fn check_user(text: &str) -> Result<String, &'static str> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    if text.is_empty() || !is_plain { Err("no user name") } else { Ok(text.to_owned()) }
}

fn read_labels(section: &mut Section<'_, '_>) -> BTreeMap<String, i32> {
    if !section.holds("labels") {
        section.skip("labels");
        return LABELS.map(|(name, least)| (name.to_owned(), least)).into();
    }
    let line = section.line_of("labels");
    let mut table = section.section("labels");
    let mut labels = BTreeMap::new();
    for (line, name, value) in table.entries() {
        let vote = id(value.get_ref()).and_then(|vote| i32::try_from(vote).ok());
        match vote {
            Some(vote) => drop(labels.insert(name, vote)),
            None => table.problem(&name, Some(line), an(value.get_ref()), "write the least vote, such as 2"),
        }
    }
    if labels.is_empty() {
        let remedy =
            "name what an open change needs, such as { Code-Review = 2, Verified = 1 }, or leave it out for that";
        section.problem("labels", line, "no label", remedy);
    }
    labels
}

fn read_projects(section: &mut Section<'_, '_>) -> BTreeMap<u64, GerritProject> {
    let mut projects = BTreeMap::new();
    for mut one in section.sections("project") {
        let line = one.line();
        let mut number = None;
        for (line, value) in one.values("project_id") {
            number = id(&value);
            if number.is_none() {
                one.problem(
                    "project_id",
                    Some(line),
                    an(&value),
                    "write the number of GitLab's project, without quotes",
                );
            }
        }
        let would_do = "the project's name in Gerrit, such as \"acme/ledger\"";
        let name = one.parsed("name", would_do, check_name);
        let name = name.or_else(|| one.missing("name", &format!("write {would_do}")));
        let would_do = "the branch whose reviews count, such as \"main\"";
        let branch = one.parsed("branch", would_do, check_name);
        let branch = branch.or_else(|| one.missing("branch", &format!("write {would_do}")));
        if number.is_none() && line.is_some() {
            one.missing::<()>("project_id", "write the number of GitLab's project that mirrors it");
        }
        one.finish();
        let Some(((number, name), branch)) = number.zip(name).zip(branch) else { continue };
        if projects.insert(number, GerritProject { name, branch }).is_some() {
            section.problem("project", line, format!("project_id = {number} again"), "name each project once");
        }
    }
    if projects.is_empty() {
        let remedy = "add an [[issuer.gerrit.project]] with project_id, name and branch for each that GitLab mirrors";
        section.missing::<()>("project", remedy);
    }
    projects
}

/// What stands in a query as it is.
fn check_name(text: &str) -> Result<String, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
    if text.is_empty() || text.starts_with('-') || !text.bytes().all(is_plain) {
        return Err("no name of letters, digits, '.', '_', '-' and '/'");
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::sources::tests::load;

    const GERRIT: &str = "[issuer.api]\ntoken_file = \"api-token\"\n[issuer.gerrit]\nurl = \"https://gerrit.example/\"\n\
                          user = \"lanyard\"\ntoken_file = \"api-token\"\n";
    const PROJECT: &str = "[[issuer.gerrit.project]]\nproject_id = 4711\nname = \"acme/ledger\"\nbranch = \"main\"\n";

    #[test]
    fn a_gerrit_is_told_which_of_its_projects_is_whose_and_asked_for_two_labels() {
        let settings = load(&format!("{GERRIT}{PROJECT}"), 0o600).unwrap();
        let read = format!("{:?}", settings.systems);
        for part in ["https://gerrit.example\"", "4711: GerritProject", "\"Code-Review\": 2", "\"Verified\": 1"] {
            assert!(read.contains(part), "{part}: {read}");
        }
        let own = format!("{GERRIT}labels = {{ Code-Review = 1 }}\nwithin = \"2s\"\ncache_for = \"1m\"\n{PROJECT}");
        let read = format!("{:?}", load(&own, 0o600).unwrap().systems);
        assert!(
            read.contains("\"Code-Review\": 1}")
                && read.contains("within: 2s")
                && read.contains("cache_for: Some(60s)")
        );
    }

    #[test]
    fn what_would_ask_for_something_else_does_not_load() {
        for (lines, key, told) in [
            (GERRIT.to_owned(), "gerrit.project", "[[issuer.gerrit.project]]"),
            (format!("{GERRIT}{PROJECT}{PROJECT}"), "gerrit.project", "4711 again"),
            (
                format!("{GERRIT}{}", PROJECT.replace("ledger", "ledger+status:open")),
                "gerrit.project[0].name",
                "no name",
            ),
            (format!("{GERRIT}{}", PROJECT.replace("4711", "\"4711\"")), "gerrit.project[0].project_id", "number"),
            (format!("{GERRIT}labels = {{}}\n{PROJECT}"), "gerrit.labels", "no label"),
            (format!("{GERRIT}labels = {{ Verified = -1 }}\n{PROJECT}"), "gerrit.labels.Verified", "least vote"),
            (format!("{GERRIT}within = \"4s\"\n{PROJECT}"), "gerrit.within", "too long"),
            (format!("{GERRIT}within = \"0s\"\n{PROJECT}"), "gerrit.within", "no time"),
            (format!("{}{PROJECT}", GERRIT.replace("\"lanyard\"", "\"a:b\"")), "gerrit.user", "no user name"),
            (format!("{}{PROJECT}", GERRIT.replace("https://gerrit", "http://gerrit")), "gerrit.url", "not https"),
        ] {
            let problems = load(&lines, 0o600).unwrap_err();
            let key = format!("issuer[0].{key}");
            let found = problems.iter().find(|problem| problem.key == key && problem.to_string().contains(told));
            assert!(found.is_some(), "{key} {told}: {problems:#?}");
        }
    }
}

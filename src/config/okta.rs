//! `[issuer.okta]`: the directory of the people behind an issuer's jobs, where that is Okta.

use super::ca_file::read_ca_file;
use super::issuer::check_https;
use super::section::Section;
use super::sources::{System, read_limits, read_token_file};
use crate::facts::{LetIn, OktaApi, OktaClient, Place};
use crate::telemetry::chain;
use crate::token::Issuer;
use std::path::PathBuf;
use std::sync::Arc;

/// Reads it.
pub(super) fn read_okta(mut section: Section<'_, '_>, issuer: Option<&Issuer>) -> Option<System> {
    let would_do = "the address of your organization with https://, such as \"https://corp.okta.com\"";
    let url = section.parsed("url", would_do, check_https);
    let url = url.or_else(|| section.missing("url", &format!("write {would_do}")));
    let would_do = "how GitLab calls Okta in user_identities, such as \"saml\" or \"openid_connect\"";
    let provider = section.text("provider", would_do);
    let provider = provider.or_else(|| section.missing("provider", &format!("write {would_do}")));
    let let_in = if OF_CLIENTS.iter().any(|key| section.holds(key)) {
        read_client(&mut section)
    } else {
        for key in OF_CLIENTS {
            section.skip(key);
        }
        let remedy = "write the file with an API token of a Read Only Administrator, or client_id, key_id and key_file";
        read_token_file(&mut section, remedy).map(|token_file| (LetIn::Okta, token_file))
    };
    let ca_pem = read_ca_file(&mut section, "ca_file").map(|(pem, _trust)| pem);
    let limits = read_limits(&mut section);
    section.finish();
    let url = url?.trim_end_matches('/').to_owned();
    let (let_in, token_file) = let_in?;
    let place = Place { url, let_in, token_file, ca_pem };
    Some(Arc::new(OktaApi { issuer: issuer?.name().clone(), place, limits, provider: provider? }))
}

/// What stands in place of `token_file`.
const OF_CLIENTS: [&str; 4] = ["client_id", "key_file", "key_id", "scopes"];

/// An app that signs, in place of a token that anybody can copy.
fn read_client(section: &mut Section<'_, '_>) -> Option<(LetIn, PathBuf)> {
    if let Some(line) = section.line_of("token_file") {
        let remedy = "keep the app's key or the API token, not both";
        section.problem("token_file", Some(line), "given beside client_id or key_file", remedy);
    }
    section.skip("token_file");
    let client_id = section.parsed("client_id", "the id of the API services app", one_word);
    let client_id = client_id.or_else(|| section.missing("client_id", "write the id of the API services app"));
    let key_id = section.parsed("key_id", "the key's kid, as Okta shows it", one_word);
    let key_id = key_id.or_else(|| section.missing("key_id", "write the key's kid, as Okta shows it"));
    let (scopes_line, has_none) = (section.line_of("scopes"), section.holds_empty_list("scopes"));
    if has_none {
        let remedy =
            format!("write what the app was granted, or leave it out for {}", OktaClient::SCOPES.join(" and "));
        section.problem("scopes", scopes_line, "an empty list, for which Okta gives no token", remedy);
    }
    let scopes = section.list("scopes", "a scope, such as \"okta.users.read\"", one_word);
    let line = section.line_of("key_file");
    let key_file = section.path("key_file");
    let key_file = key_file.or_else(|| section.missing("key_file", "write the file with the private key, PEM"))?;
    if let Err(fault) = OktaClient::read_key(&key_file) {
        section.problem("key_file", line, chain(&fault), "put the private key alone into a file of mode 0600");
    }
    let scopes = scopes.unwrap_or_else(|| OktaClient::SCOPES.map(str::to_owned).into());
    Some((LetIn::OktaClient(OktaClient { client_id: client_id?, key_id: key_id?, scopes }), key_file))
}

fn one_word(text: &str) -> Result<String, &'static str> {
    let is_word = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_word { Ok(text.to_owned()) } else { Err("not one word") }
}

#[cfg(test)]
mod tests {
    use super::super::sources::tests::load;

    #[test]
    fn an_okta_is_told_how_gitlab_calls_it() {
        let okta = "[issuer.api]\ntoken_file = \"api-token\"\n[issuer.okta]\nurl = \"https://corp.okta.com/\"\nprovider = \"saml\"\n";
        let settings = load(&format!("{okta}token_file = \"api-token\""), 0o600).unwrap();
        let read = format!("{:?}", settings.systems);
        assert!(read.contains("\"https://corp.okta.com\"") && read.contains("provider: \"saml\""), "{read}");
        let problems = load("[issuer.okta]\n", 0o600).unwrap_err();
        for key in ["url", "provider", "token_file"] {
            assert!(
                problems.iter().any(|problem| problem.key == format!("issuer[0].okta.{key}")),
                "{key}: {problems:#?}"
            );
        }
    }
    #[test]
    fn an_app_that_signs_stands_in_for_a_token_and_not_beside_it() {
        let okta = "[issuer.api]\ntoken_file = \"api-token\"\n[issuer.okta]\nurl = \"https://corp.okta.com\"\nprovider = \"saml\"\n";
        let app = "client_id = \"0oa1\"\nkey_id = \"k1\"\n";
        for (lines, key, told) in [
            ("key_file = \"api-token\"\n".to_owned(), "client_id", "nothing"),
            (app.to_owned(), "key_file", "nothing"),
            (format!("{app}key_file = \"api-token\""), "key_file", "no RSA or P-256 key"),
            (format!("{app}key_file = \"gone\""), "key_file", "cannot be read"),
            (format!("{app}key_file = \"gone\"\ntoken_file = \"api-token\""), "token_file", "not both"),
            (format!("{app}key_file = \"gone\"\nscopes = [\"two words\"]"), "scopes", "not one word"),
            (format!("{app}key_file = \"gone\"\nscopes = []"), "scopes", "okta.groups.read"),
        ] {
            let problems = load(&format!("{okta}{lines}"), 0o600).unwrap_err();
            let is_it = |problem: &&super::super::Problem| {
                problem.key.starts_with(&format!("issuer[0].okta.{key}")) && problem.to_string().contains(told)
            };
            assert!(problems.iter().any(|problem| is_it(&problem)), "{lines}: {problems:#?}");
        }
    }
}

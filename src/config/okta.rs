//! `[issuer.okta]`: the directory of the people behind an issuer's jobs, where that is Okta.

use super::ca_file::read_ca_file;
use super::issuer::check_https;
use super::section::Section;
use super::sources::{System, read_limits, read_token_file};
use crate::facts::{LetIn, OktaApi, Place};
use crate::token::Issuer;
use std::sync::Arc;

/// Reads it.
pub(super) fn read_okta(mut section: Section<'_, '_>, issuer: Option<&Issuer>) -> Option<System> {
    let would_do = "the address of your organization with https://, such as \"https://corp.okta.com\"";
    let url = section.parsed("url", would_do, check_https);
    let url = url.or_else(|| section.missing("url", &format!("write {would_do}")));
    let would_do = "how GitLab calls Okta in user_identities, such as \"saml\" or \"openid_connect\"";
    let provider = section.text("provider", would_do);
    let provider = provider.or_else(|| section.missing("provider", &format!("write {would_do}")));
    let token_file = read_token_file(&mut section, "write the file with an API token of a Read Only Administrator");
    let ca_pem = read_ca_file(&mut section, "ca_file").map(|(pem, _trust)| pem);
    let limits = read_limits(&mut section);
    section.finish();
    let url = url?.trim_end_matches('/').to_owned();
    let place = Place { url, let_in: LetIn::Okta, token_file: token_file?, ca_pem };
    Some(Arc::new(OktaApi { issuer: issuer?.name().clone(), place, limits, provider: provider? }))
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
}

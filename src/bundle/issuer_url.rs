//! The URL by which our JWT-SVIDs name their issuer, and below which whoever reads them finds our keys (OIDC
//! Discovery 1.0 §2).
//!
//! Readers compare it byte by byte, so it is taken in its one plain form only.

use http::Uri;
use std::fmt;
use std::str::FromStr;

/// The longest URL that is read; consumers have limits of their own.
const URL_BYTES_MAX: usize = 2048;

/// Where the discovery document stands below an issuer (OIDC Discovery 1.0 §4).
const CONFIGURATION: &str = "/.well-known/openid-configuration";
/// And our keys.
const KEYS: &str = "/keys";

/// The issuer of our JWT-SVIDs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IssuerUrl(String);

/// Why a text is no issuer's URL.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IssuerUrlError {
    /// The address of the document below it.
    #[error("that is where its document stands; leave out /.well-known and what follows")]
    Document,
    /// Another scheme, or none.
    #[error("an issuer begins with https://, in lower case")]
    NotHttps,
    /// Nothing that a URL looks like, or no host in it.
    #[error("not a URL with a host, such as https://ci.example.org")]
    NotAUrl,
    /// An empty segment, `.`, `..`, or a character that would have to be escaped.
    #[error("segments of its path are letters, digits, '-', '.', '_' and '~', and neither empty nor dots alone")]
    Path,
    /// `?` or `#`.
    #[error("an issuer has no query and no fragment")]
    Query,
    /// A slash at its end.
    #[error("leave out the slash at its end: readers compare it byte by byte")]
    TrailingSlash,
    /// A host in capitals.
    #[error("write its host in lower case: readers compare it byte by byte")]
    UpperCase,
    /// A user, or the sign of one.
    #[error("an issuer has no user and no password")]
    User,
}

impl IssuerUrl {
    /// As tokens say it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The port, where one is written.
    pub fn port(&self) -> Option<&str> {
        let (host, port) = self.authority().rsplit_once(':')?;
        // The colons of an IPv6 address stand within its brackets.
        (!host.is_empty() && !port.ends_with(']')).then_some(port)
    }

    /// What stands behind host and port: nothing, or a slash and more.
    pub fn path(&self) -> &str {
        let authority = self.authority();
        self.0.strip_prefix("https://").and_then(|rest| rest.strip_prefix(authority)).unwrap_or_default()
    }

    /// Where its discovery document stands.
    pub fn configuration(&self) -> String {
        format!("{self}{CONFIGURATION}")
    }

    /// Where its keys stand.
    pub fn keys(&self) -> String {
        format!("{self}{KEYS}")
    }

    fn authority(&self) -> &str {
        let rest = self.0.strip_prefix("https://").unwrap_or_default();
        rest.split_once('/').map_or(rest, |(authority, _path)| authority)
    }
}

impl FromStr for IssuerUrl {
    type Err = IssuerUrlError;

    fn from_str(text: &str) -> Result<Self, IssuerUrlError> {
        let rest = text.strip_prefix("https://").ok_or(IssuerUrlError::NotHttps)?;
        if text.contains(['?', '#']) {
            return Err(IssuerUrlError::Query);
        }
        let (authority, path) = rest.split_once('/').map_or((rest, None), |(before, path)| (before, Some(path)));
        if authority.contains('@') {
            return Err(IssuerUrlError::User);
        }
        if text.contains("/.well-known") {
            return Err(IssuerUrlError::Document);
        }
        if text.ends_with('/') {
            return Err(IssuerUrlError::TrailingSlash);
        }
        if authority.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(IssuerUrlError::UpperCase);
        }
        if path.is_some_and(|path| !path.split('/').all(is_plain)) {
            return Err(IssuerUrlError::Path);
        }
        let uri: Uri = text.parse().map_err(|_invalid| IssuerUrlError::NotAUrl)?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(IssuerUrlError::NotAUrl)?;
        // What stands behind the host is a port or nothing; the library lets odd ones pass.
        let port = authority.strip_prefix(host).ok_or(IssuerUrlError::NotAUrl)?;
        if text.len() > URL_BYTES_MAX || !port.is_empty() && uri.port_u16().is_none_or(|port| port == 0) {
            return Err(IssuerUrlError::NotAUrl);
        }
        Ok(Self(text.to_owned()))
    }
}

fn is_plain(segment: &str) -> bool {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !matches!(segment, "" | "." | "..") && segment.bytes().all(unreserved)
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_taken_in_its_one_plain_form() {
        for (text, port, path) in [
            ("https://ci.example.org", None, ""),
            ("https://ci.example.org/lanyard/eu", None, "/lanyard/eu"),
            ("https://ci.example.org:8444", Some("8444"), ""),
            ("https://[::1]:8444/x", Some("8444"), "/x"),
            ("https://[::1]", None, ""),
        ] {
            let url: IssuerUrl = text.parse().unwrap();
            assert_eq!((url.as_str(), url.port(), url.path()), (text, port, path));
            assert_eq!(url.configuration(), format!("{text}/.well-known/openid-configuration"));
            assert_eq!(url.keys(), format!("{text}/keys"));
        }
        for (odd, why) in [
            ("http://ci.example.org", IssuerUrlError::NotHttps),
            ("HTTPS://ci.example.org", IssuerUrlError::NotHttps),
            ("ci.example.org", IssuerUrlError::NotHttps),
            ("https://ci.example.org/", IssuerUrlError::TrailingSlash),
            ("https://ci.example.org/a/", IssuerUrlError::TrailingSlash),
            ("https://ci.example.org?a=b", IssuerUrlError::Query),
            ("https://ci.example.org/a#b", IssuerUrlError::Query),
            ("https://me@ci.example.org", IssuerUrlError::User),
            ("https://CI.example.org", IssuerUrlError::UpperCase),
            ("https://ci.example.org//a", IssuerUrlError::Path),
            ("https://ci.example.org/../a", IssuerUrlError::Path),
            ("https://ci.example.org/%61", IssuerUrlError::Path),
            ("https://ci.example.org/.well-known/openid-configuration", IssuerUrlError::Document),
            ("https://", IssuerUrlError::TrailingSlash),
            ("https://ci.example.org:", IssuerUrlError::NotAUrl),
            ("https://ci.example.org:0", IssuerUrlError::NotAUrl),
            ("https://ci.example.org:99999", IssuerUrlError::NotAUrl),
            ("https://ci example.org", IssuerUrlError::NotAUrl),
        ] {
            assert_eq!(odd.parse::<IssuerUrl>(), Err(why), "{odd}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_an_issuer_that_reads_back_or_refused(rest in "[a-z0-9:/@?#\\[\\].%-]{0,40}", text in "\\PC{0,40}") {
            drop(text.parse::<IssuerUrl>());
            if let Ok(url) = format!("https://{rest}").parse::<IssuerUrl>() {
                proptest::prop_assert_eq!(url.as_str(), format!("https://{rest}"));
                proptest::prop_assert!(url.path().is_empty() || url.path().starts_with('/'));
            }
        }
    }
}

//! The URL of a bundle endpoint (SPIFFE Federation §5.1.1): HTTPS, no user; host, port, path and query are free.

use http::Uri;
use std::fmt;
use std::str::FromStr;

/// The longest URL that is read.
const URL_BYTES_MAX: usize = 2048;

/// Where another trust domain's bundle can be had.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndpointUrl(Uri);

/// Why a text is no URL of a bundle endpoint.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EndpointUrlError {
    /// Clear text, another scheme, or none.
    #[error("a bundle endpoint is reached over HTTPS only; write https://host/path")]
    NotHttps,
    /// Nothing that a URL looks like, or no host in it.
    #[error("not a URL with a host; write https://host/path")]
    NotAUrl,
    /// A user, or the sign of one.
    #[error("a bundle endpoint's URL holds no user and no password; leave out all before and with '@'")]
    User,
}

impl EndpointUrl {
    /// The host, without brackets' meaning lost: an IPv6 address keeps them.
    pub fn host(&self) -> &str {
        self.0.host().unwrap_or_default()
    }
}

impl FromStr for EndpointUrl {
    type Err = EndpointUrlError;

    fn from_str(text: &str) -> Result<Self, EndpointUrlError> {
        if text.len() > URL_BYTES_MAX || text.contains('#') {
            return Err(EndpointUrlError::NotAUrl);
        }
        let uri: Uri = text.parse().map_err(|_invalid| EndpointUrlError::NotAUrl)?;
        if uri.scheme_str() != Some("https") {
            return Err(EndpointUrlError::NotHttps);
        }
        let authority = uri.authority().ok_or(EndpointUrlError::NotAUrl)?;
        if authority.as_str().contains('@') {
            return Err(EndpointUrlError::User);
        }
        // What stands behind the host is a port or nothing; the library lets odd ones pass.
        let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        if authority.host().is_empty() || !port.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
            return Err(EndpointUrlError::NotAUrl);
        }
        Ok(Self(uri))
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows: FED-9.
    #[test]
    fn a_bundle_is_asked_for_over_https_and_as_nobody() {
        let url: EndpointUrl = "HTTPS://[::1]:8443/b.json?td=x".parse().unwrap();
        assert_eq!((url.host(), url.to_string().as_str()), ("[::1]", "https://[::1]:8443/b.json?td=x"));
        for (odd, why) in [
            ("http://a/b", EndpointUrlError::NotHttps),
            ("file:///etc/b", EndpointUrlError::NotAUrl),
            ("https://@a/b", EndpointUrlError::User),
            ("https://u:p@a/b", EndpointUrlError::User),
            ("https:///b", EndpointUrlError::NotAUrl),
            ("https://a:/b", EndpointUrlError::NotAUrl),
            ("https://a:65536/b", EndpointUrlError::NotAUrl),
            ("https://a/b#c", EndpointUrlError::NotAUrl),
            ("https://a/b\nHost: c", EndpointUrlError::NotAUrl),
            ("a/b", EndpointUrlError::NotAUrl),
            ("", EndpointUrlError::NotAUrl),
        ] {
            assert_eq!(odd.parse::<EndpointUrl>(), Err(why), "{odd}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_url_that_reads_back_or_refused(rest in "[a-z0-9:/@?#\\[\\].%-]{0,40}", text in "\\PC{0,40}") {
            drop(text.parse::<EndpointUrl>());
            if let Ok(url) = format!("https://{rest}").parse::<EndpointUrl>() {
                proptest::prop_assert!(!url.host().is_empty() && !url.to_string().contains('#'));
                proptest::prop_assert_eq!(url.to_string().parse::<EndpointUrl>(), Ok(url));
            }
        }
    }
}

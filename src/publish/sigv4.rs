//! AWS Signature Version 4 for a request without a query, as S3 and what speaks like it check it.

use crate::crypto::{Digest, SharedSecret, write_hex};
use std::collections::BTreeMap;
use std::fmt;
use time::OffsetDateTime;
use time::macros::format_description;
use zeroize::Zeroizing;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What signs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credentials {
    /// The key's public name.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: SharedSecret,
    /// What goes with a temporary key.
    pub session_token: Option<SharedSecret>,
}

/// When a request is signed, as it is written there.
#[derive(Clone, Debug)]
pub struct SigningTime {
    date: String,
    /// For `x-amz-date`.
    pub stamp: String,
}

impl SigningTime {
    /// Of a time; none before the year 0 or after 9999.
    pub fn of(at: OffsetDateTime) -> Option<Self> {
        let at = at.to_offset(time::UtcOffset::UTC);
        let date = at.format(format_description!("[year][month][day]")).ok()?;
        let clock = at.format(format_description!("[hour][minute][second]")).ok()?;
        Some(Self { stamp: format!("{date}T{clock}Z"), date })
    }
}

/// The value of `Authorization`. All of `headers` are signed, by lower-case names.
pub fn sign(
    (method, encoded_path, payload): (&str, &str, &Digest),
    headers: &BTreeMap<&str, &str>,
    (region, service): (&str, &str),
    (credentials, at): (&Credentials, &SigningTime),
) -> Zeroizing<String> {
    let names = headers.keys().copied().collect::<Vec<_>>().join(";");
    let lines: String = headers.iter().map(|(name, value)| [name, ":", value.trim(), "\n"].concat()).collect();
    let canonical = format!("{method}\n{encoded_path}\n\n{lines}\n{names}\n{payload}");
    let scope = format!("{}/{region}/{service}/aws4_request", at.date);
    let to_sign = format!("{ALGORITHM}\n{}\n{scope}\n{}", at.stamp, Digest::of(canonical.as_bytes()));
    let first = [b"AWS4", credentials.secret_access_key.for_the_other_side()].concat();
    let parts = [at.date.as_str(), region, service, "aws4_request"];
    let key = parts.iter().fold(SharedSecret::new(first), |key, part| SharedSecret::new(key.tag(&[part.as_bytes()])));
    let signature = Hex(key.tag(&[to_sign.as_bytes()]));
    let id = &credentials.access_key_id;
    Zeroizing::new(format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"))
}

struct Hex(Vec<u8>);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn credentials(id: &str, secret: &str) -> Credentials {
        let secret_access_key = SharedSecret::new(secret.into());
        Credentials { access_key_id: id.to_owned(), secret_access_key, session_token: None }
    }

    fn signature(of: &str) -> &str {
        of.rsplit_once("Signature=").unwrap().1
    }

    /// `get-vanilla` of AWS's Signature Version 4 test suite.
    #[test]
    fn a_request_of_the_test_suite_has_the_signature_that_stands_there() {
        let credentials = credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let at = SigningTime::of(datetime!(2015-08-30 12:36:00 UTC)).unwrap();
        let headers = [("host", "example.amazonaws.com"), ("x-amz-date", at.stamp.as_str())].into();
        let signed = sign(("GET", "/", &Digest::of(b"")), &headers, ("us-east-1", "service"), (&credentials, &at));
        assert_eq!(
            *signed,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
    }

    /// The GET and PUT of "Authenticating Requests: Using the Authorization Header" in Amazon's S3 API reference.
    #[test]
    fn the_examples_of_the_storage_itself_have_the_signatures_that_stand_there() {
        let credentials = credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let at = SigningTime::of(datetime!(2013-05-24 00:00:00 UTC)).unwrap();
        let host = "examplebucket.s3.amazonaws.com";
        let s3 = ("us-east-1", "s3");
        let (empty, text) = (Digest::of(b""), Digest::of(b"Welcome to Amazon S3."));
        let [empty_hex, text_hex] = [&empty, &text].map(ToString::to_string);
        let got =
            [("host", host), ("range", "bytes=0-9"), ("x-amz-content-sha256", &empty_hex), ("x-amz-date", &at.stamp)];
        let got = sign(("GET", "/test.txt", &empty), &got.into(), s3, (&credentials, &at));
        assert_eq!(signature(&got), "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
        let put = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("host", host),
            ("x-amz-content-sha256", &text_hex),
            ("x-amz-date", &at.stamp),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ];
        let put = sign(("PUT", "/test%24file.text", &text), &put.into(), s3, (&credentials, &at));
        assert_eq!(signature(&put), "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
    }
}

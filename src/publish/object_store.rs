//! An object in S3, or in what speaks like it: compared, and put where it differs.

use super::sigv4::{Credentials, SigningTime, sign};
use super::target::Outcome;
use super::{Form, PublishError};
use crate::authority::Published;
use crate::clock::Clock;
use crate::crypto::{Digest, SharedSecret};
use crate::discovery::{Answered, Call, FetchError, HttpsFetch, Secret, Sent, path_segment, read_token, wait_of};
use crate::telemetry::quotable;
use http::{Method, StatusCode};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What S3 calls a right that is lacking.
const ACCESS_DENIED: &str = "AccessDenied";
const MAY_NOT_LOOK: &str = "the storage answered 403 Forbidden to the look at what is there; give the right to GetObject on the \
    key, and to ListBucket, without which a missing object is forbidden too";

/// Where, and as whom.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bucket {
    /// The storage's address, without a path.
    pub endpoint: String,
    /// The only CA trusted for it, PEM; none for the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// Where it is, as signatures say it.
    pub region: String,
    /// The bucket's name.
    pub bucket: String,
    /// The object's.
    pub key: String,
    /// How the bucket is named in requests.
    pub addressing: Addressing,
    /// What the object holds.
    pub form: Form,
    /// What signs.
    pub keys: BucketKeys,
}

/// How a bucket is named in requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Addressing {
    /// In the path.
    Path,
    /// In the host's name.
    VirtualHosted,
}

/// Where what signs comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BucketKeys {
    /// As the environment had them at the start.
    Environment(Credentials),
    /// From files, read anew each time.
    Files {
        /// The key's public name.
        access_key_id: String,
        /// The key.
        secret_access_key_file: PathBuf,
        /// What goes with a temporary key.
        session_token_file: Option<PathBuf>,
    },
}

impl Bucket {
    /// Looks, and writes what differs.
    pub(super) async fn put(
        &self,
        published: &Published,
        (wrote, clock): (bool, &dyn Clock),
    ) -> Result<Outcome, PublishError> {
        let bytes = self.form.of(published);
        let fetch = HttpsFetch::new(self.ca_pem.as_deref())?;
        let found = match self.call(&fetch, (Method::GET, None), clock).await {
            // Nothing of ours is that large.
            Err(PublishError::Unreachable(FetchError::TooLarge { .. })) => {
                self.write(&fetch, &bytes, clock).await?;
                return Ok(Outcome::Restored("somebody wrote something else".to_owned()));
            }
            found => found?,
        };
        let told = match found.status {
            StatusCode::OK if found.body == bytes => return Ok(Outcome::AsItWas),
            StatusCode::OK => {
                self.form.check_older(&found.body, published)?;
                "somebody wrote something else"
            }
            StatusCode::NOT_FOUND => "somebody deleted it",
            _ if may_not_look(&found) => {
                if !wrote {
                    self.write(&fetch, &bytes, clock).await?;
                }
                return Ok(Outcome::Unseen(MAY_NOT_LOOK.to_owned()));
            }
            _ => return Err(refused(&found, clock)),
        };
        self.write(&fetch, &bytes, clock).await?;
        Ok(if wrote { Outcome::Restored(told.to_owned()) } else { Outcome::Written })
    }

    async fn write(&self, fetch: &HttpsFetch, bytes: &[u8], clock: &dyn Clock) -> Result<(), PublishError> {
        let sent = Sent { media_type: self.form.media_type(), bytes };
        let put = self.call(fetch, (Method::PUT, Some(sent)), clock).await?;
        if put.status.is_success() { Ok(()) } else { Err(refused(&put, clock)) }
    }

    async fn call(
        &self,
        fetch: &HttpsFetch,
        (method, sent): (Method, Option<Sent<'_>>),
        clock: &dyn Clock,
    ) -> Result<Answered, PublishError> {
        let credentials = self.keys.read()?;
        let odd = || PublishError::Odd("the clock shows a year that no signature can hold".to_owned());
        let at = SigningTime::of(clock.now()).ok_or_else(odd)?;
        let (host, path) = self.place();
        let payload = Digest::of(sent.map_or(&[][..], |sent| sent.bytes));
        let payload_hex = payload.to_string();
        let token = credentials.session_token.as_ref().map(|token| String::from_utf8_lossy(token.for_the_other_side()));
        let mut headers: BTreeMap<&str, &str> =
            [("host", &*host), ("x-amz-content-sha256", &payload_hex), ("x-amz-date", &at.stamp)].into();
        headers.extend(sent.map(|sent| ("content-type", sent.media_type)));
        headers.extend(token.as_deref().map(|token| ("x-amz-security-token", token)));
        let authorization =
            sign((method.as_str(), &path, &payload), &headers, (&self.region, "s3"), (&credentials, &at));
        let mut shown = vec![
            Secret { header: "authorization", value: &authorization },
            Secret { header: "x-amz-content-sha256", value: &payload_hex },
            Secret { header: "x-amz-date", value: &at.stamp },
        ];
        shown.extend(token.as_deref().map(|value| Secret { header: "x-amz-security-token", value }));
        let url = format!("https://{host}{path}");
        Ok(fetch.call(&Call { method, url: &url, headers: &shown, body: sent }).await?)
    }

    /// The host, and the path as it stands in the request.
    fn place(&self) -> (String, String) {
        let host = self.endpoint.strip_prefix("https://").unwrap_or(&self.endpoint);
        let (bucket, key) = (&self.bucket, encoded(&self.key));
        match self.addressing {
            Addressing::Path => (host.to_owned(), format!("/{bucket}/{key}")),
            Addressing::VirtualHosted => (format!("{bucket}.{host}"), format!("/{key}")),
        }
    }
}

impl BucketKeys {
    fn read(&self) -> Result<Credentials, PublishError> {
        let secret = |path: &PathBuf| read_token(path).map(|text| SharedSecret::new(text.as_bytes().to_vec()));
        Ok(match self {
            Self::Environment(credentials) => credentials.clone(),
            Self::Files { access_key_id, secret_access_key_file, session_token_file } => Credentials {
                access_key_id: access_key_id.clone(),
                secret_access_key: secret(secret_access_key_file)?,
                session_token: session_token_file.as_ref().map(secret).transpose()?,
            },
        })
    }
}

/// As AWS's signatures want a path: all but unreserved characters and slashes, once.
fn encoded(key: &str) -> String {
    key.split('/').map(path_segment).collect::<Vec<_>>().join("/")
}

/// Whoever may write alone sees neither what is there nor that nothing is; a key that is refused itself may do neither.
fn may_not_look(found: &Answered) -> bool {
    found.status == StatusCode::FORBIDDEN && code(found).is_none_or(|code| code == ACCESS_DENIED)
}

/// Its words are XML; one of them is enough.
fn code(answered: &Answered) -> Option<String> {
    let text = String::from_utf8_lossy(&answered.body);
    let (code, _) = text.split_once("<Code>")?.1.split_once("</Code>")?;
    Some(quotable(code))
}

fn refused(answered: &Answered, clock: &dyn Clock) -> PublishError {
    let said = code(answered).unwrap_or_else(|| "without a reason".to_owned());
    let wait = answered.retry_after.as_deref().and_then(|told| wait_of(told, clock.now()));
    PublishError::Refused { what: "the storage", status: answered.status, said, wait }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_stands_in_the_path_or_in_the_host_and_a_key_is_encoded_once() {
        let mut bucket = Bucket {
            endpoint: "https://s3.eu-west-1.amazonaws.com".to_owned(),
            ca_pem: None,
            region: "eu-west-1".to_owned(),
            bucket: "trust".to_owned(),
            key: "ci.example.org/our bundle+1.json".to_owned(),
            addressing: Addressing::VirtualHosted,
            form: Form::Spiffe,
            keys: BucketKeys::Files {
                access_key_id: String::new(),
                secret_access_key_file: PathBuf::new(),
                session_token_file: None,
            },
        };
        let key = "ci.example.org/our%20bundle%2B1.json";
        assert_eq!(bucket.place(), ("trust.s3.eu-west-1.amazonaws.com".to_owned(), format!("/{key}")));
        bucket.addressing = Addressing::Path;
        assert_eq!(bucket.place(), ("s3.eu-west-1.amazonaws.com".to_owned(), format!("/trust/{key}")));
    }
}

//! Reads request bodies strictly: size before bytes, type before content, unknown and doubled members refused by name.

use crate::api::limits::MESSAGE_BYTES_MAX;
use axum::extract::Request;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

/// How much is said of a wrong body: enough for any member's name.
const WHY_CHARACTERS_MAX: usize = 300;

/// Why a body is not read. No variant holds what the body says: it may be a token.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BodyError {
    /// The client went away.
    #[error("the body ended early")]
    Broken,
    /// A form names a parameter twice that may stand once.
    #[error("the parameter {name} stands twice")]
    Doubled {
        /// Which.
        name: String,
    },
    /// Not of the shape that the path takes.
    #[error("the body is not what this path takes: {why}")]
    Malformed {
        /// What was expected, and where.
        why: String,
    },
    /// Another content type.
    #[error("the body must be {wanted}, and its Content-Type must say so")]
    MediaType {
        /// Which one would do.
        wanted: &'static str,
    },
    /// A form without a parameter.
    #[error("the parameter {name} is missing")]
    Missing {
        /// Which.
        name: &'static str,
    },
    /// Over the limit.
    #[error("the body has more than {most} bytes")]
    TooLarge {
        /// How many are read.
        most: usize,
    },
}

/// A JSON body: one object, of which `wanted` tells the members.
///
/// # Errors
/// See [`BodyError`].
pub(super) async fn json<T: DeserializeOwned>(request: Request, wanted: &str) -> Result<T, BodyError> {
    read_object(&whole(request, "application/json", MESSAGE_BYTES_MAX).await?, wanted)
}

/// One JSON object, of which `wanted` tells the members.
///
/// # Errors
/// `Malformed`.
pub fn read_object<T: DeserializeOwned>(body: &[u8], wanted: &str) -> Result<T, BodyError> {
    // The library would read an array as the members in order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(BodyError::Malformed { why: format!("expected an object with {wanted}") });
    }
    serde_json::from_slice(body).map_err(|error| BodyError::Malformed { why: without_values(&error.to_string()) })
}

/// A form (`application/x-www-form-urlencoded`): its parameters in order, decoded.
///
/// # Errors
/// See [`BodyError`].
pub(super) async fn form(request: Request) -> Result<Form, BodyError> {
    Form::parse(&whole(request, "application/x-www-form-urlencoded", MESSAGE_BYTES_MAX).await?)
}

/// The parameters of a form.
#[derive(Debug)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a form's bytes.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn parse(body: &[u8]) -> Result<Self, BodyError> {
        let pairs = body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
        pairs.map(parameter).collect::<Result<_, _>>().map(Self)
    }

    /// A parameter that may stand once. Sent without a value, it counts as not sent (RFC 6749 §3.2).
    ///
    /// # Errors
    /// `Doubled`.
    pub fn one(&mut self, name: &'static str) -> Result<Option<String>, BodyError> {
        let mut values = self.all(name);
        let value = values.pop();
        if values.is_empty() { Ok(value) } else { Err(BodyError::Doubled { name: name.to_owned() }) }
    }

    /// A parameter that must stand once.
    ///
    /// # Errors
    /// `Doubled`, `Missing`.
    pub fn needed(&mut self, name: &'static str) -> Result<String, BodyError> {
        self.one(name)?.ok_or(BodyError::Missing { name })
    }

    /// A parameter that may stand often.
    pub fn all(&mut self, name: &str) -> Vec<String> {
        let taken = self.0.extract_if(.., |(given, _)| given == name);
        taken.map(|(_, value)| value).filter(|value| !value.is_empty()).collect()
    }
}

/// All of a body of this type and at most this size.
///
/// # Errors
/// `Broken`, `MediaType`, `TooLarge`.
pub(super) async fn whole(request: Request, wanted: &'static str, most: usize) -> Result<Bytes, BodyError> {
    let (head, body) = request.into_parts();
    if media_type(&head.headers).is_none_or(|given| !given.eq_ignore_ascii_case(wanted)) {
        return Err(BodyError::MediaType { wanted });
    }
    if declared_bytes(&head.headers).is_some_and(|bytes| bytes > most) {
        return Err(BodyError::TooLarge { most });
    }
    match Limited::new(body, most).collect().await {
        Ok(read) => Ok(read.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge { most }),
        Err(_broken) => Err(BodyError::Broken),
    }
}

/// The content type without its parameters.
fn media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim)
}

fn declared_bytes(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The library quotes a value of the wrong type; it may be a token that stands in the wrong place, and job logs are kept.
fn without_values(error: &str) -> String {
    let words = match (error.starts_with("invalid "), error.rfind(", expected ")) {
        (true, Some(at)) => error.get(at..).unwrap_or_default().trim_start_matches(", "),
        _ => error,
    };
    // The name of an unknown member is repeated, and may be as long as the body.
    words.chars().filter(|c| !c.is_control()).take(WHY_CHARACTERS_MAX).collect()
}

fn parameter(pair: &[u8]) -> Result<(String, String), BodyError> {
    let mut halves = pair.splitn(2, |byte| *byte == b'=');
    let mut decoded = || decode(halves.next().unwrap_or_default());
    let malformed = || BodyError::Malformed { why: "a parameter is not percent-encoded UTF-8".to_owned() };
    decoded().zip(decoded()).ok_or_else(malformed)
}

fn decode(encoded: &[u8]) -> Option<String> {
    let mut plain = Vec::with_capacity(encoded.len());
    let mut rest = encoded.iter();
    while let Some(byte) = rest.next() {
        plain.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16).and_then(|d| u8::try_from(d).ok());
                (digit(rest.next())? << 4) | digit(rest.next())?
            }
            other => *other,
        });
    }
    String::from_utf8(plain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Asked {
        audience: Vec<String>,
    }

    fn post(content_type: &str, body: impl Into<Body>) -> Request {
        Request::post("/").header(header::CONTENT_TYPE, content_type).body(body.into()).unwrap()
    }

    async fn why(content_type: &str, body: &'static str) -> String {
        json::<Asked>(post(content_type, body), "audience").await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_body_is_refused_by_what_is_wrong_with_it() {
        let good = post("application/json; charset=utf-8", r#" {"audience":["a"]}"#);
        let good = json::<Asked>(good, "audience").await.unwrap();
        assert_eq!(good.audience, ["a"]);
        assert!(why("application/json", r#"{"audiences":[]}"#).await.contains("unknown field `audiences`"));
        assert!(
            why("application/json", r#"{"audience":[],"audience":[]}"#).await.contains("duplicate field `audience`")
        );
        assert!(why("application/json", r#"{"audience":[]} x"#).await.contains("trailing characters"));
        for odd in ["", "x", "null", r#"[["a"]]"#] {
            assert!(why("application/json", odd).await.ends_with("expected an object with audience"), "{odd}");
        }
        assert!(why("text/plain", "{}").await.contains("must be application/json"));
    }

    #[tokio::test]
    async fn a_value_in_the_wrong_place_is_not_repeated() {
        let words = why("application/json", r#"{"audience":"eyJhbGciOi, expected secret"}"#).await;
        assert_eq!(words, "the body is not what this path takes: expected a sequence at line 1 column 41");
    }

    #[tokio::test]
    async fn a_large_body_is_not_read_to_its_end() {
        let large = vec![b' '; MESSAGE_BYTES_MAX + 1];
        let error = json::<Asked>(post("application/json", large), "audience").await.unwrap_err();
        assert_eq!(error, BodyError::TooLarge { most: MESSAGE_BYTES_MAX });
    }

    #[tokio::test]
    async fn a_form_says_each_thing_once_but_may_name_several_audiences() {
        let body = "a=1&audience=x%2Fy&audience=z+z&empty=&twice=1&twice=2";
        let mut form = form(post("application/x-www-form-urlencoded", body)).await.unwrap();
        assert_eq!(form.needed("a").unwrap(), "1");
        assert_eq!(form.all("audience"), ["x/y", "z z"]);
        assert_eq!(form.one("empty"), Ok(None));
        assert_eq!(form.needed("gone"), Err(BodyError::Missing { name: "gone" }));
        assert_eq!(form.one("twice"), Err(BodyError::Doubled { name: "twice".to_owned() }));
        assert_eq!(decode(b"%4"), None);
    }
}

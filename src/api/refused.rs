//! A no on its way out: one set of facts, said as a problem document, a gRPC status or an OAuth error.

use crate::issuance::RequestId;
use crate::telemetry::Door;
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use std::borrow::Cow;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// gRPC metadata with the stable code of a refusal.
pub const CODE_METADATA: &str = "lanyard-code";
/// gRPC metadata with the request's id.
pub const REQUEST_ID_METADATA: &str = "lanyard-request-id";
/// gRPC metadata with the audience that the job's token should have, where the token is what is wrong.
pub const AUDIENCE_METADATA: &str = "lanyard-audience";
/// What a client that is told to wait should wait at least, in seconds.
const RETRY_AFTER: u64 = 1;
/// The same as gRPC's clients read it, in milliseconds (gRFC A6).
const PUSHBACK_METADATA: &str = "grpc-retry-pushback-ms";

/// gRPC's own refusals, such as of a call that there is not, have no code of ours.
const WITHOUT_CODE: &str = "without_code";

/// Goes with a refusal over REST: its code, which stands in the body only.
#[derive(Clone, Copy)]
struct RestCode(&'static str);

/// Which door refused and with which code; none for a yes.
pub fn refusal_in<B>(answer: &http::Response<B>) -> Option<(Door, &str)> {
    if let Some(RestCode(code)) = answer.extensions().get() {
        return Some((Door::Rest, code));
    }
    let headers = answer.headers();
    headers.get(Status::GRPC_STATUS).filter(|status| *status != "0")?;
    let code = headers.get(CODE_METADATA).and_then(|code| code.to_str().ok());
    Some((Door::Grpc, code.unwrap_or(WITHOUT_CODE)))
}

/// What outsiders learn of a refusal.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    /// Stable, for scripts.
    code: &'static str,
    /// What to change, for the author of the job.
    detail: Cow<'static, str>,
    /// Finds the request in log and journal.
    request_id: String,
    /// How HTTP and gRPC file it.
    class: Class,
    /// The audience that the job's token should have, where the token is what is wrong.
    audience: Option<String>,
    /// What to wait, in seconds, where waiting helps.
    retry_after: u64,
}

/// The ways to file a refusal, each with its HTTP status and gRPC code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Class {
    /// The request makes no sense.
    Malformed,
    /// The token or the key is not what it must be.
    NotGenuine,
    /// Policy says no.
    Forbidden,
    /// There is nothing there.
    Absent,
    /// The path does not take this method.
    Method,
    /// Somebody else was first.
    Conflict,
    /// Too large to be read.
    TooLarge,
    /// OAuth only: another grant than token exchange.
    GrantType,
    /// A body of another type than JSON or a form.
    MediaType,
    /// The rest of the request did not come.
    Slow,
    /// Later, please.
    TooMany,
    /// Our own fault.
    Broken,
    /// Something that we need is away.
    Unavailable,
    /// It took too long.
    Late,
}

impl Class {
    /// How HTTP says it.
    const fn http(self) -> StatusCode {
        match self {
            Self::Malformed | Self::GrantType => StatusCode::BAD_REQUEST,
            Self::NotGenuine => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Absent => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Broken => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Late => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// How gRPC says it.
    const fn grpc(self) -> Code {
        match self {
            Self::GrantType | Self::Malformed | Self::MediaType | Self::TooLarge => Code::InvalidArgument,
            Self::NotGenuine => Code::Unauthenticated,
            Self::Forbidden => Code::PermissionDenied,
            Self::Absent => Code::NotFound,
            Self::Method => Code::Unimplemented,
            Self::Conflict => Code::AlreadyExists,
            Self::TooMany => Code::ResourceExhausted,
            Self::Broken => Code::Internal,
            Self::Unavailable => Code::Unavailable,
            Self::Late | Self::Slow => Code::DeadlineExceeded,
        }
    }

    /// RFC 6749 §5.2; what policy or the token forbids is an invalid request too (RFC 8693 §2.2.2).
    const fn oauth(self) -> &'static str {
        match self {
            Self::GrantType => "unsupported_grant_type",
            Self::Malformed
            | Self::NotGenuine
            | Self::Forbidden
            | Self::Absent
            | Self::Method
            | Self::Conflict
            | Self::TooLarge
            | Self::MediaType
            | Self::Slow => "invalid_request",
            Self::TooMany | Self::Unavailable | Self::Late => "temporarily_unavailable",
            Self::Broken => "server_error",
        }
    }

    const fn asks_to_wait(self) -> bool {
        matches!(self, Self::TooMany | Self::Unavailable | Self::Late)
    }
}

/// RFC 9457 §3.
#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    audience: Option<&'a str>,
}

/// RFC 6749 §5.2, with our code and request id beside.
#[derive(Serialize)]
struct OAuthError<'a> {
    error: &'static str,
    error_description: String,
    code: &'a str,
    request_id: &'a str,
}

impl Refused {
    /// A refusal of a door.
    pub(super) fn new(
        class: Class,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
        request_id: &RequestId,
    ) -> Self {
        let (detail, request_id) = (detail.into(), request_id.to_string());
        Self { code, detail, request_id, class, audience: None, retry_after: RETRY_AFTER }
    }

    /// Says which audience the job's token should have.
    pub(super) fn wanting(self, audience: &str) -> Self {
        Self { audience: Some(audience.to_owned()), ..self }
    }

    /// Says how many seconds to wait, where somebody knows.
    pub(super) fn waiting(self, seconds: Option<u64>) -> Self {
        Self { retry_after: seconds.unwrap_or(self.retry_after), ..self }
    }

    /// Adds a last sentence to what is to be changed.
    pub(super) fn and(self, more: &str) -> Self {
        Self { detail: format!("{}; {more}", self.detail).into(), ..self }
    }

    /// As gRPC says it; code, request id and audience go along as metadata.
    pub(super) fn into_status(self) -> Status {
        let mut status = Status::new(self.class.grpc(), self.detail);
        let metadata = status.metadata_mut();
        metadata.insert(CODE_METADATA, MetadataValue::from_static(self.code));
        if let Ok(id) = self.request_id.parse() {
            metadata.insert(REQUEST_ID_METADATA, id);
        }
        if self.class.asks_to_wait() {
            metadata.insert(PUSHBACK_METADATA, MetadataValue::from(self.retry_after.saturating_mul(1000)));
        }
        if let Some(Ok(audience)) = self.audience.map(|audience| audience.parse()) {
            metadata.insert(AUDIENCE_METADATA, audience);
        }
        status
    }

    /// As OAuth 2.0 says it. The status is 400 but where waiting helps or a 401 was earned (RFC 6749 §5.2).
    pub(super) fn into_oauth(self) -> Response {
        let status = if self.class.asks_to_wait() || self.class == Class::Broken {
            self.class.http()
        } else {
            StatusCode::BAD_REQUEST
        };
        // RFC 6749 §5.2 leaves out control characters, the quote and the backslash.
        let plain = |c: char| if matches!(c, ' '..='~') && c != '"' && c != '\\' { c } else { '\'' };
        let no_target = matches!(self.code, "audience_not_granted" | "too_many_audiences" | "resource_unsupported");
        let error = OAuthError {
            error: if no_target { "invalid_target" } else { self.class.oauth() },
            error_description: self.detail.chars().map(plain).collect(),
            code: self.code,
            request_id: &self.request_id,
        };
        self.dress((status, Json(error)).into_response(), "application/json")
    }
}

impl IntoResponse for Refused {
    /// As a problem document.
    fn into_response(self) -> Response {
        let status = self.class.http();
        let problem = Problem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Refused"),
            status: status.as_u16(),
            code: self.code,
            detail: &self.detail,
            request_id: &self.request_id,
            audience: self.audience.as_deref(),
        };
        self.dress((status, Json(problem)).into_response(), "application/problem+json")
    }
}

impl Refused {
    fn dress(&self, mut response: Response, content_type: &'static str) -> Response {
        response.extensions_mut().insert(RestCode(self.code));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.class.asks_to_wait() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_counts_refusals_reads_door_and_code_however_they_are_said() {
        let id = RequestId::random(&crate::crypto::Random::system());
        let refused = || Refused::new(Class::TooMany, "too_many_requests", "later", &id);
        for answer in [refused().into_response(), refused().into_oauth()] {
            assert_eq!(refusal_in(&answer), Some((Door::Rest, "too_many_requests")));
        }
        let answer = refused().into_status().into_http::<()>();
        assert_eq!(refusal_in(&answer), Some((Door::Grpc, "too_many_requests")));
        let answer = Status::unimplemented("no such call").into_http::<()>();
        assert_eq!(refusal_in(&answer), Some((Door::Grpc, WITHOUT_CODE)));
        assert_eq!(refusal_in(&Response::new(())), None);
    }
}

//! Answers that their readers may keep: named by an `ETag`, so that whoever holds one already is told no more (RFC 9110 §13.1.2).

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};

/// A document that is known by its `ETag`.
pub(super) struct Named<'a> {
    pub(super) etag: &'a str,
    /// How its readers may keep it (RFC 9111 §5.2.2).
    pub(super) kept: &'a str,
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
}

impl Named<'_> {
    /// The document, or 304 to whoever holds it.
    pub(super) fn for_whom(self, headers: &HeaderMap) -> Response {
        let facts = [(header::ETAG, self.etag.to_owned()), (header::CACHE_CONTROL, self.kept.to_owned())];
        let held = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|held| held.to_str().ok());
        if held.flat_map(|held| held.split(',')).any(|held| names(held.trim(), self.etag)) {
            return (StatusCode::NOT_MODIFIED, facts).into_response();
        }
        (facts, [(header::CONTENT_TYPE, self.content_type)], self.body).into_response()
    }
}

/// Weak comparison, as RFC 9110 §13.1.2 asks.
fn names(held: &str, etag: &str) -> bool {
    held == "*" || held.strip_prefix("W/").unwrap_or(held) == etag
}

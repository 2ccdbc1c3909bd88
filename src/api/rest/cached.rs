//! Answers that their readers may keep: named by an `ETag`, so that whoever holds one already is told no more (RFC 9110 §13.1.2).

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use hyper::body::{Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What HTTP takes of a document at a time.
const FRAME_BYTES: usize = 16 * 1024;

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
        (facts, [(header::CONTENT_TYPE, self.content_type)], Body::new(Frames(self.body))).into_response()
    }
}

/// Weak comparison, as RFC 9110 §13.1.2 asks.
fn names(held: &str, etag: &str) -> bool {
    held == "*" || held.strip_prefix("W/").unwrap_or(held) == etag
}

/// What is left of a document. Its end is told apart from its last frame, for which HTTP/2 wants more room than that
/// frame takes: so whoever reads nothing has a call that lasts, and is shown out.
struct Frames(Bytes);

impl hyper::body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let most = self.0.len().min(FRAME_BYTES);
        let next = self.0.split_to(most);
        // A copy: what waits to be sent keeps no document alive.
        Poll::Ready((!next.is_empty()).then(|| Ok(Frame::data(Bytes::copy_from_slice(&next)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.0.len()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use hyper::body::Body as _;

    #[tokio::test]
    async fn a_document_goes_out_in_frames_and_none_of_them_is_said_to_be_the_last() {
        let document = Bytes::from(vec![7; 2 * FRAME_BYTES + 1]);
        let mut frames = Frames(document.clone());
        assert_eq!(frames.size_hint().exact(), Some(32_769));
        let mut lengths = Vec::new();
        while let Some(frame) = frames.frame().await {
            lengths.push(frame.unwrap().into_data().unwrap().len());
            assert!(!frames.is_end_stream());
        }
        assert_eq!(lengths, [FRAME_BYTES, FRAME_BYTES, 1]);
    }
}

//! What an operator's command asks of a running server, over its admin socket.

use super::failure::{NotReachable, WrongSocket};
use super::login::Problem;
use super::remote::RemoteError;
use super::svid::is_of_transport;
use crate::api::{AUDIENCE_METADATA, CODE_METADATA, REQUEST_ID_METADATA};
use crate::tls::TlsError;
use crate::wire::WorkloadAddress;
use crate::wire::lanyard::admin_client::AdminClient;
use crate::wire::lanyard::{AdminExplainRequest, admin_explain_request::Subject};
use anyhow::Context as _;
use serde_json::Value;
use std::path::Path;
use tonic::Status;

/// A walk of many rules, or a hundred thousand sessions.
pub(super) const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The whole walk of a token or of a request of the past.
pub(super) async fn explain(socket: &Path, subject: Subject) -> anyhow::Result<Value> {
    let channel = WorkloadAddress::Unix(socket.to_owned()).channel();
    let mut admin = AdminClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    let asked = admin.explain(AdminExplainRequest { subject: Some(subject) }).await;
    let answer = asked.map_err(|status| refused(&socket.display().to_string(), &status))?.into_inner();
    serde_json::from_slice(&answer.walk).context("the server's answer is no walk")
}

/// Whether a server of ours listens there, as far as a connection tells.
pub(super) async fn listens(socket: &Path) -> bool {
    WorkloadAddress::Unix(socket.to_owned()).reach().await.is_ok()
}

/// What was wrong with the handshake, where a call had no success for that.
pub(super) fn tls_fault(status: &Status) -> Option<&TlsError> {
    let mut causes = std::iter::successors(std::error::Error::source(status), |cause| cause.source());
    causes.find_map(|cause| cause.downcast_ref())
}

/// Why a call had no success, with the exit code that it deserves.
pub(super) fn refused(place: &str, status: &Status) -> anyhow::Error {
    let text = |name| status.metadata().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let code = text(CODE_METADATA);
    if code.is_empty() && (is_of_transport(status) || status.message().is_empty()) {
        return WrongSocket { place: place.to_owned(), what: "a server's admin API" }.into();
    }
    if code.is_empty() {
        let (place, why) = (place.to_owned(), status.message().to_owned());
        return NotReachable { what: "the server's admin door", place, why }.into();
    }
    let (detail, request_id) = (status.message().to_owned(), text(REQUEST_ID_METADATA));
    let audience = Some(text(AUDIENCE_METADATA)).filter(|audience| !audience.is_empty());
    RemoteError::Refused(Problem { code, detail, request_id, audience }).into()
}

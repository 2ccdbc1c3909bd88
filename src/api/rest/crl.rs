//! `GET /crl`: the revocation lists of all our authorities, PEM; `GET /crl/{authority key id}`: one of them, DER.

use super::cached::Named;
use crate::api::desk::Desk;
use crate::api::refused::{Class, Refused};
use axum::extract::{Path, State};
use axum::response::Response;
use http::HeaderMap;
use std::sync::Arc;

/// A list that was fetched before an end must not hide it.
const ASK_EACH_TIME: &str = "no-cache";
/// No type is registered for lists in text armour; this is what servers say.
const PEM: &str = "application/x-pem-file";
/// RFC 2585 §4.2.
const DER: &str = "application/pkix-crl";

/// All of them.
pub(super) async fn all(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Result<Response, Refused> {
    let set = desk.crls()?;
    let (etag, body) = (&*set.etag, set.pem.clone());
    Ok(Named { etag, kept: ASK_EACH_TIME, content_type: PEM, body }.for_whom(&headers))
}

/// That of one authority. Its key identifier may be written as OpenSSL shows it, with colons and in upper case.
pub(super) async fn one(
    State(desk): State<Arc<Desk>>,
    Path(authority): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let set = desk.crls()?;
    let name = authority.replace(':', "").to_lowercase();
    let list = set.lists.get(&name).ok_or_else(|| {
        let detail = "no authority of ours has this key identifier; that of a certificate's issuer stands in its \
                      authority key identifier";
        Refused::new(Class::Absent, "authority_unknown", detail, &desk.request_id())
    })?;
    Ok(Named { etag: &set.etag, kept: ASK_EACH_TIME, content_type: DER, body: list.clone() }.for_whom(&headers))
}

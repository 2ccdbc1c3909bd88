//! An issuer's documents: what it says of itself, and the key set that this names.

use super::{Fetch, KeysError, Secret};
use crate::token::{KeySet, KeySource};
use http::Uri;
use serde::Deserialize;
use zeroize::Zeroizing;

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

/// The keys of the issuer that is called so: its discovery document, and the key set that this names.
///
/// # Errors
/// See [`KeysError`].
pub async fn fetch_keys(
    fetch: &dyn Fetch,
    wanted: &str,
    (url, ca_pem): (&str, Option<&[u8]>),
) -> Result<KeySet, KeysError> {
    let document = document_at(url, &fetch.get(url, ca_pem).await?)?;
    // A URL given separately is the operator's word that the issuer goes by another name there.
    if url == KeySource::document_of(wanted) && document.issuer != wanted {
        let (url, wanted, found) = (url.to_owned(), wanted.to_owned(), document.issuer);
        return Err(KeysError::IssuerDiffers { url, found, wanted });
    }
    // Plain HTTP only where the operator named the document so; the fetcher lets that through on loopback alone.
    let uri = document.jwks_uri;
    let as_named = url.starts_with("http://") && uri.starts_with("http://");
    if !as_named && !uri.starts_with("https://") {
        return Err(KeysError::JwksUri { uri });
    }
    let jwks = fetch.get(&uri, ca_pem).await?;
    KeySet::parse(&jwks).map_err(|source| KeysError::Jwks { url: uri, source })
}

/// The same where only a token lets us in, which goes to the named place alone: a cluster's API calls itself by another
/// name than it is reached by.
pub(super) async fn fetch_let_in(
    fetch: &dyn Fetch,
    wanted: &str,
    (url, ca_pem): (&str, Option<&[u8]>),
    token: &str,
) -> Result<KeySet, KeysError> {
    let bearer = Zeroizing::new(format!("Bearer {token}"));
    let secret = Secret { header: "authorization", value: &bearer };
    let document = document_at(url, &fetch.ask(url, ca_pem, secret).await?.document(url)?)?;
    if document.issuer != wanted {
        let (url, wanted, found) = (url.to_owned(), wanted.to_owned(), document.issuer);
        return Err(KeysError::IssuerDiffers { url, found, wanted });
    }
    let own = Uri::try_from(url).ok().and_then(|url| Some(url.authority()?.to_string()));
    let path = Uri::try_from(&document.jwks_uri).ok().and_then(|uri| Some(uri.path_and_query()?.to_string()));
    let Some((own, path)) = own.zip(path) else { return Err(KeysError::JwksUri { uri: document.jwks_uri }) };
    let uri = format!("https://{own}{path}");
    let jwks = fetch.ask(&uri, ca_pem, secret).await?.document(&uri)?;
    KeySet::parse(&jwks).map_err(|source| KeysError::Jwks { url: uri, source })
}

fn document_at(url: &str, json: &[u8]) -> Result<Document, KeysError> {
    serde_json::from_slice(json).map_err(|source| KeysError::Document { url: url.to_owned(), source })
}

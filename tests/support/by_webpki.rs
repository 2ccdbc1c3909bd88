//! What rustls-webpki, which rustls programs verify by, says of a chain.

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use std::path::Path;
use std::time::Duration;

/// By a file of revocation lists, of every certificate of the chain; nothing if it holds.
pub(crate) fn with_lists(
    (chain, roots): (&[CertificateDer<'_>], &[CertificateDer<'_>]),
    at: i64,
    lists: &Path,
) -> String {
    let lists = CertificateRevocationListDer::pem_file_iter(lists).unwrap().map(Result::unwrap);
    let read = |der: CertificateRevocationListDer<'_>| webpki::OwnedCertRevocationList::from_der(&der).unwrap().into();
    let lists: Vec<webpki::CertRevocationList<'_>> = lists.map(read).collect();
    let lists: Vec<_> = lists.iter().collect();
    let options = webpki::RevocationOptionsBuilder::new(&lists).unwrap();
    let options = options.with_depth(webpki::RevocationCheckDepth::Chain);
    let options = options.with_status_policy(webpki::UnknownStatusPolicy::Deny);
    let options = options.with_expiration_policy(webpki::ExpirationPolicy::Enforce).build();
    let said = verify((chain, roots), at, webpki::KeyUsage::client_auth(), Some(options));
    said.map_or_else(|error| format!("{error:?}"), |()| String::new())
}

/// Leaf first, at a Unix time.
pub(crate) fn verify(
    (chain, roots): (&[CertificateDer<'_>], &[CertificateDer<'_>]),
    at: i64,
    usage: webpki::KeyUsage,
    revocation: Option<webpki::RevocationOptions<'_>>,
) -> Result<(), webpki::Error> {
    let (leaf, others) = chain.split_first().unwrap();
    let leaf = webpki::EndEntityCert::try_from(leaf)?;
    let anchors: Vec<TrustAnchor<'_>> = roots.iter().map(webpki::anchor_from_trusted_cert).collect::<Result<_, _>>()?;
    let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at).unwrap()));
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, others, at, usage, revocation, None)?;
    Ok(())
}

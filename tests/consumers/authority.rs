//! An authority of two tiers in this process, for what no server of ours would sign: CRLs that are odd, SVIDs that run out.

use crate::client::Svid;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use time::OffsetDateTime;

const HOUR: Duration = Duration::from_secs(3600);

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// Which CRLs a file holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Crls {
    /// One of every issuer, root included.
    Complete,
    /// The intermediate's alone.
    OfLeavesOnly,
    /// Of every issuer, and due to be replaced an hour ago.
    Stale,
}

pub(crate) struct Authority {
    root: Issuer,
    intermediate: Issuer,
    issued: AtomicU64,
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::called(vec![(DnType::CommonName, "root".to_owned())])
    }

    /// An impostor: its root has the subject of one that there is, in a file.
    pub(crate) fn in_the_name_of(root: &Path) -> Self {
        let root = CertificateDer::from_pem_file(root).unwrap();
        let (_rest, root) = x509_parser::parse_x509_certificate(&root).unwrap();
        let names = root.subject().iter_attributes().map(|name| {
            let oid: Vec<u64> = name.attr_type().iter().unwrap().collect();
            (DnType::from_oid(&oid), name.as_str().unwrap().to_owned())
        });
        Self::called(names.collect())
    }

    fn called(root: Vec<(DnType, String)>) -> Self {
        let of = |names: Vec<(DnType, String)>, path_length| {
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            for (kind, name) in names {
                params.distinguished_name.push(kind, name);
            }
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            let uri = "spiffe://ci.example.org".try_into().unwrap();
            params.subject_alt_names = vec![SanType::URI(uri)];
            (params, KeyPair::generate().unwrap())
        };
        let (params, key) = of(root, 1);
        let root = Issuer::self_signed(params, key).unwrap();
        let (mut params, key) = of(vec![(DnType::CommonName, "intermediate".to_owned())], 0);
        params.use_authority_key_identifier_extension = true;
        let intermediate = Issuer::signed_by(params, key, &root).unwrap();
        Self { root, intermediate, issued: AtomicU64::new(1) }
    }

    /// An SVID for a job, and when it runs out.
    pub(crate) fn issue(&self, job: &str, lifetime: Duration) -> (Svid, OffsetDateTime) {
        self.issue_as(&format!("spiffe://ci.example.org/acme/payments/api/-/pipelines/{job}"), lifetime)
    }

    /// An SVID for whatever ID.
    pub(crate) fn issue_as(&self, id: &str, lifetime: Duration) -> (Svid, OffsetDateTime) {
        let now = OffsetDateTime::now_utc();
        let mut params = CertificateParams::default();
        params.not_before = now - Duration::from_secs(60);
        params.not_after = now.replace_nanosecond(0).unwrap() + lifetime;
        params.distinguished_name.push(DnType::CommonName, "p4711");
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let (key, not_after) = (KeyPair::generate().unwrap(), params.not_after);
        let leaf = params.signed_by(&key, &self.intermediate).unwrap();
        (Svid { chain: leaf.pem() + &self.intermediate.pem(), key: key.serialize_pem() }, not_after)
    }

    /// The CRL of an issuer of ours, which names nobody.
    fn crl(&self, issuer: &Issuer, crls: Crls) -> String {
        let now = OffsetDateTime::now_utc();
        let params = CertificateRevocationListParams {
            this_update: now - HOUR * 2,
            next_update: if crls == Crls::Stale { now - HOUR } else { now + HOUR },
            crl_number: SerialNumber::from(self.issued.fetch_add(1, Ordering::Relaxed)),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(issuer).unwrap().pem().unwrap()
    }
}

/// What a service reads.
pub(crate) struct Files {
    folder: TempDir,
    svid: Svid,
}

impl Files {
    /// With a server's SVID and every CRL.
    pub(crate) fn new(authority: &Authority) -> Self {
        let folder = tempfile::Builder::new().prefix("lanyard").tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let (svid, _) = authority.issue("server", HOUR);
        let files = Self { folder, svid };
        files.publish(authority, Crls::Complete);
        files
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn publish(&self, authority: &Authority, crls: Crls) {
        let Svid { chain, key } = &self.svid;
        let of_root = if crls == Crls::OfLeavesOnly { String::new() } else { authority.crl(&authority.root, crls) };
        for (name, mode, text) in [
            ("svid.pem", 0o644, chain.clone()),
            ("svid_bundle.pem", 0o644, authority.root.pem()),
            ("svid_combined.pem", 0o600, format!("{chain}{key}")),
            ("svid_crl.pem", 0o644, authority.crl(&authority.intermediate, crls) + &of_root),
            ("svid_key.pem", 0o600, key.clone()),
        ] {
            let file = self.folder().join(name);
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        }
    }
}

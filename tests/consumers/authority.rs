//! An authority of two tiers in this process, and files as an agent leaves them: SVIDs, bundle, complete CRLs.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SanType,
    SerialNumber,
};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use time::OffsetDateTime;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

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

/// A job's SVID, in files.
#[derive(Debug)]
pub(crate) struct Svid {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) not_after: OffsetDateTime,
    serial: SerialNumber,
}

pub(crate) struct Authority {
    root: Issuer,
    intermediate: Issuer,
    issued: AtomicU64,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let of = |name: &str, path_length| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            let uri = "spiffe://ci.example.org".try_into().unwrap();
            params.subject_alt_names = vec![SanType::URI(uri)];
            (params, KeyPair::generate().unwrap())
        };
        let (params, key) = of("root", 1);
        let root = Issuer::self_signed(params, key).unwrap();
        let (mut params, key) = of("intermediate", 0);
        params.use_authority_key_identifier_extension = true;
        let intermediate = Issuer::signed_by(params, key, &root).unwrap();
        Self { root, intermediate, issued: AtomicU64::new(1) }
    }

    /// An SVID for a job, with its key, in a folder.
    pub(crate) fn issue(&self, folder: &Path, job: &str, lifetime: Duration) -> Svid {
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let (serial, now) = (SerialNumber::from(1000 + number), OffsetDateTime::now_utc());
        let mut params = CertificateParams::default();
        params.serial_number = Some(serial.clone());
        params.not_before = now - Duration::from_secs(60);
        params.not_after = now.replace_nanosecond(0).unwrap() + lifetime;
        params.distinguished_name.push(DnType::OrganizationName, "Lanyard");
        params.distinguished_name.push(DnType::CommonName, "p4711");
        let id = format!("spiffe://ci.example.org/acme/payments/api/-/pipelines/{job}");
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let not_after = params.not_after;
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.intermediate).unwrap();
        let file = |kind: &str| folder.join(format!("{job}{kind}.pem"));
        let svid = Svid { chain: file(""), key: file("_key"), not_after, serial };
        fs::write(&svid.chain, leaf.pem() + &self.intermediate.pem()).unwrap();
        fs::write(&svid.key, key.serialize_pem()).unwrap();
        svid
    }

    fn crl(&self, issuer: &Issuer, revoked: &[&Svid], crls: Crls) -> String {
        let now = OffsetDateTime::now_utc();
        let begun = now - HOUR * 2;
        let revoked = revoked.iter().map(|svid| RevokedCertParams {
            serial_number: svid.serial.clone(),
            revocation_time: begun,
            reason_code: Some(RevocationReason::CessationOfOperation),
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: begun,
            next_update: if crls == Crls::Stale { now - HOUR } else { now + HOUR },
            crl_number: SerialNumber::from(self.issued.fetch_add(1, Ordering::Relaxed)),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(issuer).unwrap().pem().unwrap()
    }
}

/// What a service reads, and how its agent changes it: all files of a state by the rename of one link.
pub(crate) struct Files {
    pub(crate) folder: PathBuf,
    owner: Option<u32>,
    svid: Svid,
    state: AtomicU64,
}

impl Files {
    /// With a server's SVID and CRLs that name nobody.
    pub(crate) fn new(authority: &Authority, folder: &Path, owner: Option<u32>) -> Self {
        fs::create_dir_all(folder).unwrap();
        let svid = authority.issue(folder, "server", HOUR);
        let files = Self { folder: folder.to_owned(), owner, svid, state: AtomicU64::new(0) };
        files.publish(authority, &[], Crls::Complete);
        files
    }

    /// A new state: CRLs that name these SVIDs.
    pub(crate) fn publish(&self, authority: &Authority, revoked: &[&Svid], crls: Crls) {
        let generation = format!("..gen-{}", self.state.fetch_add(1, Ordering::Relaxed));
        let inside = self.folder.join(&generation);
        fs::create_dir(&inside).unwrap();
        let (chain, key) = (read(&self.svid.chain), read(&self.svid.key));
        let root_crl =
            if crls == Crls::OfLeavesOnly { String::new() } else { authority.crl(&authority.root, &[], crls) };
        let all = authority.crl(&authority.intermediate, revoked, crls) + &root_crl;
        let texts = [
            ("svid.pem", 0o644, chain.clone()),
            ("svid_bundle.pem", 0o644, authority.root.pem()),
            ("svid_combined.pem", 0o600, chain + &key),
            ("svid_crl.pem", 0o644, all),
            ("svid_key.pem", 0o600, key),
        ];
        for (name, mode, text) in texts {
            let file = inside.join(name);
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
            std::os::unix::fs::chown(&file, self.owner, None).unwrap();
            if !self.folder.join(name).is_symlink() {
                symlink(Path::new("..data").join(name), self.folder.join(name)).unwrap();
            }
        }
        let aside = self.folder.join("..data.new");
        symlink(&generation, &aside).unwrap();
        fs::rename(aside, self.folder.join("..data")).unwrap();
    }
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap()
}

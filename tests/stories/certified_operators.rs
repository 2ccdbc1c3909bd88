//! Operators who are elsewhere and show a certificate: of the operators' own CA, in its time at each call, of somebody who is written
//! down, and never a workload's.

use super::doors::{Doors, code_of};
use crate::support::harness::POLICY;
use lanyard::clock::{Clock, SystemClock};
use lanyard::tls::{SessionCertificate, TlsClient};
use lanyard::wire::lanyard::ListBansRequest;
use lanyard::wire::lanyard::admin_client::AdminClient;
use lanyard::wire::{ServerUrl, channel};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;
use tonic::Code;
use tonic::transport::Channel;

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca() -> Ca {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// What a leaf says.
struct Leaf<'a> {
    names: &'a [&'a str],
    /// From and until so many seconds from now.
    good: (i64, i64),
    purpose: ExtendedKeyUsagePurpose,
}

const ADA: Leaf<'_> =
    Leaf { names: &["email:ada@corp.example"], good: (-60, 3600), purpose: ExtendedKeyUsagePurpose::ClientAuth };

struct Site {
    doors: Doors,
    ca: Ca,
    files: TempDir,
}

impl Site {
    async fn open(more: &str) -> Self {
        let (ca, files) = (ca(), TempDir::new().unwrap());
        let ca_file = files.path().join("operators-ca.pem");
        fs::write(&ca_file, ca.pem()).unwrap();
        let lines = format!(
            "[operators]\nlisten = [\"127.0.0.1:0\"]\n[operators.certificates]\nname = \"corp-ca\"\nca_file = \"{}\"\n\
             people.\"email:ada@corp.example\" = \"ada\"\npeople.\"uri:https://corp.example/bob\" = \"bob\"\n{more}",
            ca_file.display()
        );
        let doors = Doors::whose_issuer_says(&lines, POLICY).await;
        Self { doors, ca, files }
    }

    /// The files of a new certificate and its key.
    fn files(&self, ca: &Ca, leaf: &Leaf<'_>) -> [PathBuf; 2] {
        let mut params = CertificateParams::default();
        let names = leaf.names.iter().map(|name| match name.split_once(':').unwrap() {
            ("email", address) => SanType::Rfc822Name(address.try_into().unwrap()),
            (_, uri) => SanType::URI(uri.try_into().unwrap()),
        });
        params.subject_alt_names = names.collect();
        params.extended_key_usages = vec![leaf.purpose.clone()];
        let (now, (from, until)) = (SystemClock.now(), leaf.good);
        (params.not_before, params.not_after) =
            (now + time::Duration::seconds(from), now + time::Duration::seconds(until));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, ca).unwrap();
        self.put(&certificate.pem(), &key.serialize_pem())
    }

    fn put(&self, certificate: &str, key: &str) -> [PathBuf; 2] {
        let files = ["operator.pem", "operator-key.pem"].map(|name| self.files.path().join(name));
        for (file, text) in files.iter().zip([certificate, key]) {
            fs::write(file, text).unwrap();
            fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
        }
        files
    }

    /// The door, over one connection that shows a certificate.
    fn admin(&self, files: Option<&[PathBuf; 2]>) -> AdminClient<Channel> {
        let shown = files.map(|[certificate, key]| SessionCertificate::from_files(certificate, key).unwrap());
        let url: ServerUrl = format!("https://{}", self.doors.admin.unwrap()).parse().unwrap();
        let tls = TlsClient::new(&self.doors.trust, shown.as_ref(), &["h2"]).unwrap();
        AdminClient::new(channel(&url, tls).unwrap())
    }

    fn journal(&self) -> Vec<Value> {
        let files = fs::read_dir(self.doors.folder.path().join("data/journal")).unwrap();
        let text: String = files.filter_map(|file| fs::read_to_string(file.unwrap().path()).ok()).collect();
        let record = |line: &str| serde_json::from_str::<Value>(line.get(65..)?).ok();
        text.lines().filter_map(record).filter_map(|record| record.get("entry").cloned()).collect()
    }
}

#[tokio::test]
async fn whoever_s_certificate_is_written_down_operates_the_server_and_stands_in_the_journal() {
    let site = Site::open("").await;
    let [certificate, key] = site.files(&site.ca, &ADA);
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanyard"));
    command.args(["ban", "add", "--project", "4711", "--reason", "ticket 7", "--admin-url"]);
    command.arg(format!("https://{}", site.doors.admin.unwrap())).arg("--admin-ca");
    command.arg(site.doors.folder.path().join("data/door-ca.pem")).arg("--operator-cert").arg(certificate);
    let output = command.arg("--operator-key").arg(key).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let entries = site.journal();
    let of = |kind: &str| entries.iter().find(|entry| entry["kind"] == kind).unwrap_or_else(|| panic!("{entries:#?}"));
    let came = of("operator_came");
    assert_eq!(
        (&came["operator"], &came["issuer"], &came["asked"]),
        (&json!("ada"), &json!("corp-ca"), &json!("AddBan"))
    );
    assert_eq!((&came["subject"], &came["uid"]), (&json!("email:ada@corp.example"), &of("ban_added")["uid"]));
    site.doors.close().await;
}

#[tokio::test]
async fn a_certificate_is_judged_at_each_call_also_on_a_connection_that_stands() {
    let site = Site::open("").await;
    let mut admin = site.admin(Some(&site.files(&site.ca, &Leaf { good: (-60, 4), ..ADA })));
    admin.list_bans(ListBansRequest {}).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let no = admin.list_bans(ListBansRequest {}).await.unwrap_err();
    assert_eq!((no.code(), code_of(&no)), (Code::Unauthenticated, "operator_certificate_refused"), "{no}");
    site.doors.close().await;
}

#[tokio::test]
async fn no_other_certificate_opens_the_door_for_operators() {
    let site = Site::open("").await;
    let stranger = ca();
    let our_own = {
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        let (status, answer) =
            site.doors.post("/v1/svid/x509", &json!({"token": site.doors.token(), "csr": csr})).await;
        assert_eq!(status, 200, "{answer}");
        (answer["certificate_chain"].as_str().unwrap().to_owned(), key.serialize_pem())
    };
    let refused = "operator_certificate_refused";
    let server = ExtendedKeyUsagePurpose::ServerAuth;
    let table: [(&str, &Ca, Leaf<'_>, &str); 8] = [
        ("another CA's", &stranger, ADA, refused),
        ("over", &site.ca, Leaf { good: (-60, -1), ..ADA }, refused),
        ("not yet good", &site.ca, Leaf { good: (60, 3600), ..ADA }, refused),
        ("a server's", &site.ca, Leaf { purpose: server, ..ADA }, refused),
        (
            "a workload's",
            &site.ca,
            Leaf { names: &["email:ada@corp.example", "uri:spiffe://ci.example.org/a"], ..ADA },
            refused,
        ),
        ("nobody's", &site.ca, Leaf { names: &["email:eve@corp.example"], ..ADA }, "operator_unknown"),
        ("nameless", &site.ca, Leaf { names: &[], ..ADA }, "operator_unknown"),
        (
            "two people's",
            &site.ca,
            Leaf { names: &["email:ada@corp.example", "uri:https://corp.example/bob"], ..ADA },
            "operator_unknown",
        ),
    ];
    for (what, ca, leaf, code) in &table {
        let no = site.admin(Some(&site.files(ca, leaf))).list_bans(ListBansRequest {}).await.unwrap_err();
        assert_eq!(code_of(&no), *code, "{what}: {no}");
    }
    let (chain, key) = our_own;
    let no = site.admin(Some(&site.put(&chain, &key))).list_bans(ListBansRequest {}).await.unwrap_err();
    assert_eq!(code_of(&no), refused, "an SVID of ours: {no}");
    let no = site.admin(None).list_bans(ListBansRequest {}).await.unwrap_err();
    assert!(code_of(&no) == "operator_token_refused" && no.message().contains("--operator-cert"), "{no}");
    // Who shows a token too is judged by that.
    let mut request = tonic::Request::new(ListBansRequest {});
    request.metadata_mut().insert("authorization", "Bearer x".parse().unwrap());
    let no = site.admin(Some(&site.files(&site.ca, &ADA))).list_bans(request).await.unwrap_err();
    assert_eq!(code_of(&no), "operator_token_refused", "{no}");
    assert!(site.journal().iter().all(|entry| entry["kind"] != "operator_came"));
    site.doors.close().await;
}

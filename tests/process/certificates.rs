//! Certificates that an operator puts beside a server that runs.

use crate::place::Place;
use crate::server::Server;
use crate::watching::until;
use rcgen::{CertifiedKey, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::fs;
use std::process::{Command, Stdio};

const UNUSABLE: &str = r#"lanyard_certificate_unusable{port="bundle"}"#;
const COMPLAINT: &str = "the server's new certificate cannot be used, the former one stays";

fn certificate() -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed(vec!["bundles.example.org".to_owned()]).unwrap()
}

impl Place {
    fn lay(&self, chain: &str, key: &str) {
        fs::write(self.file("bundle.pem"), chain).unwrap();
        fs::write(self.file("bundle-key.pem"), key).unwrap();
    }

    /// What the bundle port shows to OpenSSL.
    fn shown(&self) -> CertificateDer<'static> {
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-connect", &format!("127.0.0.1:{}", self.bundle_port)]).stdin(Stdio::null());
        CertificateDer::from_pem_slice(&openssl.output().unwrap().stdout).unwrap()
    }
}

/// Shows: FED-11.
#[test]
fn the_bundle_port_shows_files_that_came_while_it_ran_and_before_such_as_do_not_fit_it_keeps_the_former_and_says_so() {
    let place = Place::with("[tls]\nbundle_cert_file = \"bundle.pem\"\nbundle_key_file = \"bundle-key.pem\"\n");
    let [first, second] = [certificate(), certificate()];
    let key = |of: &CertifiedKey<KeyPair>| of.signing_key.serialize_pem();
    place.lay(&first.cert.pem(), &key(&first));
    let server = Server::start(&place);
    until(&place, UNUSABLE, |state| state < 0.5);
    assert_eq!(place.shown(), *first.cert.der());
    // Another's key, as of a renewal that is half written, and then no certificate at all.
    for (chain, why) in [(second.cert.pem(), "bundle.pem and "), ("none\n".to_owned(), "no PEM certificate")] {
        let said = server.log().matches(COMPLAINT).count();
        place.lay(&chain, &key(&first));
        until(&place, UNUSABLE, |state| state > 0.5 && server.log().matches(COMPLAINT).count() > said);
        assert_eq!(place.shown(), *first.cert.der());
        let log = server.log();
        let line = log.lines().rev().find(|line| line.contains(COMPLAINT)).unwrap();
        assert!(line.contains("ERROR") && line.contains("Bundle") && line.contains(why), "{line}");
    }
    place.lay(&second.cert.pem(), &key(&second));
    until(&place, UNUSABLE, |state| state < 0.5);
    assert_eq!(place.shown(), *second.cert.der());
}

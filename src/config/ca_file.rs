//! A file with the certificates of a CA that is believed.

use super::section::Section;
use crate::tls::ServerTrust;

/// Reads such a file: its text, and the trust in its certificates. A file without any would be trust in nobody.
pub(super) fn read_ca_file(section: &mut Section<'_, '_>, key: &'static str) -> Option<(Vec<u8>, ServerTrust)> {
    let line = section.line_of(key);
    let (path, pem) = section.file(key)?;
    match ServerTrust::from_pem(&pem, &path.to_string_lossy()) {
        Ok(trust) => Some((pem, trust)),
        Err(error) => {
            section.problem(key, line, error.to_string(), "name a PEM file with the CA's certificate");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MapEnvironment, Problem, load_server};
    use crate::crypto::Random;
    use crate::tls::DoorCa;
    use std::fs;
    use time::OffsetDateTime;

    fn problems_with(ca_file: &str) -> Vec<Problem> {
        let folder = tempfile::tempdir().unwrap();
        let (file, ca) = (folder.path().join("server.toml"), folder.path().join("ca.pem"));
        fs::write(&ca, ca_file).unwrap();
        let text = "trust_domain = \"ci.example.org\"\ndata_dir = \"data\"\n[[issuer]]\nname = \"corp\"\n\
                    url = \"https://gitlab.example\"\naudience = \"https://lanyard.example\"\nca_file = \"ca.pem\"\n";
        fs::write(&file, text).unwrap();
        let problems = load_server(&file, &MapEnvironment::default()).unwrap_err();
        // The first is that there is no policy.
        problems.into_iter().skip(1).collect()
    }

    #[test]
    fn a_ca_file_without_a_certificate_does_not_load() {
        let ca = DoorCa::make(&Random::system(), OffsetDateTime::UNIX_EPOCH).unwrap();
        assert!(problems_with(&ca.to_pem()).is_empty());
        let broken = ca.to_pem().replacen("-----END", "-----ENDE", 1);
        for without in ["", "the certificate comes later\n", &ca.key_to_pem(), &broken] {
            let problems = problems_with(without);
            let [problem] = problems.as_slice() else { panic!("{problems:?}") };
            assert_eq!((problem.line, problem.key.as_str()), (Some(7), "issuer[0].ca_file"), "{problem:?}");
            assert!(problem.remedy.contains("PEM file"), "{problem:?}");
        }
    }
}

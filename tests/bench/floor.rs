//! F, the floor: the cryptography that one exchange cannot do without, by the library alone.
//!
//! RS256 verify with the key parsed once, P-256 verify of a certificate request (whose key is new each time, so it is
//! parsed), P-256 sign. The messages are as long as real ones, since they are hashed.

use crate::callers::{csr, now, p256};
use crate::issuer::FakeIssuer;
use crate::processor_time_of;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    UnparsedPublicKey,
};
use lanyard::crypto::{KeyAlgorithm, KeyPair};
use std::hint::black_box;
use std::thread;
use std::time::Duration;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

/// About a tenth of a second.
const TURNS: u32 = 2000;
/// What a leaf's to-be-signed part has.
const LEAF_BYTES: usize = 480;

pub(crate) struct Floor {
    issuer: ParsedPublicKey,
    token: (Vec<u8>, Vec<u8>),
    csr_key: Vec<u8>,
    csr: (Vec<u8>, Vec<u8>),
    signer: EcdsaKeyPair,
}

impl Floor {
    pub(crate) fn new() -> Self {
        let issuer = KeyPair::generate(KeyAlgorithm::Rsa).unwrap();
        let token = FakeIssuer::new().token(now());
        let message = token.rsplit_once('.').unwrap().0.as_bytes().to_vec();
        let signature = issuer.sign_jws(&message).unwrap();
        let der = csr(&p256());
        let (_rest, request) = X509CertificationRequest::from_der(&der).unwrap();
        let info = &request.certification_request_info;
        Self {
            issuer: ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, issuer.public().spki_der()).unwrap(),
            token: (message, signature),
            csr_key: info.subject_pki.subject_public_key.data.to_vec(),
            csr: (info.raw.to_vec(), request.signature_value.data.to_vec()),
            signer: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap(),
        }
    }

    /// F while every core computes it, on each: what holds for a server that, with its callers, keeps all of them at work. A core
    /// whose neighbours rest is faster.
    pub(crate) fn measure_on_all_cores(&self) -> Duration {
        let cores = thread::available_parallelism().unwrap().get();
        let all: Duration = thread::scope(|scope| {
            let begun: Vec<_> = (0..cores).map(|_| scope.spawn(|| self.measure())).collect();
            begun.into_iter().map(|core| core.join().unwrap()).sum()
        });
        all / u32::try_from(cores).unwrap()
    }

    /// F on one core, now.
    pub(crate) fn measure(&self) -> Duration {
        let (leaf, random) = ([7; LEAF_BYTES], SystemRandom::new());
        processor_time_of(TURNS, || {
            for _ in 0..TURNS {
                self.issuer.verify_sig(black_box(&self.token.0), &self.token.1).unwrap();
                let csr_key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, black_box(&self.csr_key));
                csr_key.verify(&self.csr.0, &self.csr.1).unwrap();
                black_box(self.signer.sign(&random, black_box(&leaf)).unwrap());
            }
        })
    }
}

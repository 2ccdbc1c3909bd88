//! What a credential looks like, by the SPIFFE standards: the request for one, its layout, and reading it back.
//!
//! ```text
//!   csr: a key and the proof of it        x509, jwt, crl: fields to be signed, laid out
//!                                         inspect: signed bytes back into facts, trusting nobody
//!                                         compact: a JWS taken apart, nothing believed
//!                                         validate, jwt: what others made, by the standard
//!                                         aws_session: what a JWT-SVID tells AWS beside its subject
//! ```
//! Not here: which key signs (`authority`), who may have one (`policy`).

mod der;
mod serial;
mod profile;
mod build_claims;
mod csr;
mod x509;
mod compact;
mod jwt;
mod aws_session;
mod inspect;
mod authority_facts;
mod authority_path;
mod crl;
mod crl_issuer;
mod validate;

pub use authority_facts::{AuthorityFacts, AuthorityRights, inspect_authority};
pub use aws_session::{AwsSession, AwsSessionError, is_session_name};
pub use build_claims::{BuildClaim, BuildClaimError, BuildClaims};
pub use compact::CompactError;
pub use crl::{CrlFields, RevokedBecause, RevokedCertificate};
pub use crl_issuer::crl_issuer;
pub use csr::{CsrError, ProvenKey};
pub use inspect::{CertificateFacts, InspectError, JwtFacts, inspect_certificate, inspect_jwt};
pub use jwt::{JwtFields, JwtSvidError, RESERVED_CLAIMS, validate_jwt_svid};
pub use profile::{DnsNames, DnsSan, DnsSuffix, DnsSuffixError, LeafProfile, SanOrder, Subject, SubjectForm};
pub use serial::Serial;
pub use validate::{X509SvidError, validate_x509_svid};
pub use x509::{AuthorityFields, LayoutError, LeafFields, LeafSigner};

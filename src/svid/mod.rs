//! What a credential looks like, by the SPIFFE standards: the request for one, its layout, and reading it back.
//!
//! ```text
//!   csr: a key and the proof of it        x509, jwt: fields to be signed, laid out
//!                                         inspect: signed bytes back into facts, trusting nobody
//!                                         compact: a JWS taken apart, nothing believed
//! ```
//! Not here: which key signs (`authority`), who may have one (`policy`).

mod csr;
mod x509;
mod compact;
mod jwt;
mod inspect;
mod authority_facts;

pub use authority_facts::{AuthorityFacts, inspect_authority};
pub use compact::CompactError;
pub use csr::{CsrError, ProvenKey};
pub use inspect::{CertificateFacts, InspectError, JwtFacts, inspect_certificate, inspect_jwt};
pub use jwt::{JwtFields, JwtSvidError, validate_jwt_svid};
pub use x509::{AuthorityFields, LayoutError, LeafFields, LeafSigner, Serial, Subject};

//! The only room that names the signing and hashing library (aws-lc-rs).
//!
//! ```text
//!   random      public_key ◀── key_pair          seal: private keys at rest
//!                   │
//!                   └─▶ fingerprint: digests that name keys and records ◀── shared_secret
//! ```
//! Not here: what a certificate or a token says (`svid`), who may use a key (`authority`).

mod fingerprint;
mod jwt_provider;
mod provider;
mod pem;
mod random;
mod jws;
mod public_key;
mod key_pair;
mod hand;
mod foreign_key;
mod seal;
mod sealing;
mod secret_file;
mod shared_secret;

pub(crate) use fingerprint::write_hex;
pub use fingerprint::{Digest, Digester, KeyId, NotADigest};
pub use foreign_key::ForeignKeyPair;
pub use hand::{Elsewhere, Hand};
pub use jws::JwsAlgorithm;
pub use key_pair::{KeyPair, asn1_of};
pub use pem::{PemLabel, is_encrypted};
pub use provider::install_providers;
pub use public_key::{CryptoError, KeyAlgorithm, PublicKey, PublicNumbers};
pub use random::Random;
pub use seal::{SealContext, SealError, SealedKey, SealingKey, SealingKeyName};
pub use sealing::{Sealing, Unsealed};
pub use secret_file::{SecretFileError, check_secret_file, read_secret_file};
pub use shared_secret::SharedSecret;

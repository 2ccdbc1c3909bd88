//! Certificates of the real road, and checkpoints of its journal, before judges that know nothing of Lanyard: openssl, Go, rustls-webpki and Java.
//!
//! One table says what was asked for (`leaves`), one how chains may be torn (`chains`), one what the standard's vectors
//! demand (`vectors`); every judge hears every case. `tests/run` builds Go's judge and installs Java; without them
//! these tests fail, since nothing else can stand in.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a judge that cannot be heard, or a certificate that cannot be made, ends the test"
)]

#[path = "../support/mod.rs"]
mod support;

mod chains;
mod checkpoints;
mod crls;
mod judge;
mod leaves;
mod made;
mod openssl;
mod published;
mod recipe;
mod templates;
mod upstream;
mod vectors;

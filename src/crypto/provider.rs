//! One cryptography library for every TLS connection and every token of the process.

/// Makes aws-lc-rs the library of whatever TLS code asks for the process's default, such as an HTTP client's, and
/// gives the JWT library verifiers whose keys are parsed once.
pub fn install_providers() {
    // An error means that one is installed already, and only this one is ever built in.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    super::jwt_provider::install();
}

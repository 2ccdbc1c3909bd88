//! How a service takes one who calls it with an SVID.

use crate::client::{Client, Refused, Svid};
use crate::dialogue::Dialogue;
use rustls::version::TLS13;
use std::path::Path;

/// What becomes of a caller.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    Allowed,
    /// Known, and not the one.
    Forbidden,
    /// Not known: no connection, or nothing over it.
    Unverified,
}

/// A caller's way to say that it is known and not wanted: HTTP's, and PostgreSQL's.
const FORBIDDEN: [&str; 2] = [" 403", "certificate authentication failed"];
/// An alert, or nginx's answer in place of one.
const UNVERIFIED: [&str; 2] = ["alert", " 400"];

pub(crate) fn verdict(svid: &Svid, bundle: &Path, port: u16, dialogue: Dialogue) -> Verdict {
    let Err(Refused { why }) = Client::new(svid, bundle, &TLS13).visit(port, dialogue) else { return Verdict::Allowed };
    if FORBIDDEN.iter().any(|said| why.contains(said)) {
        return Verdict::Forbidden;
    }
    assert!(UNVERIFIED.iter().any(|said| why.contains(said)), "{why}");
    Verdict::Unverified
}

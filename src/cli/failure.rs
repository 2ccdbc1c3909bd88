//! Which exit code a failure has.

use super::remote::RemoteError;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// What was typed cannot be meant: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct WrongUsage(String);

impl WrongUsage {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// Nobody answers there: exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("{what} is not reachable at {place}: {why}")]
pub(super) struct NotReachable {
    /// What was asked for.
    pub(super) what: &'static str,
    /// Where.
    pub(super) place: String,
    /// Why, and what may help.
    pub(super) why: String,
}

impl NotReachable {
    /// A socket that only an agent opens.
    pub(super) fn agent(what: &'static str, place: impl Into<String>, error: &io::Error) -> Self {
        Self { what, place: place.into(), why: format!("{}. Is an agent running?", plain(error)) }
    }
}

/// Something answers there, but nothing that we can talk to: exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("nothing at {place} speaks {what}")]
pub(super) struct WrongSocket {
    /// Where.
    pub(super) place: String,
    /// What was to be spoken there.
    pub(super) what: &'static str,
}

/// What the system says of a file or a socket, without its number.
pub(super) fn plain(error: &io::Error) -> String {
    use io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
    let ours = [(NotFound, "no such file"), (ConnectionRefused, "nobody listens"), (PermissionDenied, "no permission")];
    if let Some((_, words)) = ours.iter().find(|(kind, _)| *kind == error.kind()) {
        return (*words).to_owned();
    }
    let words = error.to_string();
    words.split_once(" (os error").map_or(words.as_str(), |(words, _number)| words).to_owned()
}

/// A file that was named and is of no use, in one line.
pub(super) fn unreadable(file: &Path) -> impl FnOnce(io::Error) -> anyhow::Error {
    move |error| anyhow::anyhow!("{} cannot be read: {}", file.display(), plain(&error))
}

/// The exit code of a failure.
pub(super) fn exit_code(error: &anyhow::Error) -> ExitCode {
    let is = |code| ExitCode::from(code);
    for cause in error.chain() {
        let remote = cause.downcast_ref::<RemoteError>();
        if cause.is::<WrongUsage>() || remote.is_some_and(RemoteError::is_wrong_usage) {
            return is(2);
        }
        let silent = remote.is_some_and(RemoteError::is_unreachable);
        if silent || cause.is::<NotReachable>() || cause.is::<WrongSocket>() {
            return is(3);
        }
    }
    ExitCode::FAILURE
}

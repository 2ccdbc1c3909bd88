//! Why an operator does something, in words that the journal repeats and other operators' terminals show.

use crate::api::refused::{Class, Refused};
use crate::issuance::RequestId;
use tonic::Status;

/// A sentence or two; the end of each session repeats it.
const CHARS_MAX: usize = 500;

/// The reason without space around it; nothing where none was given.
pub(super) fn read<'a>(reason: &'a str, id: &RequestId) -> Result<&'a str, Status> {
    let reason = reason.trim();
    let no = |code, detail: &'static str| Err(Refused::new(Class::Malformed, code, detail, id).into_status());
    if reason.chars().any(char::is_control) {
        return no("reason_malformed", "write the reason on one line, as plain text");
    }
    if reason.chars().count() > CHARS_MAX {
        return no("reason_too_long", "say it in 500 characters: each end repeats it");
    }
    Ok(reason)
}

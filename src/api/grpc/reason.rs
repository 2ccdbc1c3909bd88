//! Why an operator does something, in words that the journal repeats and other operators' terminals show.

use crate::api::refused::{Class, Refused};
use crate::issuance::RequestId;
use tonic::Status;

/// A sentence or two; the end of each session repeats it.
const CHARS_MAX: usize = 500;

/// A reason, which must be one.
pub(super) fn given<'a>(reason: &'a str, id: &RequestId) -> Result<&'a str, Status> {
    match read(reason, id)? {
        "" => malformed("reason_missing", "say why: the reason stands in the journal", id),
        reason => Ok(reason),
    }
}

/// The reason without space around it; nothing where none was given.
pub(super) fn read<'a>(reason: &'a str, id: &RequestId) -> Result<&'a str, Status> {
    let reason = reason.trim();
    if reason.chars().any(char::is_control) {
        return malformed("reason_malformed", "write the reason on one line, as plain text", id);
    }
    if reason.chars().count() > CHARS_MAX {
        return malformed("reason_too_long", "say it in 500 characters: each end repeats it", id);
    }
    Ok(reason)
}

fn malformed<T>(code: &'static str, detail: &'static str, id: &RequestId) -> Result<T, Status> {
    Err(Refused::new(Class::Malformed, code, detail, id).into_status())
}

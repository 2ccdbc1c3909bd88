//! A time as people, logs and errors read it.

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// RFC 3339, whole seconds, UTC.
pub fn rfc3339(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_else(|_odd| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_time_is_written_in_whole_seconds_of_utc() {
        assert_eq!(rfc3339(datetime!(2026-11-21 06:30:00.25 +1)), "2026-11-21T05:30:00Z");
    }
}

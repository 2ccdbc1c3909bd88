//! `[crl]`: whether revocation lists are made, and for how long they are good.

use super::quantity::{SPAN_MAX, render_duration};
use super::section::Section;
use crate::session::CrlPlan;
use std::time::Duration;

/// Nobody fetches faster; tests with real consumers go as low as this.
const LIFETIME_MIN: Duration = Duration::from_secs(10);
/// Below this an outage that no SVID feels makes consumers refuse everybody.
const LIFETIME_WARNED_BELOW: Duration = Duration::from_secs(3600);

/// The section switches them on, even an empty one.
pub(super) fn read_crl(root: &mut Section<'_, '_>) -> Option<CrlPlan> {
    if !root.holds("crl") {
        root.skip("crl");
        return None;
    }
    let mut crl = root.section("crl");
    let line = crl.line_of("lifetime");
    let lifetime = crl.duration("lifetime", SPAN_MAX).unwrap_or(CrlPlan::LIFETIME);
    let found = format!("\"{}\"", render_duration(lifetime));
    if lifetime < LIFETIME_MIN {
        let remedy = format!("write at least \"{}\": lists are delivered in seconds", render_duration(LIFETIME_MIN));
        crl.problem("lifetime", line, found, remedy);
    } else if lifetime < LIFETIME_WARNED_BELOW {
        let remedy =
            "use an hour or more outside tests: when the server is away for half of it, consumers refuse everybody";
        crl.warning("lifetime", line, found, remedy);
    }
    crl.finish();
    Some(CrlPlan { lifetime })
}

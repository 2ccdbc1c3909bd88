//! How fast relying parties learn of a key: `keys.refresh_hint` and `keys.propagation`.

use super::problem::Problem;
use super::quantity::render_duration;
use super::reader::Reader;
use super::section::Section;
use crate::authority::KeyPlan;
use std::time::Duration;

/// What is asked for once a second is asked for without a pause.
const HINT_MIN: Duration = Duration::from_secs(1);
/// Whoever reads the bundle once a day meets a changed key a day late; nothing waits longer.
const SPAN_MAX: Duration = Duration::from_secs(86_400);

/// See the file's words.
pub(super) struct Spread {
    pub(super) refresh_hint: Duration,
    pub(super) propagation: Duration,
    pub(super) warnings: Vec<Problem>,
}

pub(super) fn read_spread(reader: &Reader<'_>, keys: &mut Section<'_, '_>) -> Spread {
    let KeyPlan { refresh_hint, propagation, .. } = KeyPlan::DEFAULT;
    let lines = (keys.line_of("refresh_hint"), keys.line_of("propagation"));
    let hint = keys.duration("refresh_hint", SPAN_MAX).unwrap_or(refresh_hint);
    if hint < HINT_MIN {
        let remedy = format!("write at least \"{}\"", render_duration(HINT_MIN));
        keys.problem("refresh_hint", lines.0, format!("\"{}\"", render_duration(hint)), remedy);
    }
    let wait = keys.duration("propagation", SPAN_MAX).unwrap_or(propagation);
    let warning = || {
        let found = format!("\"{}\"", render_duration(wait));
        let remedy = "go below half an hour only where every relying party is an agent's or a [[holder]]: a mesh takes as \
                      long to reload, and what it lacks it refuses";
        reader.problem_at(lines.1, "keys.propagation", found, remedy)
    };
    let warnings = (wait < propagation).then(warning).into_iter().collect();
    Spread { refresh_hint: hint.max(HINT_MIN), propagation: wait, warnings }
}

//! What will go wrong with another trust domain's bundle if nobody does anything, told while there is time: a pure function of
//! its standing and the time.

use super::Relation;
use super::schedule::Pace;
use time::{Duration, OffsetDateTime};

/// Long enough for two operators to find each other.
const ENDS_WITHIN: Duration = Duration::days(30);
/// So many turns without an answer are no accident.
const TURNS: u32 = 3;

impl Relation {
    /// The most urgent.
    pub fn warning(&self, now: OffsetDateTime) -> Option<String> {
        self.end_told(now).or_else(|| self.silence_told(now)).or_else(|| self.shared.clone())
    }

    fn end_told(&self, now: OffsetDateTime) -> Option<String> {
        let ends_at = self.kept.as_ref()?.foreign.bundle.authorities_end_at()?;
        let left = ends_at - now;
        match left.whole_days() {
            _ if left <= Duration::ZERO => {
                Some("its last root has ended: nobody of it is believed any more".to_owned())
            }
            days if left < ENDS_WITHIN => {
                let days = if days == 0 { "less than a day".to_owned() } else { format!("{days} days") };
                Some(format!("its last root ends in {days}: its operator must publish the next"))
            }
            _ => None,
        }
    }

    /// An endpoint that has not shown what is held for several of its turns may have changed its keys meanwhile.
    fn silence_told(&self, now: OffsetDateTime) -> Option<String> {
        let kept = self.kept.as_ref().filter(|_| self.source.endpoint().is_some())?;
        let turn = Pace { hint: kept.foreign.bundle.refresh_hint, is_heard: true, failures: 0 }.wait();
        let silent = now - self.confirmed_at?;
        (silent > turn * TURNS).then(|| {
            format!("it was not seen for {} min: what its operator changes is not known here", silent.whole_minutes())
        })
    }
}

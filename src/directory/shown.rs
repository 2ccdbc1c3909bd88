//! How often our password was shown, and whether it may be shown again: each wrong one counts towards locking our own account, also
//! where the answer did not come back. Pure: `now` is an argument.

use crate::stamp::Stamp;
use std::time::Duration;
use time::OffsetDateTime;

/// A password that was refused is not shown again before its file changes, or this long has passed: what counts towards a lockout is
/// forgotten after half an hour in most domains.
const REFUSED_FOR: Duration = Duration::from_secs(1800);
/// So many times in a row it is shown without an answer. With one more each rest, that is four in half an hour, below the five after
/// which domains lock.
const UNANSWERED_MAX: u32 = 2;
/// Then it rests so long.
const REST: Duration = Duration::from_secs(600);
/// Or this long, where it was right when it was answered last: then it is the server that is ill, not the password.
const REST_OF_RIGHT: Duration = Duration::from_secs(60);

/// Why it is not shown now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Held {
    /// It was wrong.
    #[error("was refused, and is not tried again before the file changes or half an hour has passed")]
    Refused,
    /// Nobody knows whether it is right.
    #[error(
        "was shown {0} times and never answered, and is not tried again before the file changes or some minutes have passed"
    )]
    Unanswered(u32),
}

/// The password in a file as it is now, and what came of showing it.
#[derive(Debug, Default)]
pub(super) struct Shown {
    file: Option<Stamp>,
    at: Option<OffsetDateTime>,
    /// How many times in a row without an answer.
    unanswered: u32,
    said: Said,
}

/// What was said when it was answered last.
#[derive(Debug, Default, Eq, PartialEq)]
enum Said {
    #[default]
    Nothing,
    Right,
    Wrong,
}

impl Shown {
    /// It is about to be shown, which counts as unanswered until it is answered.
    pub(super) fn begin(&mut self, file: Stamp, now: OffsetDateTime) -> Result<(), Held> {
        if self.file.as_ref() != Some(&file) {
            *self = Self { file: Some(file), ..Self::default() };
        }
        if let Some(held) = self.held(now) {
            return Err(held);
        }
        self.at = Some(now);
        self.unanswered = self.unanswered.saturating_add(1);
        Ok(())
    }

    /// It is right.
    pub(super) fn let_in(&mut self) {
        (self.said, self.unanswered) = (Said::Right, 0);
    }

    /// It is wrong.
    pub(super) fn refused(&mut self, now: OffsetDateTime) {
        (self.said, self.unanswered, self.at) = (Said::Wrong, 0, Some(now));
    }

    /// There was an answer, of something else.
    pub(super) const fn answered(&mut self) {
        self.unanswered = 0;
    }

    fn held(&self, now: OffsetDateTime) -> Option<Held> {
        let (held, rest) = match (&self.said, self.unanswered) {
            (Said::Wrong, _) => (Held::Refused, REFUSED_FOR),
            (Said::Right, times) if times >= UNANSWERED_MAX => (Held::Unanswered(times), REST_OF_RIGHT),
            (Said::Nothing, times) if times >= UNANSWERED_MAX => (Held::Unanswered(times), REST),
            (Said::Nothing | Said::Right, _) => return None,
        };
        // A clock that was put back holds nothing for longer.
        self.at.is_some_and(|at| at <= now && now - at < rest).then_some(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn after(seconds: u64) -> OffsetDateTime {
        START + Duration::from_secs(seconds)
    }

    fn file(folder: &Path, text: &str) -> Stamp {
        let path = folder.join("password");
        fs::write(&path, text).unwrap();
        Stamp::of(&path)
    }

    #[test]
    fn a_password_that_nobody_answers_is_shown_less_often_than_domains_lock() {
        let folder = tempfile::tempdir().unwrap();
        let stamp = || Stamp::of(&folder.path().join("password"));
        for (was_right, most) in [(false, 4), (true, 31)] {
            file(folder.path(), if was_right { "right" } else { "nobody knows" });
            let mut shown = Shown::default();
            if was_right {
                shown.begin(stamp(), START).unwrap();
                shown.let_in();
            }
            let times = (1..1800).filter(|second| shown.begin(stamp(), after(*second)).is_ok()).count();
            assert_eq!(times, most, "in half an hour; was right before: {was_right}");
            assert!(matches!(shown.begin(stamp(), after(1800)), Err(Held::Unanswered(_))));
            file(folder.path(), "another one that is longer");
            shown.begin(stamp(), after(1800)).unwrap();
        }
    }

    #[test]
    fn any_answer_counts_as_one_and_a_wrong_password_rests_for_half_an_hour() {
        let folder = tempfile::tempdir().unwrap();
        let stamp = file(folder.path(), "a password");
        let mut shown = Shown::default();
        for second in 0..9 {
            shown.begin(stamp.clone(), after(second)).unwrap();
            shown.answered();
        }
        shown.begin(stamp.clone(), after(9)).unwrap();
        shown.refused(after(10));
        assert_eq!(shown.begin(stamp.clone(), after(10 + 1799)), Err(Held::Refused));
        assert_eq!(shown.begin(stamp.clone(), after(5)), Ok(()), "a clock that was put back");
        let mut shown = Shown { said: Said::Wrong, at: Some(START), file: Some(stamp.clone()), unanswered: 0 };
        shown.begin(stamp, after(1800)).unwrap();
    }
}

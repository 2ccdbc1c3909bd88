//! For how long the keys of another trust domain's JWT-SVIDs open sessions here while its source does not show them: a pure
//! function of its standing and the time.

use super::{Relation, Source};
use time::{Duration, OffsetDateTime};

/// As with any other issuer (`discovery`): a day's outage stops nobody, and a key that was withdrawn after a theft does not live
/// here for as long as its thief can keep us from hearing of that.
const WITHOUT_SIGHT: Duration = Duration::hours(24);

impl Relation {
    /// Since when nobody has seen its source show what is held, where that is too long. What lies on this machine, and what an
    /// operator brought, is their word until they take it back.
    pub fn unseen_since(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        match self.source {
            Source::ConfigMap(_) | Source::Endpoint(_) => {}
            Source::File { .. } | Source::Operator => return None,
        }
        let seen_at = match self.confirmed_at {
            Some(confirmed_at) => confirmed_at,
            // The first look since the start has not ended.
            None if self.failures == 0 => return None,
            None => self.kept.as_ref()?.since,
        };
        (now - seen_at > WITHOUT_SIGHT).then_some(seen_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Bundle;
    use crate::federation::{ConfigMapKey, Kept};
    use crate::identity::TrustDomain;
    use std::path::PathBuf;
    use std::sync::Arc;

    const TAKEN: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn relation(source: Source) -> Relation {
        let bundle = Bundle::parse(TrustDomain::parse("mesh.test").unwrap(), b"{\"keys\":[]}").unwrap();
        let kept = Kept { foreign: Arc::new(bundle.into()), source: source.clone(), since: TAKEN, by: None };
        Relation { kept: Some(kept), ..Relation::expected(source, None) }
    }

    fn followed() -> Relation {
        let [namespace, name, key] = ["a", "b", "c"].map(str::to_owned);
        relation(Source::ConfigMap(ConfigMapKey { namespace, name, key, kubeconfig: None }))
    }

    #[test]
    fn a_source_that_is_followed_must_have_been_seen_within_a_day() {
        let seen = OffsetDateTime::UNIX_EPOCH + Duration::hours(100);
        let unseen = |relation: &Relation, after: Duration| relation.unseen_since(seen + after);
        let heard = Relation { confirmed_at: Some(seen), failures: 9, ..followed() };
        assert_eq!(unseen(&heard, Duration::hours(24)), None);
        assert_eq!(unseen(&heard, Duration::hours(24) + Duration::SECOND), Some(seen));
        assert_eq!(unseen(&heard, Duration::hours(-30)), None, "a clock that was put back");
        assert_eq!(unseen(&followed(), Duration::hours(900)), None, "before the first look has ended");
        let failed = Relation { failures: 1, ..followed() };
        assert_eq!(unseen(&failed, Duration::ZERO), Some(TAKEN), "after a restart what was taken counts");
        assert_eq!(unseen(&failed, Duration::hours(-76)), None);
        for source in [Source::Operator, Source::File { path: PathBuf::new() }] {
            let here = Relation { failures: 9, ..relation(source) };
            assert_eq!(unseen(&here, Duration::hours(900)), None);
        }
    }
}

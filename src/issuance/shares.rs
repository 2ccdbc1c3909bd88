//! How many requests of one issuer, and of one namespace, are on the road at once: known only after a token is verified.
//!
//! **Why**: the doors bound what addresses hold, but a genuine token may come from anywhere. A namespace in a storm waits
//! in line with itself and leaves the rest of the road to others. Who only asks for an explanation is counted too.

use super::Refusal;
use crate::token::{Claims, IssuerName};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Three quarters of what the doors let in at once. With five milliseconds a request that is 150,000 a second.
const OF_ONE_ISSUER_MAX: usize = 768;
/// Half of it; a company whose projects all stand below one group has no need of more.
const OF_ONE_NAMESPACE_MAX: usize = 512;

/// Who is on the road; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Shares(Arc<Mutex<BTreeMap<Of, usize>>>);

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Of {
    Issuer(IssuerName),
    Namespace(IssuerName, String),
}

/// One request's place on the road; dropping it frees it.
#[derive(Debug)]
pub(super) struct OnRoad {
    shares: Shares,
    of: [Of; 2],
}

impl Shares {
    /// A place for a request of this bearer.
    ///
    /// # Errors
    /// `TooMany` when its issuer or namespace has its share already.
    pub(super) fn enter(&self, claims: &Claims) -> Result<OnRoad, Refusal> {
        let (issuer, namespace) = (claims.issuer.clone(), claims.top_level_namespace().to_lowercase());
        let of = [Of::Namespace(issuer.clone(), namespace), Of::Issuer(issuer)];
        let mut taken = self.taken();
        if of.iter().any(|of| taken.get(of).is_some_and(|taken| *taken >= of.max())) {
            return Err(Refusal::TooMany);
        }
        for of in &of {
            *taken.entry(of.clone()).or_default() += 1;
        }
        drop(taken);
        Ok(OnRoad { shares: self.clone(), of })
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<Of, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Of {
    const fn max(&self) -> usize {
        match self {
            Self::Issuer(_) => OF_ONE_ISSUER_MAX,
            Self::Namespace(..) => OF_ONE_NAMESPACE_MAX,
        }
    }
}

impl Drop for OnRoad {
    fn drop(&mut self) {
        let mut taken = self.shares.taken();
        for of in &self.of {
            match taken.get_mut(of) {
                Some(here) if *here > 1 => *here -= 1,
                _ => drop(taken.remove(of)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claims(issuer: &str, project_path: &str) -> Claims {
        let payload = json!({
            "iss": "https://gitlab.example.com", "jti": "j", "sub": format!("project_path:{project_path}:ref_type:branch:ref:main"),
            "project_id": "1", "project_path": project_path, "namespace_id": "2", "pipeline_id": "3", "job_id": "4",
            "pipeline_source": "push", "job_project_id": "1",
        });
        Claims::unproven(payload.to_string().as_bytes(), IssuerName(issuer.into())).unwrap()
    }

    #[test]
    fn a_namespace_and_an_issuer_in_a_storm_leave_room_for_others() {
        let shares = Shares::default();
        let enter = |issuer: &str, path: &str| shares.enter(&claims(issuer, path));
        let mut storm: Vec<_> = (0..OF_ONE_NAMESPACE_MAX).map(|_| enter("corp", "acme/api").unwrap()).collect();
        assert!(matches!(enter("corp", "Acme/other"), Err(Refusal::TooMany)), "GitLab compares names without case");
        storm.extend((OF_ONE_NAMESPACE_MAX..OF_ONE_ISSUER_MAX).map(|_| enter("corp", "board/api").unwrap()));
        assert!(matches!(enter("corp", "board/api"), Err(Refusal::TooMany)));
        assert!(enter("other", "acme/api").is_ok());
        storm.pop();
        assert!(enter("corp", "board/api").is_ok());
        drop(storm);
        assert!(shares.taken().is_empty(), "nothing is kept of whoever has gone");
    }
}

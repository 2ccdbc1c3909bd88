//! Requests as the journal tells them: who asked for what, and what was said, so that it can be asked again.
//!
//! Renewals are left out: they repeat what their session was granted. The claims of a grant stand in the session that it
//! opened, those of a refusal in its entry; a grant without a session, and refusals of older versions, left none.

use super::record::{Record, SESSION_PREFIX};
use crate::audit::{Asked, Job, Received};
use crate::crypto::Digest;
use crate::identity::TrustDomain;
use crate::people::{People, SEALED};
use crate::policy::{Answers, Wish};
use crate::store;
use crate::token::Claims;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use time::OffsetDateTime;

/// A request of the past.
#[derive(Clone, Debug)]
pub struct PastRequest {
    /// Its name.
    pub id: String,
    /// Who asked.
    pub job: Job,
    /// What was said.
    pub then: Then,
    /// What was asked; none where the journal does not hold it.
    pub asked: Option<PastAsked>,
    /// The policy that decided; none in a refusal of an older version.
    pub policy: Option<Digest>,
}

/// What was said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Then {
    /// Yes.
    Granted {
        /// By which rule.
        rule: String,
        /// The identity.
        spiffe_id: String,
    },
    /// No.
    Refused {
        /// The stable code.
        code: String,
    },
}

/// What was asked.
#[derive(Clone, Debug)]
pub struct PastAsked {
    /// By whom.
    pub claims: Claims,
    /// What other systems said of it.
    pub facts: Answers,
    /// What for.
    pub wish: Wish,
    /// Claims that the token had and that are not kept.
    pub withheld: Vec<String>,
    /// Where.
    pub trust_domain: TrustDomain,
}

/// Reads records, oldest first. Holds the sessions that are not swept yet, as the server's index does.
#[derive(Debug, Default)]
pub struct PastRequests {
    people: People,
    sessions: HashMap<String, Remembered>,
    since: Option<OffsetDateTime>,
    trust_domain: Option<TrustDomain>,
}

#[derive(Debug)]
struct Remembered {
    claims: Claims,
    /// Whether its person is erased, or the keys are not here.
    erased: bool,
    profiles: Vec<(String, String)>,
    asked: BTreeSet<String>,
}

impl PastRequests {
    /// Those since a time, or all; of persons whose keys are here all is known.
    pub fn since(since: Option<OffsetDateTime>, people: People) -> Self {
        Self { people, since, ..Self::default() }
    }

    /// The request that a record tells of, if it does and it is no renewal.
    pub fn read(&mut self, record: &store::Record) -> Option<PastRequest> {
        let record = &record.clone().unfolded().ok()?;
        self.remember(record);
        let mut entry: Received = serde_json::from_str(record.entry.get()).ok()?;
        let text = |entry: &Received, name: &str| entry.more.get(name).and_then(Value::as_str).map(str::to_owned);
        match entry.kind.as_str() {
            "started" => {
                self.trust_domain = text(&entry, "trust_domain").and_then(|name| TrustDomain::parse(&name).ok());
            }
            "intent" | "refused" if self.since.is_some_and(|since| record.at < since) => {}
            "intent" => {
                let then = Then::Granted { rule: text(&entry, "rule")?, spiffe_id: text(&entry, "spiffe_id")? };
                let seen = text(&entry, "session").map(|session| self.granted(&session, &entry));
                let asked = match seen {
                    Some(Seen::Again) => return None,
                    Some(Seen::First(asked)) => asked.map(|asked| *asked),
                    None => None,
                };
                let policy = policy_of(&entry);
                return Some(PastRequest { id: entry.request_id?, job: entry.job?, then, asked, policy });
            }
            "refused" => {
                let then = Then::Refused { code: text(&entry, "code")? };
                let facts = entry.facts.take().unwrap_or_default();
                let asked = entry.more.remove("asked").and_then(|asked| self.refused(&asked, facts));
                let policy = policy_of(&entry);
                return Some(PastRequest { id: entry.request_id?, job: entry.job?, then, asked, policy });
            }
            _ => {}
        }
        None
    }

    fn remember(&mut self, record: &store::Record) {
        for (key, value) in &record.put {
            let Some(id) = key.strip_prefix(SESSION_PREFIX) else { continue };
            let Ok(session) = serde_json::from_str::<Record<'_>>(value.get()) else { continue };
            let profiles = session.ids.iter().map(|(profile, id)| (profile.to_string(), id.to_string())).collect();
            let asked = self.sessions.remove(id).map(|known| known.asked).unwrap_or_default();
            let mut claims = session.claims.into_owned();
            let erased = !self.people.put_back(&mut claims, session.person.as_ref());
            self.sessions.insert(id.to_owned(), Remembered { claims, erased, profiles, asked });
        }
        for key in &record.delete {
            if let Some(id) = key.strip_prefix(SESSION_PREFIX) {
                self.sessions.remove(id);
            }
        }
    }

    fn granted(&mut self, session: &str, entry: &Received) -> Seen {
        let Some(known) = self.sessions.get_mut(session) else { return Seen::First(None) };
        let Some((wish, trust_domain)) = wish(known, entry) else { return Seen::First(None) };
        if !known.asked.insert(format!("{wish:?}")) {
            return Seen::Again;
        }
        let claims = known.claims.clone();
        let facts = entry.facts.clone().unwrap_or_default();
        let withheld = if known.erased { SEALED.map(str::to_owned).to_vec() } else { Vec::new() };
        Seen::First(Some(Box::new(PastAsked { claims, facts, wish, withheld, trust_domain })))
    }

    fn refused(&self, asked: &Value, facts: Answers) -> Option<PastAsked> {
        let asked = Asked::read(asked)?.opened(&self.people);
        let (claims, wish) = (asked.claims?.into_owned(), asked.wish?.into_owned());
        let withheld = asked.withheld.into_iter().map(Cow::into_owned).collect();
        Some(PastAsked { claims, facts, wish, withheld, trust_domain: self.trust_domain.clone()? })
    }
}

fn policy_of(entry: &Received) -> Option<Digest> {
    entry.more.get("policy").and_then(Value::as_str)?.parse().ok()
}

/// Whether a session asked the same before; what it asked, where its claims are known.
enum Seen {
    Again,
    First(Option<Box<PastAsked>>),
}

/// What an intent's session had asked for, read back from what it was given.
fn wish(known: &Remembered, entry: &Received) -> Option<(Wish, TrustDomain)> {
    let (svid, id) = (entry.more.get("svid")?, entry.more.get("spiffe_id")?.as_str()?);
    let profile = known.profiles.iter().find(|(_, own)| own == id).map(|(profile, _)| profile.clone());
    let profile = profile.filter(|profile| !profile.is_empty());
    let wish = if svid.get("type").is_some_and(|kind| kind == "jwt") {
        let audiences = svid.get("audience").and_then(|all| serde_json::from_value(all.clone()).ok());
        Wish::Jwt { profile, audiences: audiences?, has_key: true }
    } else {
        Wish::X509 { profile }
    };
    let trust_domain = id.strip_prefix("spiffe://").and_then(|rest| rest.split('/').next());
    Some((wish, TrustDomain::parse(trust_domain?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::Keeping;
    use crate::token::tests::claims_of;
    use serde_json::json;
    use serde_json::value::to_raw_value;
    use std::collections::BTreeMap;

    fn read(past: &mut PastRequests, entry: &Value) -> Option<PastRequest> {
        let (digest, prev) = (Digest::of(b""), Digest::of(b""));
        let (entry, at) = (to_raw_value(entry).unwrap(), OffsetDateTime::UNIX_EPOCH);
        past.read(&store::Record { position: 1, at, digest, prev, entry, put: BTreeMap::new(), delete: Vec::new() })
    }

    #[test]
    fn a_refusal_of_before_claims_were_kept_is_still_read_and_has_none() {
        let claims = claims_of("deploy_production_protected", &[]).unwrap();
        let job = json!(Job::of(&claims, &Keeping::Open));
        let mut refused = json!({
            "kind": "refused", "request_id": "r1", "code": "no_rule_matches", "why": "none", "job": job, "repeats": 0,
        });
        let mut past = PastRequests::default();
        assert!(read(&mut past, &json!({ "kind": "started", "trust_domain": "ci.example.org" })).is_none());
        let old = read(&mut past, &refused).unwrap();
        assert_eq!((old.then, old.asked.is_none()), (Then::Refused { code: "no_rule_matches".to_owned() }, true));

        refused["asked"] = json!(Asked::of(claims.claims(), &Wish::X509 { profile: None }, &Keeping::Open));
        let asked = read(&mut past, &refused).unwrap().asked.unwrap();
        assert_eq!(
            (asked.claims.project_id, asked.trust_domain.as_str()),
            (claims.claims().project_id, "ci.example.org")
        );

        let mut later =
            PastRequests::since(Some(OffsetDateTime::UNIX_EPOCH + time::Duration::SECOND), People::default());
        assert!(read(&mut later, &refused).is_none());
    }
}

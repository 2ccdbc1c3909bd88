//! What a refused bearer asked, kept so that another policy can be asked the same.
//!
//! Only known claims stand in it, without those that tell most of a person and that rules seldom read; and no more than
//! a page of text, because whoever is refused chooses how long its claims are.

use crate::people::{Keeping, People, SEALED, Sealed};
use crate::policy::Wish;
use crate::store::Version;
use crate::token::Claims;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;

/// Claims and wish of a refused request.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Asked<'a> {
    /// The form; entries of before there was one have no such object.
    v: Version<1>,
    /// What for; none where it was too long to be kept.
    pub wish: Option<Cow<'a, Wish>>,
    /// The claims; none where they were too long to be kept.
    pub claims: Option<Cow<'a, Claims>>,
    /// Those of the claims that are a person's, where they are kept apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<Sealed>,
    /// Claims that the token had and that are not kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<Cow<'static, str>>,
}

impl<'a> Asked<'a> {
    /// Four times what GitLab's claims of a usual job take, and with the folding of refusals at most some 30 MiB a minute.
    const BYTES_MAX: usize = 8 << 10;
    /// What tells most of a person. Who started the job stands in the entry already.
    const PERSONAL: [&'static str; 2] = ["user_email", "user_identities"];

    /// What these claims and this wish leave in the journal.
    pub fn of(claims: &'a Claims, wish: &'a Wish, keeping: &Keeping) -> Self {
        let withheld: Vec<_> =
            Self::PERSONAL.into_iter().filter(|name| claims.more.contains_key(name)).map(Cow::Borrowed).collect();
        let mut kept = Cow::Borrowed(claims);
        for name in &withheld {
            kept.to_mut().more.remove(name);
        }
        let person = keeping.take(&mut kept);
        let whole = Self { v: Version, wish: Some(Cow::Borrowed(wish)), claims: Some(kept), person, withheld };
        let fits = serde_json::to_vec(&whole).is_ok_and(|text| text.len() <= Self::BYTES_MAX);
        if fits { whole } else { Self { v: Version, wish: None, claims: None, person: None, withheld: Vec::new() } }
    }
}

impl Asked<'static> {
    /// Reads what stands in an entry; none where it is of a form that this version does not know.
    pub fn read(value: &Value) -> Option<Self> {
        serde_json::from_value(value.clone()).ok()
    }

    /// With the person's claims put back; where the person is erased, or the keys are not here, they count as not kept.
    #[must_use]
    pub fn opened(mut self, people: &People) -> Self {
        if let Some(claims) = &mut self.claims
            && !people.put_back(claims.to_mut(), self.person.take().as_ref())
        {
            self.withheld.extend(SEALED.map(Cow::Borrowed));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::tests::claims_of;
    use serde_json::json;

    fn kept_of(email: &str, reference: &str) -> Value {
        let changes = [("user_email".to_owned(), json!(email)), ("ref_path".to_owned(), json!(reference))];
        let claims = claims_of("deploy_production_protected", &changes).unwrap();
        serde_json::to_value(Asked::of(claims.claims(), &Wish::X509 { profile: None }, &Keeping::Open)).unwrap()
    }

    #[test]
    fn a_refused_request_leaves_its_claims_but_not_the_person_s_address() {
        let kept = kept_of("ada@example.com", "refs/heads/main");
        assert!(!kept.to_string().contains("ada@"), "{kept}");
        assert_eq!(kept["withheld"][0], "user_email");
        let read = Asked::read(&kept).unwrap();
        assert_eq!(read.claims.unwrap().view("ref_path").unwrap().to_string(), "refs/heads/main");
        assert_eq!(read.wish.unwrap().into_owned(), Wish::X509 { profile: None });
    }

    #[test]
    fn what_is_too_long_is_not_kept_and_what_is_of_tomorrow_not_read() {
        let claims = claims_of("deploy_production_protected", &[]).unwrap();
        let wish = Wish::Jwt { profile: None, audiences: vec!["a".repeat(9000)], has_key: true };
        let asked = Asked::of(claims.claims(), &wish, &Keeping::Open);
        assert_eq!((asked.wish, asked.claims), (None, None));
        let mut kept = kept_of("ada@example.com", "refs/heads/main");
        kept["v"] = json!(2);
        assert_eq!(Asked::read(&kept), None);
    }
}

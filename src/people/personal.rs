//! Which claims tell who somebody is, and how they are taken out of the others and put back.

use crate::token::{ClaimMap, ClaimValue, Claims, IssuerName, more_by_kind};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The claims that are a person's, beside `sub`, of which a Maintainer chooses what it is made of.
const PERSONAL: [&str; 5] = ["groups_direct", "user_email", "user_id", "user_identities", "user_login"];

/// The claims that are not known of somebody who is erased.
pub const SEALED: [&str; 6] = ["groups_direct", "sub", "user_email", "user_id", "user_identities", "user_login"];

/// Whom a person's key belongs to: an issuer's user.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub(super) struct PersonId {
    /// The issuer's configured name.
    pub(super) issuer: IssuerName,
    /// The user's id; the login where a token has no id.
    pub(super) user: String,
}

impl PersonId {
    /// Of whom the claims tell; none where they tell of nobody.
    pub(super) fn of(claims: &Claims) -> Option<Self> {
        let told = PERSONAL.iter().any(|name| claims.more.contains_key(name));
        let user = ["user_id", "user_login"].into_iter().find_map(|name| claims.view(name));
        told.then(|| Self {
            issuer: claims.issuer.clone(),
            user: user.map(|user| user.to_string()).unwrap_or_default(),
        })
    }
}

/// What was taken out of some claims.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Personal {
    #[serde(rename = "sub")]
    subject: String,
    #[serde(deserialize_with = "more_by_kind")]
    more: ClaimMap,
}

impl Personal {
    /// The personal ones of these claims.
    pub(super) fn of(claims: &Claims, is_wanted: impl Fn(&str) -> bool) -> Self {
        let wanted = PERSONAL.into_iter().filter(|name| is_wanted(name));
        let more = wanted.filter_map(|name| Some((Cow::Borrowed(name), claims.more.get(name)?.clone())));
        Self { subject: claims.subject.clone(), more: more.collect() }
    }

    /// Takes all of them out.
    pub(super) fn take(claims: &mut Claims) -> Self {
        let (subject, more) = (std::mem::take(&mut claims.subject), std::mem::take(&mut claims.more));
        let (personal, others) = more.into_iter().partition(|(name, _)| PERSONAL.contains(&&**name));
        claims.more = others;
        Self { subject, more: personal }
    }

    /// Puts them back.
    pub fn restore(self, (subject, more): (&mut String, &mut ClaimMap)) {
        *subject = self.subject;
        more.extend(self.more);
    }

    /// The user's id and login.
    pub fn user(&self) -> (Option<u64>, Option<&str>) {
        let id = match self.more.get("user_id") {
            Some(ClaimValue::Id(id)) => Some(*id),
            _ => None,
        };
        let login = match self.more.get("user_login") {
            Some(ClaimValue::Text(login)) => Some(login.as_str()),
            _ => None,
        };
        (id, login)
    }
}

//! What operators do by hand that concerns no key: who came from elsewhere, and whose account is forgotten.

use super::Person;
use crate::people::Sealed;
use serde::Serialize;

/// An account that answers for a user no more.
#[derive(Debug, Serialize)]
pub struct AccountWord<'a> {
    /// The issuer's configured name.
    pub issuer: &'a str,
    /// The user's id there, or what stands for a person who is sealed.
    pub user: &'a str,
    /// The operator.
    #[serde(flatten)]
    pub by: &'a Person,
    /// Why, in the operator's words.
    pub say: &'a str,
}

/// Somebody who operates the server from elsewhere.
#[derive(Debug, Serialize)]
pub struct Came<'a> {
    /// The provider's configured name.
    pub issuer: &'a str,
    /// The person, as the configuration names them.
    pub operator: &'a str,
    /// The token's `sub`, or the certificate's name; none where persons are sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<&'a str>,
    /// The same, sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<Sealed>,
    /// What stands in other entries where a user id does.
    pub uid: u32,
    /// The call.
    pub asked: &'a str,
}

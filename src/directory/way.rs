//! From the claims of a token to what is looked for: the first way that is configured and present decides.

use super::IssuerUser;
use super::settings::Way;
use crate::token::{ClaimView, Claims, ExternalIdentity};

/// Whom a token is of, and how the directory may know them.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Sought {
    /// Whose.
    pub(super) user: IssuerUser,
    /// What to look for: only an entry that is no longer where it was lets the next one speak.
    pub(super) by: Vec<Lookup>,
}

/// What to look for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Lookup {
    /// Whatever GitLab links the user to, by this way.
    Asked(Box<Way>),
    /// The entry of this DN.
    Dn(String),
    /// The entry with this value.
    Is {
        /// Of which attribute.
        attribute: String,
        /// The value.
        value: String,
    },
}

/// Why there is nobody to look for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NobodySought {
    /// A link that could be one of two accounts is none.
    #[error("GitLab links the token's user to two accounts of one provider")]
    TwoLinks,
    /// None of the ways begins at what this token says.
    #[error(
        "the token names no account: it holds nothing that one of [[directory.account]] begins at (GitLab puts \
         user_identities into a token only if its user has allowed that)"
    )]
    NoWay,
    /// It is of no user.
    #[error("the token is of no user")]
    NoUser,
}

impl Sought {
    /// Whom these claims are of.
    ///
    /// # Errors
    /// See [`NobodySought`].
    pub(super) fn of(claims: &Claims, ways: &[Way]) -> Result<Self, NobodySought> {
        let Some(ClaimView::Id(user_id)) = claims.view("user_id") else { return Err(NobodySought::NoUser) };
        let mut by = Vec::new();
        for way in ways {
            by.extend(way.lookup(claims)?);
            // A value is looked for, and that is that; only a DN can be out of date.
            if matches!(by.last(), Some(Lookup::Is { .. })) {
                break;
            }
        }
        if by.is_empty() { Err(NobodySought::NoWay) } else { Ok(Self { user: (claims.issuer.clone(), user_id), by }) }
    }
}

impl Way {
    /// What to look for; none where the token does not say what it takes.
    fn lookup(&self, claims: &Claims) -> Result<Option<Lookup>, NobodySought> {
        match self {
            Self::Asked(way) => Ok(Some(Lookup::Asked(way.clone()))),
            Self::Claim { claim, attribute } => Ok(match claims.view(claim) {
                Some(ClaimView::Text(value)) if !value.is_empty() => Some(is(attribute, value)),
                _ => None,
            }),
            Self::Identity { .. } | Self::Link { .. } => match claims.view("user_identities") {
                Some(ClaimView::Identities(links)) => self.among(links),
                _ => Ok(None),
            },
        }
    }

    /// What to look for by what GitLab links the user to; none where that is nothing of its provider's.
    pub(super) fn among(&self, links: &[ExternalIdentity]) -> Result<Option<Lookup>, NobodySought> {
        Ok(match self {
            Self::Asked(way) => way.among(links)?,
            Self::Claim { .. } => None,
            Self::Identity { provider, attribute } => linked(links, provider)?.map(|uid| is(attribute, uid)),
            Self::Link { provider } => linked(links, provider)?.map(|uid| Lookup::Dn(uid.to_owned())),
        })
    }
}

fn is(attribute: &str, value: &str) -> Lookup {
    Lookup::Is { attribute: attribute.to_owned(), value: value.to_owned() }
}

/// The account that GitLab links the user to at a provider.
fn linked<'a>(all: &'a [ExternalIdentity], provider: &str) -> Result<Option<&'a str>, NobodySought> {
    let is_there = |one: &&ExternalIdentity| one.provider == provider && !one.extern_uid.is_empty();
    let mut there = all.iter().filter(is_there);
    match (there.next(), there.next()) {
        (one, None) => Ok(one.map(|one| one.extern_uid.as_str())),
        (_, Some(_)) => Err(NobodySought::TwoLinks),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::tests::claims_of;
    use serde_json::{Value, json};

    fn ways() -> Vec<Way> {
        let (ldap, saml) = ("ldapmain".to_owned(), "saml".to_owned());
        let claim = |claim, attribute: &str| Way::Claim { claim, attribute: attribute.to_owned() };
        let upn = Way::Identity { provider: saml, attribute: "userPrincipalName".to_owned() };
        vec![Way::Link { provider: ldap }, upn, claim("user_email", "mail"), claim("user_login", "sAMAccountName")]
    }

    fn sought(identities: Value, more: &[(&str, Value)], ways: &[Way]) -> Result<Vec<Lookup>, NobodySought> {
        let mut changes = vec![("user_identities".to_owned(), identities)];
        changes.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let claims = claims_of("deploy_production_protected", &changes).unwrap();
        Sought::of(claims.claims(), ways).map(|sought| sought.by)
    }

    fn identity(provider: &str, uid: &str) -> Value {
        json!({ "provider": provider, "extern_uid": uid })
    }

    #[test]
    fn the_first_way_that_is_there_decides_and_only_a_dn_may_be_out_of_date() {
        let mail = [("user_email", json!("ada@corp.example"))];
        let (dn, upn) = (identity("ldapmain", "cn=ada,dc=corp"), identity("saml", "ada@corp"));
        let at = Lookup::Dn("cn=ada,dc=corp".to_owned());
        assert_eq!(sought(json!([upn, dn]), &mail, &ways()), Ok(vec![at.clone(), is("userPrincipalName", "ada@corp")]));
        assert_eq!(sought(json!([dn]), &mail, &ways()), Ok(vec![at.clone(), is("mail", "ada@corp.example")]));
        assert_eq!(sought(json!([dn]), &mail, &ways()[..1]), Ok(vec![at]));
        assert_eq!(sought(json!([upn]), &mail, &ways()), Ok(vec![is("userPrincipalName", "ada@corp")]));
        assert_eq!(sought(json!([]), &mail, &ways()[2..]), Ok(vec![is("mail", "ada@corp.example")]));
        assert_eq!(sought(json!([identity("google", "x")]), &mail, &ways()[..2]), Err(NobodySought::NoWay));
        assert_eq!(
            sought(Value::Null, &mail, &ways()[..2]),
            Err(NobodySought::NoWay),
            "GitLab says nothing by default"
        );
        assert_eq!(sought(json!([dn, dn]), &mail, &ways()), Err(NobodySought::TwoLinks));
        assert_eq!(sought(json!([dn]), &mail, &[]), Err(NobodySought::NoWay));
        let asked = || Way::Asked(Box::new(ways()[0].clone()));
        let of_way = Lookup::Asked(Box::new(ways()[0].clone()));
        assert_eq!(
            sought(Value::Null, &mail, &[asked(), ways()[2].clone()]),
            Ok(vec![of_way, is("mail", "ada@corp.example")])
        );
        let link = |provider: &str| ExternalIdentity { provider: provider.to_owned(), extern_uid: "cn=ada".to_owned() };
        assert_eq!(asked().among(&[link("saml"), link("ldapmain")]), Ok(Some(Lookup::Dn("cn=ada".to_owned()))));
        assert_eq!(asked().among(&[link("saml")]), Ok(None));
        assert_eq!(asked().among(&[link("ldapmain"), link("ldapmain")]), Err(NobodySought::TwoLinks));
        let nobody = [("user_id", json!("")), ("user_login", Value::Null)];
        assert_eq!(sought(json!([dn]), &nobody, &ways()), Err(NobodySought::NoUser));
    }
}

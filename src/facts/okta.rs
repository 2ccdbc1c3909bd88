//! `directory.enabled` and `directory.group` from Okta: whether the account behind a job's user is active there, and in which
//! groups.
//!
//! Which account it is, the token says in `user_identities`, by the provider that the configuration names. Okta takes an id,
//! a login or the beginning of one: an answer counts only if it is of the very id or login that was asked for.

use super::asker::Asker;
use super::{Api, Configured, FactSource, Limits, Place, Silence, Source, World, api};
use crate::discovery::path_segment;
use crate::policy::{Answer, Seen};
use crate::telemetry::quotable;
use crate::token::{ClaimView, Claims, IssuerName};
use serde::Deserialize;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

/// Who is suspended loses what is renewed less often than that at the next renewal.
const FRESH_FOR: Duration = Duration::from_secs(60);
/// Okta gives 200 groups a page, and asks nobody to be in more than some hundred.
const PAGES_MAX: usize = 10;
/// The only status of an account that is in use (Okta's users API, "User status").
const ACTIVE: &str = "ACTIVE";
/// What stands for no account where its name should: the owner of our token, and other places.
const NOBODY: [&str; 4] = ["", ".", "..", "me"];

/// An Okta, as configured for the jobs of one issuer.
#[derive(Clone, Debug)]
pub struct OktaApi {
    /// About whose jobs it is asked.
    pub issuer: IssuerName,
    /// Where it is, and an API token.
    pub place: Place,
    /// How long it is waited for, and how long its answers count.
    pub limits: Limits,
    /// How GitLab calls it in `user_identities`.
    pub provider: String,
}

impl OktaApi {
    /// What can be asked of it.
    pub const FACTS: [&'static str; 2] = ["directory.enabled", "directory.group"];
}

impl Configured for OktaApi {
    fn issuers(&self) -> &[IssuerName] {
        slice::from_ref(&self.issuer)
    }

    fn facts(&self) -> &'static [&'static str] {
        &Self::FACTS
    }

    fn open(&self, world: &World) -> Vec<(&'static str, Arc<dyn Source>)> {
        let okta = Okta { api: Api::at(self.place.clone(), world), provider: self.provider.clone() };
        let asked: Arc<dyn Source> = Asker::of(okta, (&format!("{}/okta", self.issuer), FRESH_FOR), self.limits, world);
        Self::FACTS.map(|fact| (fact, Arc::clone(&asked))).into()
    }
}

/// The accounts of one Okta.
#[derive(Debug)]
struct Okta {
    api: Api,
    provider: String,
}

/// What we read of an account (Okta's users API).
#[derive(Debug, Deserialize)]
struct User {
    id: String,
    profile: Profile,
    status: String,
}

#[derive(Debug, Deserialize)]
struct Profile {
    login: String,
}

/// What we read of a group (Okta's groups API).
#[derive(Debug, Deserialize)]
struct Group {
    profile: GroupProfile,
}

#[derive(Debug, Deserialize)]
struct GroupProfile {
    name: String,
}

/// An active account.
#[derive(Debug)]
struct Account {
    id: String,
    groups: Vec<String>,
}

impl FactSource for Okta {
    /// By what GitLab calls it.
    type About = String;
    /// Or why it is none that counts.
    type Known = Result<Account, String>;

    fn about(&self, claims: &Claims) -> Result<Self::About, Answer> {
        let Some(ClaimView::Identities(identities)) = claims.view("user_identities") else {
            let why = "the token has no user_identities: the user must switch on in GitLab that id_tokens include them";
            return Err(Answer::No(why.to_owned()));
        };
        let mut of_provider = identities.iter().filter(|identity| identity.provider == self.provider);
        match (of_provider.next().map(|identity| &identity.extern_uid), of_provider.next()) {
            (Some(account), None) if !NOBODY.contains(&account.as_str()) => Ok(account.clone()),
            (Some(_), None) => Err(Answer::No("the token names an account that nobody has".to_owned())),
            (None, _) => {
                Err(Answer::No(format!("the job's user has no identity of {} in GitLab", quotable(&self.provider))))
            }
            (Some(_), Some(_)) => Err(Answer::No("the job's user has several identities of that provider".to_owned())),
        }
    }

    async fn look(&self, account: &Self::About) -> Result<Self::Known, Silence> {
        let path = format!("/api/v1/users/{}", path_segment(account));
        let Some(user) = self.api.find::<User>(&path, "user").await? else {
            return Ok(Err("Okta knows no account by what GitLab calls it: it was renamed, or deleted".to_owned()));
        };
        if user.id != *account && !user.profile.login.eq_ignore_ascii_case(account) {
            return Ok(Err("Okta answered with another account than was asked for".to_owned()));
        }
        if user.status != ACTIVE {
            return Ok(Err(format!("Okta says that the account is {}", quotable(&user.status))));
        }
        let groups = self.groups(&user.id).await?;
        Ok(Ok(Account { id: user.id, groups }))
    }

    fn tell(&self, fact: &'static str, known: &Self::Known, _claims: &Claims) -> Answer {
        match known {
            Ok(_) if fact == "directory.enabled" => Answer::Is(Seen::Bool(true)),
            Ok(account) => Answer::Is(Seen::Texts(account.groups.clone())),
            Err(why) => Answer::No(why.clone()),
        }
    }

    fn beside(&self, known: &Self::Known) -> Vec<(&'static str, Seen)> {
        let id = |account: &Account| vec![("directory.account", Seen::Text(quotable(&account.id)))];
        known.as_ref().map(id).unwrap_or_default()
    }
}

impl Okta {
    /// Page by page, each of which says where the next one is: here, or it is not gone to.
    async fn groups(&self, id: &str) -> Result<Vec<String>, Silence> {
        let here = self.api.url(&format!("/api/v1/users/{}/groups?", path_segment(id)));
        let mut next = Some(format!("{here}limit=200"));
        let (mut groups, mut pages) = (Vec::new(), 0);
        while let Some(url) = next {
            pages += 1;
            if pages > PAGES_MAX {
                return Err(Silence::Unclear("Okta's list of the account's groups does not end".to_owned()));
            }
            if !url.starts_with(&here) {
                return Err(Silence::Unclear(format!(
                    "Okta says that the list of groups goes on at {}",
                    quotable(&url)
                )));
            }
            let answered = self.api.ask(&url).await?.ok_or_else(|| Silence::Unclear(format!("{url} answered 404")))?;
            let page: Vec<Group> = api::read(&url, &answered.body, "list of groups")?;
            groups.extend(page.into_iter().map(|group| group.profile.name));
            next = answered.next_links.into_iter().next();
        }
        Ok(groups)
    }
}

//! `directory.enabled` and `directory.group` from Okta: whether the account behind a job's user is active there, and in which
//! groups.
//!
//! Which account it is, the token says in `user_identities`, by the provider that the configuration names. Okta takes an id,
//! a login or the beginning of one: an answer counts only if it is of the very id or login that was asked for.

use super::api::Question;
use super::asker::Asker;
use super::{Api, Configured, FactSource, Limits, Place, Silence, Source, World, api};
use crate::directory::{AccountPins, IssuerUser};
use crate::discovery::path_segment;
use crate::policy::{Answer, Seen};
use crate::store::StoreError;
use crate::telemetry::{chain, quotable};
use crate::token::{ClaimView, Claims, IssuerName};
use serde::Deserialize;
use std::slice;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// Who is suspended loses what is renewed less often than that at the next renewal.
const FRESH_FOR: Duration = Duration::from_secs(60);
/// Okta gives 200 groups a page, and asks nobody to be in more than some hundred.
const PAGES_MAX: usize = 10;
/// One that is Okta's own: others take their names from applications, whose owners choose them.
const OKTA_GROUP: &str = "OKTA_GROUP";
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
        let (api, pins) = (Api::at(self.place.clone(), world), world.pins.clone());
        let okta = Okta { api, pins, provider: self.provider.clone() };
        let asked: Arc<dyn Source> = Asker::of(okta, (&format!("{}/okta", self.issuer), FRESH_FOR), self.limits, world);
        Self::FACTS.map(|fact| (fact, Arc::clone(&asked))).into()
    }
}

/// The accounts of one Okta.
#[derive(Debug)]
struct Okta {
    api: Api,
    pins: AccountPins,
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
    #[serde(rename = "type")]
    kind: String,
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
    /// Of whom, and by what GitLab calls it.
    type About = (IssuerUser, String);
    /// Or why it is none that counts.
    type Known = Result<Account, String>;

    fn about(&self, claims: &Claims) -> Result<Self::About, Answer> {
        let Some(ClaimView::Id(user_id)) = claims.view("user_id") else {
            return Err(Answer::No("the token is of no user".to_owned()));
        };
        let Some(ClaimView::Identities(identities)) = claims.view("user_identities") else {
            let why = "the token has no user_identities: the user must switch on in GitLab that id_tokens include them";
            return Err(Answer::No(why.to_owned()));
        };
        let mut of_provider = identities.iter().filter(|identity| identity.provider == self.provider);
        match (of_provider.next().map(|identity| &identity.extern_uid), of_provider.next()) {
            (Some(account), None) if !NOBODY.contains(&account.as_str()) => {
                Ok(((claims.issuer.clone(), user_id), account.clone()))
            }
            (Some(_), None) => Err(Answer::No("the token names an account that nobody has".to_owned())),
            (None, _) => {
                Err(Answer::No(format!("the job's user has no identity of {} in GitLab", quotable(&self.provider))))
            }
            (Some(_), Some(_)) => Err(Answer::No("the job's user has several identities of that provider".to_owned())),
        }
    }

    fn has_answered_since(&self, then: OffsetDateTime) -> bool {
        self.api.has_answered_since(then)
    }

    async fn look(&self, (user, account): &Self::About) -> Result<Self::Known, Silence> {
        let okta = self.api.question();
        let found = match okta.user(account).await? {
            // It was renamed since, if it is still there.
            Ok(None) => match self.pins.account_of(user).map_err(|fault| unread(&fault))? {
                Some(id) => okta.user(&id).await?,
                None => Ok(None),
            },
            found => found,
        };
        let account = match found {
            Ok(Some(account)) => account,
            Ok(None) => {
                return Ok(Err("Okta knows no account by what GitLab calls it: it was renamed, or deleted".to_owned()));
            }
            Err(why) => return Ok(Err(why)),
        };
        if account.status != ACTIVE {
            return Ok(Err(format!("Okta says that the account is {}", quotable(&account.status))));
        }
        if let Err(not_theirs) = self.pins.hold(user, &account.id).await.map_err(|fault| unread(&fault))? {
            return Ok(Err(not_theirs.to_string()));
        }
        let groups = okta.groups(&account.id).await?;
        Ok(Ok(Account { id: account.id, groups }))
    }

    fn tell(&self, fact: &'static str, known: &Self::Known, _claims: &Claims) -> Answer {
        match known {
            Ok(_) if fact == "directory.enabled" => Answer::Is(Seen::Bool(true)),
            Ok(account) => Answer::Is(Seen::Texts(account.groups.clone())),
            Err(why) => Answer::No(why.clone()),
        }
    }

    fn beside(&self, known: &Self::Known) -> Vec<(&'static str, Seen)> {
        let shown = known.as_ref().ok().filter(|_| self.pins.are_shown());
        shown.map(|account| ("directory.account", Seen::Text(quotable(&account.id)))).into_iter().collect()
    }
}

/// Without knowing whose account it was, nothing counts.
fn unread(fault: &StoreError) -> Silence {
    Silence::Unclear(chain(fault))
}

impl Question<'_> {
    /// The account of this id or login; or why it is another.
    async fn user(&self, account: &str) -> Result<Result<Option<User>, String>, Silence> {
        let found = self.find::<User>(&format!("/api/v1/users/{}", path_segment(account)), "user").await?;
        let is_it = |user: &User| user.id == account || user.profile.login.eq_ignore_ascii_case(account);
        Ok(if found.as_ref().is_none_or(is_it) {
            Ok(found)
        } else {
            Err("Okta answered with another account than was asked for".to_owned())
        })
    }

    /// Page by page, each of which says where the next one is: here, or it is not gone to.
    async fn groups(&self, id: &str) -> Result<Vec<String>, Silence> {
        let here = self.url(&format!("/api/v1/users/{}/groups?", path_segment(id)));
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
            let answered = self.ask(&url).await?.ok_or_else(|| Silence::Unclear(format!("{url} answered 404")))?;
            let page: Vec<Group> = api::read(&url, &answered.body, "list of groups")?;
            groups.extend(page.into_iter().filter(|group| group.kind == OKTA_GROUP).map(|group| group.profile.name));
            next = answered.next_links.into_iter().next();
        }
        Ok(groups)
    }
}

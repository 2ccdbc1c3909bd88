//! `directory.enabled`, `directory.group`: what Active Directory says of the account of a token's user.
//!
//! A fact is only told of an account that may act: whoever is disabled is in no group that counts.

use super::asker::Asker;
use super::{Configured, FactSource, Limits, Silence, Source, World};
use crate::directory::{Directory, DirectoryError, Found, Sought};
use crate::policy::{Answer, Seen};
use crate::telemetry::chain;
use crate::token::{Claims, IssuerName};
use std::sync::Arc;
use std::time::Duration;

/// The jobs of one person share an answer; and one who is disabled is known to be that soon.
const FRESH_FOR: Duration = Duration::from_secs(10);
const ENABLED: &str = "directory.enabled";
const GROUP: &str = "directory.group";

/// A directory that can be asked.
#[derive(Clone, Debug)]
pub struct ActiveDirectory(pub Arc<Directory>);

impl FactSource for ActiveDirectory {
    type About = Sought;
    type Known = Found;

    fn about(&self, claims: &Claims) -> Result<Self::About, Answer> {
        self.0.sought(claims).map_err(|nobody| Answer::No(nobody.to_string()))
    }

    async fn look(&self, sought: &Self::About) -> Result<Self::Known, Silence> {
        self.0.find(sought).await.map_err(|fault| silence(&fault))
    }

    fn tell(&self, fact: &'static str, found: &Self::Known, _claims: &Claims) -> Answer {
        match found {
            Found::Nobody(why) => Answer::No(why.clone()),
            Found::Person { .. } if fact == ENABLED => Answer::Is(Seen::Bool(true)),
            Found::Person { groups: Ok(groups), .. } => Answer::Is(Seen::Texts(groups.clone())),
            Found::Person { groups: Err(why), .. } => Answer::Unavailable { why: why.clone(), retry_after: None },
        }
    }

    fn beside(&self, found: &Self::Known) -> Vec<(&'static str, Seen)> {
        let Found::Person { account: Some(guid), .. } = found else { return Vec::new() };
        vec![("directory.account", Seen::Text(guid.to_string()))]
    }
}

fn silence(fault: &DirectoryError) -> Silence {
    let why = chain(fault);
    if fault.is_of_this_question() { Silence::Unclear(why) } else { Silence::down(why) }
}

impl ActiveDirectory {
    /// What can be asked of it.
    pub const FACTS: [&'static str; 2] = [ENABLED, GROUP];
}

impl Configured for ActiveDirectory {
    fn issuers(&self) -> &[IssuerName] {
        &self.0.settings().issuers
    }

    fn facts(&self) -> &'static [&'static str] {
        &Self::FACTS
    }

    fn open(&self, world: &World) -> Vec<(&'static str, Arc<dyn Source>)> {
        let name = ("directory", FRESH_FOR);
        let accounts: Arc<dyn Source> = Asker::of(self.clone(), name, Limits::default(), world);
        Self::FACTS.into_iter().map(|fact| (fact, Arc::clone(&accounts))).collect()
    }
}

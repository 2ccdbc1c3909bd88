//! From a rule to the peers that a mesh may admit for its sake, each held against every other rule of the policy.

use super::peer::{Mesh, Peer};
use super::subject::{Named, Subject};
use super::{Known, Unfit};
use crate::identity::{IdTemplate, TrustDomain};
use crate::policy::{Condition, IdSet, Policy, ProfileTemplate, Rule, Shown};

/// Where Lanyard's own identities live, runners' too.
const OWN: &str = "/-/lanyard/";

/// The peers of one rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Admitted {
    /// The rule's name.
    pub rule: String,
    /// Whom it lets in; never empty.
    pub peers: Vec<Peer>,
}

/// Whoever may call, by the policy of one trust domain.
#[derive(Clone, Copy, Debug)]
pub struct Callers<'a> {
    /// Whose rules.
    pub policy: &'a Policy,
    /// Whose IDs.
    pub trust_domain: &'a TrustDomain,
    /// What is known beside the rules.
    pub known: &'a Known,
    /// Who is told.
    pub mesh: &'a Mesh,
    /// Which of a rule's SVIDs; none for each that the mesh can tell apart.
    pub profile: Option<&'a str>,
}

impl Callers<'_> {
    /// The peers of rules, by name; of every rule where none is named.
    ///
    /// # Errors
    /// Every rule that the mesh cannot be told of, with the reason.
    pub fn of(&self, rules: &[String]) -> Result<Vec<Admitted>, Vec<(String, Unfit)>> {
        let all = || self.policy.rules().iter().map(|rule| rule.name.clone()).collect();
        let names = if rules.is_empty() { all() } else { rules.to_vec() };
        if let Some(nobodys) = self.project_of_none(&names) {
            return Err(vec![nobodys]);
        }
        let (mut admitted, mut unfit) = (Vec::new(), Vec::new());
        for name in names {
            match self.of_rule(&name) {
                Ok(peers) => admitted.push(Admitted { rule: name, peers }),
                Err(why) => unfit.push((name, why)),
            }
        }
        if unfit.is_empty() { Ok(admitted) } else { Err(unfit) }
    }

    /// A project that is asked for and that none of the rules is for, with what the first says of it.
    fn project_of_none(&self, names: &[String]) -> Option<(String, Unfit)> {
        let rules: Vec<&Rule> = names.iter().filter_map(|name| self.rule(name)).collect();
        self.known.projects.iter().find_map(|project| {
            let why = rules.iter().map(|rule| Some((rule.name.clone(), Subject::not_for(rule, project, self.known)?)));
            why.collect::<Option<Vec<_>>>()?.into_iter().next()
        })
    }

    fn rule(&self, name: &str) -> Option<&Rule> {
        self.policy.rules().iter().map(|rule| &**rule).find(|rule| rule.name == name)
    }

    fn of_rule(&self, name: &str) -> Result<Vec<Peer>, Unfit> {
        let rule = self.rule(name).ok_or(Unfit::NoRule)?;
        if rule.observe {
            return Err(Unfit::Observes);
        }
        self.mesh.reads_what_is_given_by(rule)?;
        let each: Vec<_> = self.svids(rule)?.into_iter().map(|svid| self.of_svid(rule, &svid.id)).collect();
        let fit: Vec<Vec<Peer>> = each.iter().filter_map(|peers| peers.as_ref().ok().cloned()).collect();
        match each.into_iter().find_map(Result::err) {
            Some(why) if fit.is_empty() || self.profile.is_some() => Err(why),
            _ if fit.iter().all(Vec::is_empty) => Err(Unfit::NamesNobody),
            _ => Ok(distinct(fit.concat())),
        }
    }

    fn svids<'r>(&self, rule: &'r Rule) -> Result<Vec<&'r ProfileTemplate>, Unfit> {
        let Some(profile) = self.profile else { return Ok(rule.gives.svids.iter().collect()) };
        let found = rule.gives.svids.iter().find(|svid| svid.profile.as_deref() == Some(profile));
        found.map(|svid| vec![svid]).ok_or_else(|| Unfit::NoProfile { profile: profile.to_owned() })
    }

    fn of_svid(&self, rule: &Rule, template: &IdTemplate) -> Result<Vec<Peer>, Unfit> {
        let mut peers = Vec::new();
        for subject in Subject::of_rule(rule, self.known)? {
            for named in subject.named(rule, template, self.trust_domain)? {
                let peer = self.mesh.peer(&named, template)?;
                self.check(rule, template, (&named, &peer))?;
                peers.push(peer);
            }
        }
        if peers.len() > Subject::CALLERS_MAX {
            return Err(Unfit::TooMany { max: Subject::CALLERS_MAX });
        }
        Ok(peers)
    }

    /// Nobody comes in by the peer for whom the rule would not speak.
    fn check(&self, rule: &Rule, template: &IdTemplate, (named, peer): (&Named, &Peer)) -> Result<(), Unfit> {
        let within = |ids: &IdSet, terms: &[Condition]| {
            if ids.meets(&IdSet::prefix(OWN)) {
                return Err(Unfit::AdmitsRunners { pattern: ids.to_string() });
            }
            let laxer = self.policy.laxer_within(rule, ids, Shown { template, terms, within: self.mesh.reads() });
            let remedy = match peer {
                Peer::Exact(_) | Peer::Shape(_) => SAY_MORE,
                Peer::Beginning(_) | Peer::DnsBelow(_) => SAY_EARLIER,
            };
            laxer.map_or(Ok(()), |laxer| Err(Unfit::Laxer { pattern: ids.to_string(), laxer, remedy }))
        };
        match peer {
            Peer::Beginning(path) if named.lets_in_others(path, rule, self.known) => {
                let (pattern, remedy) = (IdSet::prefix(path).to_string(), SAY_EARLIER);
                Err(Unfit::LetsInOthers { pattern, remedy })
            }
            Peer::Beginning(path) => within(&IdSet::prefix(path), &named.shown_by(path, template, self.known)),
            Peer::Exact(_) | Peer::Shape(_) => within(&named.ids, &named.shown(template, self.known)),
            Peer::DnsBelow(name) => {
                let (Some(id), shown) = named.by_id(self.known) else { return Ok(()) };
                let laxer = self.policy.laxer_for_project(rule, id, &shown);
                let pattern = format!("*.{name}");
                laxer.map_or(Ok(()), |laxer| Err(Unfit::Laxer { pattern, laxer, remedy: DNS_SAYS_LITTLE }))
            }
        }
    }
}

const SAY_MORE: &str = "where an id or path in that term is the project's for sure, say so with --project ID=PATH or --group \
                        ID=PATH; else narrow the other rule";
const SAY_EARLIER: &str = "name the projects (project_path in when, or --project ID=PATH), and let the words that tell this \
                           rule's IDs from others stand before what changes, as in …/-/environments/production/pipelines/…";
const DNS_SAYS_LITTLE: &str = "our DNS names tell the project and no more; use san_order = \"uri_first\" and an SVID without \
                               the pipeline";

/// Each once, in order.
fn distinct(peers: Vec<Peer>) -> Vec<Peer> {
    let mut once = Vec::new();
    for peer in peers {
        if !once.contains(&peer) {
            once.push(peer);
        }
    }
    once
}

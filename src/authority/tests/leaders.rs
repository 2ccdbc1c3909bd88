//! Our servers: they take the steps that are due or ordered, and may die before any line of that.

use super::TTL;
use super::invariants::{Invariant::NeverForks, must};
use super::world::World;
use crate::authority::gate::{Holder, HolderKind, Known};
use crate::authority::keyring::Against;
use crate::authority::making::dates;
use crate::authority::order::{Leeway, Live, NotNow, Order};
use crate::authority::rotation::Rotation;
use crate::authority::{
    Above, Authority, AuthorityKind, AuthorityState, Holders, KeyOf, Keyring, Step, StepKind, Taken,
};
use crate::crypto::KeyId;
use crate::custody::AuthorityKey;
use std::collections::BTreeMap;
use std::time::Duration;
use time::OffsetDateTime;

/// Where keys are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// A file beside the journal, of one leader: saved, then recorded.
    File,
    /// A store of two leaders: one commit that only one of them wins.
    Store,
}

/// What the place of roots does about another; it signs with those that it has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NewRoots {
    Made,
    Refused,
}

#[derive(Debug)]
pub(super) struct Leader {
    pub(super) memory: Keyring,
    pub(super) since: OffsetDateTime,
    pub(super) heard: BTreeMap<String, (u64, OffsetDateTime)>,
    /// What publishers have told it.
    pub(super) publishers: Holders,
    /// Since when it knows of each list that it is out.
    pub(super) listed: BTreeMap<KeyId, OffsetDateTime>,
    /// What it knows of the authority above; a start forgets the offer.
    pub(super) above: Option<Above>,
}

impl World {
    pub(super) fn leader(&self) -> Leader {
        let (memory, since, above) = (self.kept.clone(), self.wall(), self.read_above());
        let names = self.publishers.iter().map(|publisher| publisher.name.clone());
        let publishers = Holders::default().publishing(names);
        Leader { memory, since, heard: BTreeMap::new(), publishers, listed: BTreeMap::new(), above }
    }

    pub(super) fn made(&mut self, keyring: &Keyring, above: Option<&Above>, step: &Step) -> Option<Authority> {
        if let Some(given) = above.and_then(|above| above.gives(keyring, step, self.wall())) {
            return Some(given);
        }
        let (kind, issuer) = step.makes(keyring)?;
        let (key, now) = (KeyOf::Us(AuthorityKey::Held(self.fresh_key())), self.wall());
        let root = issuer.map(|root| keyring.find(root).unwrap());
        assert!(root.is_none_or(Authority::is_ours), "nobody here can sign below another's root");
        Some(Authority { issuer, ..keyring.newcomer(kind, key, dates(&self.plan, (kind, root), now), now) })
    }

    pub(super) fn known(&self, leader: usize) -> Known {
        let Leader { heard, since, listed, publishers, .. } = &self.leaders[leader];
        let agents = self.agents.iter().map(|agent| {
            let (holds, heard_at) = heard.get(&agent.name).copied().unzip();
            let (name, kind) = (agent.name.clone(), HolderKind::Reporting);
            Holder { name, kind, holds, heard_at, wrote_at: BTreeMap::new() }
        });
        let declared = self.declared.iter().map(|declared| {
            let (name, kind, holds) = (declared.name.clone(), HolderKind::Declared, declared.confirmed);
            Holder { name, kind, holds, heard_at: None, wrote_at: BTreeMap::new() }
        });
        let holders = agents.chain(declared).chain(publishers.all(|_| true, self.wall()));
        let longest_ttl = Duration::from_secs(TTL.unsigned_abs());
        let listed = self.lists.of.is_some().then(|| listed.clone());
        Known { holders: holders.collect(), longest_ttl, since: *since, listed }
    }

    fn live(&self) -> Live {
        let mut live = Live::new();
        let shown = self.agents.iter().filter_map(|agent| agent.shows.get(&AuthorityKind::X509Root));
        for shown in shown.filter(|shown| shown.ends > self.now) {
            *live.entry(shown.signer.to_string().into()).or_default() += 1;
        }
        live
    }

    /// Everything that is due, or one order; a crash may come before any line.
    pub(super) fn visit(&mut self, leader: usize, order: Option<&Order>) {
        self.refresh(leader);
        if let Some(order) = order {
            let (known, live, now) = (self.known(leader), self.live(), self.wall());
            let (keyring, above) = (self.leaders[leader].memory.clone(), self.leaders[leader].above.clone());
            let rotation =
                Rotation { keyring: &keyring, plan: &self.plan.clone(), known: &known, above: above.as_ref(), now };
            match rotation.ordered(order, &live) {
                Ok(step) => drop(self.take(leader, &step, Some(order))),
                Err(NotNow::Unsafe { .. }) => self.count("refused as unsafe"),
                Err(NotNow::InUse { .. }) => self.count("refused as in use"),
                Err(_) => self.count("refused"),
            }
            return;
        }
        self.hear_above(leader);
        let mut stuck = Vec::new();
        for taken in 0.. {
            assert!(taken < 20, "one look takes no end\n{}", self.tale());
            let (known, now) = (self.known(leader), self.wall());
            let (keyring, above) = (self.leaders[leader].memory.clone(), self.leaders[leader].above.clone());
            let rotation =
                Rotation { keyring: &keyring, plan: &self.plan.clone(), known: &known, above: above.as_ref(), now };
            let Some(step) = rotation.due_beside(&stuck) else { return };
            let makes = step.makes(&keyring).map(|(kind, _)| kind);
            // The place of a root does not make it, or does not sign with it: nothing is done, and it is tried again.
            let is_refused = self.new_roots == NewRoots::Refused && makes == Some(AuthorityKind::X509Root);
            if is_refused || makes.is_some_and(|kind| !kind.signs_jwts()) && self.chance.one_in(20) {
                self.note(format!("leader {leader} wants {step:?}, and the root's place is away"));
                self.count("places away");
                stuck.push(step);
            } else if !self.take(leader, &step, None) {
                return;
            }
        }
    }

    /// Save, record, use. Whether the leader still stands where it stood.
    fn take(&mut self, leader: usize, step: &Step, order: Option<&Order>) -> bool {
        let before = self.leaders[leader].memory.clone();
        let above = self.leaders[leader].above.clone();
        let made = self.made(&before, above.as_ref(), step);
        let next = before.after(step, made, self.wall());
        let crash = self.chance.below(60);
        if self.place == Place::Store && self.chance.one_in(20) && !self.racing {
            self.racing = true;
            self.visit(1 - leader, None);
            self.racing = false;
        }
        self.note(format!("leader {leader} takes {step:?}, crash {crash}"));
        if crash == 0 {
            return self.restart(leader);
        }
        match self.place {
            Place::File => {
                self.kept = next.clone();
                if crash == 1 {
                    return self.restart(leader);
                }
                // A commit that is lost was not done, or was done and nobody heard.
                if crash == 2 || crash == 3 {
                    self.recorded += (next.sequence - self.recorded) * (crash - 2);
                    self.count("lost commits");
                    return false;
                }
            }
            Place::Store if self.kept.sequence != before.sequence => {
                self.count("lost races");
                self.refresh(leader);
                return false;
            }
            Place::Store if crash == 2 => return false,
            Place::Store => self.kept = next.clone(),
        }
        self.recorded = next.sequence;
        if crash == 4 {
            return self.restart(leader);
        }
        self.excuse();
        self.must_hold(self.waited(&before, step));
        let Leader { memory, above, .. } = &mut self.leaders[leader];
        *memory = next;
        if let Some(above) = above {
            above.forget_taken(memory);
        }
        self.tally(step, order);
        true
    }

    fn tally(&mut self, step: &Step, order: Option<&Order>) {
        self.count(step.kind.as_str());
        let is_intermediate = step.authority == AuthorityKind::X509Intermediate;
        match step.kind {
            StepKind::Activate { .. } if is_intermediate => self.count("intermediates that took over"),
            StepKind::Activate { .. } if step.authority == AuthorityKind::JwtRs256 => {
                let began = self.kept.of_kind(step.authority).any(|one| one.state == AuthorityState::Old);
                self.count(if began { "RS256 keys that took over" } else { "RS256 keys that came later" });
            }
            StepKind::Activate { through: Some(_), .. } => self.count("roots through one that waited"),
            StepKind::Rollback { through: Some(_), .. } => self.count("rollbacks through one that was there"),
            StepKind::Activate { through: None, .. }
            | StepKind::Prepare { .. }
            | StepKind::Remove(_)
            | StepKind::Revoke(_)
            | StepKind::Rollback { through: None, .. }
            | StepKind::Succeed
            | StepKind::Taint(_) => {}
        }
        let above_signs = self.kept.active(AuthorityKind::X509Root).is_some_and(|root| !root.is_ours());
        if above_signs && matches!(step.kind, StepKind::Activate { .. }) && step.authority == AuthorityKind::X509Root {
            self.count("switched above");
        }
        let is_without = matches!(order.map(|order| &order.leeway), Some(Leeway::Without(_)));
        match (step.by.uid, step.by.in_spite_of.is_empty(), is_without) {
            (None, false, _) => self.count("gone on at the deadline"),
            (Some(_), false, true) => self.count("gone on without some"),
            _ => {}
        }
    }

    /// Whoever goes on without proof says without whose.
    fn excuse(&mut self) {
        let Some(Taken { step, key_id, by, intermediate, .. }) = self.kept.latest.clone() else { return };
        // Back to a root below which nothing waits: that is said in the manual.
        let is_new = intermediate.filter(|below| step == "rollback" && !self.out_at.contains_key(below));
        self.excused.extend(is_new.map(|below| (below, "*".to_owned())));
        let everybody = step == "revoke" || by.in_spite_of.iter().any(|what| what == "minimum time");
        let names = if everybody && !by.in_spite_of.is_empty() { vec!["*".to_owned()] } else { by.in_spite_of };
        let keys = [Some(key_id), intermediate];
        let pairs = names.iter().flat_map(|name| keys.into_iter().flatten().map(|key| (key, name.clone())));
        self.excused.extend(pairs);
    }

    pub(super) fn restart(&mut self, leader: usize) -> bool {
        self.note(format!("leader {leader} starts"));
        self.count("starts");
        if self.place == Place::File {
            let against = self.kept.against(self.recorded);
            let is_known = matches!(against, Against::Recorded | Against::Unrecorded);
            self.must_hold(must(NeverForks, is_known, || format!("{against:?}: not what is recorded")));
            self.recorded = self.kept.sequence;
        }
        self.excuse();
        self.leaders[leader] = self.leader();
        false
    }

    /// A leader beside another asks the store before it does anything.
    pub(super) fn refresh(&mut self, leader: usize) {
        if self.place == Place::Store && self.leaders[leader].memory.sequence != self.kept.sequence {
            self.leaders[leader].memory = self.kept.clone();
            self.excuse();
        }
    }
}

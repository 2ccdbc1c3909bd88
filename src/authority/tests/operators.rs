//! Operators of all moods.

use super::world::World;
use crate::authority::order::{Leeway, Order, OrderKind};
use crate::authority::{Authority, AuthorityKind};
use crate::crypto::KeyId;
use std::collections::BTreeSet;

impl World {
    pub(super) fn order(&mut self) {
        let kinds =
            [AuthorityKind::X509Root, AuthorityKind::Jwt, AuthorityKind::X509Root, AuthorityKind::X509Intermediate];
        let authority = kinds[self.chance.of(4)];
        let leader = self.chance.of(self.leaders.len());
        let keys: Vec<KeyId> = self.leaders[leader].memory.of_kind(authority).map(Authority::key_id).collect();
        let key = keys[self.chance.of(keys.len())];
        let kind = match self.chance.below(12) {
            0..=2 => OrderKind::Activate(None),
            3 => OrderKind::Activate(Some(key)),
            4..=6 => OrderKind::Prepare,
            7..=8 => OrderKind::Rollback,
            9..=10 => OrderKind::Taint(key),
            _ => OrderKind::Revoke(key),
        };
        let leeway = match self.chance.below(12) {
            0 => Leeway::Force,
            1..=3 => Leeway::Without(self.some_holders()),
            _ => Leeway::None,
        };
        let order = Order { kind, authority, leeway, uid: 1000, say: None };
        self.note(format!("leader {leader} hears {order:?}"));
        self.visit(leader, Some(&order));
    }

    fn some_holders(&mut self) -> BTreeSet<String> {
        let agents = self.agents.iter().map(|agent| agent.name.clone());
        let mut names: Vec<_> = agents.chain(self.declared.iter().map(|declared| declared.name.clone())).collect();
        names.retain(|_| self.chance.one_in(2));
        names.into_iter().collect()
    }
}

//! Operators of all moods.

use super::world::World;
use crate::authority::order::{Leeway, Order, OrderKind};
use crate::authority::{Authority, AuthorityKind};
use crate::crypto::KeyId;
use std::collections::BTreeSet;

impl World {
    pub(super) fn order(&mut self) {
        let kinds = [
            AuthorityKind::X509Root,
            AuthorityKind::Jwt,
            AuthorityKind::JwtRs256,
            AuthorityKind::X509Root,
            AuthorityKind::X509Intermediate,
        ];
        let authority = kinds[self.chance.of(kinds.len())];
        let leader = self.chance.of(self.leaders.len());
        let memory = &self.leaders[leader].memory;
        // Of a kind that there is none of, another's.
        let meant = |one: &&Authority| one.kind == authority || memory.of_kind(authority).next().is_none();
        let keys: Vec<KeyId> = memory.authorities.iter().filter(meant).map(Authority::key_id).collect();
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
        let declared = self.declared.iter().map(|declared| declared.name.clone());
        let publishers = self.publishers.iter().map(|publisher| publisher.name.clone());
        let mut names: Vec<_> = agents.chain(declared).chain(publishers).collect();
        names.retain(|_| self.chance.one_in(2));
        names.into_iter().collect()
    }
}

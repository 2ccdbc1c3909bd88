//! An authority above ours, as it really is, and what each leader has heard of it.

use super::world::World;
use crate::authority::{Above, rotation::Rotation};
use crate::crypto::{Digest, KeyId};
use crate::upstream::{Certified, UpstreamRoot};
use rustls_pki_types::CertificateDer;
use std::time::Duration;

#[derive(Clone, Debug)]
pub(super) struct Upstream {
    /// What the file of its roots says.
    pub(super) roots: Vec<UpstreamRoot>,
    pub(super) signs_under: UpstreamRoot,
    pub(super) is_away: bool,
}

impl World {
    fn new_upstream_root(&mut self) -> UpstreamRoot {
        let certificate: CertificateDer<'static> = self.chance.below(1 << 60).to_be_bytes().to_vec().into();
        let (name, now) = (KeyId::from_digest(Digest::of(&certificate)), self.wall());
        let forty_days = Duration::from_secs(40 * 86_400);
        UpstreamRoot { name, certificate, not_before: now - forty_days, not_after: now + forty_days }
    }

    pub(super) fn new_upstream(&mut self) -> Upstream {
        let signs_under = self.new_upstream_root();
        Upstream { roots: vec![signs_under.clone()], signs_under, is_away: false }
    }

    pub(super) fn certified(&mut self, upstream: &Upstream) -> Certified {
        let (key, now) = (self.fresh_key(), self.wall());
        // Some give less than they are asked for.
        let life = self.plan.intermediate / if self.chance.one_in(4) { 2 } else { 1 };
        let (certificate, above, root) = (CertificateDer::from(Vec::new()), Vec::new(), upstream.signs_under.name);
        Certified { key, certificate, above, root, not_before: now, not_after: now + life }
    }

    pub(super) fn read_above(&self) -> Option<Above> {
        self.upstream.as_ref().map(|upstream| Above { roots: upstream.roots.clone(), offer: None })
    }

    /// Looks at the roots, and asks if that is due; garbage and unknown roots never get as far as to the keys.
    pub(super) fn hear_above(&mut self, leader: usize) {
        let Some(upstream) = self.upstream.clone() else { return };
        let (known, now) = (self.known(leader), self.wall());
        let Some(above) = &mut self.leaders[leader].above else { return };
        above.roots.clone_from(&upstream.roots);
        let (above, keyring) = (above.clone(), self.leaders[leader].memory.clone());
        let rotation = Rotation { keyring: &keyring, plan: &self.plan, known: &known, above: Some(&above), now };
        let is_due = rotation.asks_at().is_some_and(|at| at <= now);
        if !is_due || self.chance.one_in(3) {
            return;
        }
        let is_known = upstream.roots.contains(&upstream.signs_under);
        if upstream.is_away || !is_known {
            return self.count("asked above in vain");
        }
        let offer = self.certified(&upstream);
        self.leaders[leader].above = Some(Above { offer: Some(offer), ..above });
        self.count("certified above");
    }

    pub(super) fn change_above(&mut self) {
        let Some(mut upstream) = self.upstream.clone() else { return };
        match self.chance.below(8) {
            0 => upstream.is_away = !upstream.is_away,
            1 | 2 if upstream.roots.len() < 3 => upstream.roots.push(self.new_upstream_root()),
            3 | 4 => upstream.signs_under = upstream.roots[self.chance.of(upstream.roots.len())].clone(),
            // Its operators are ahead of ours: we hear of the root when nothing else is signed under.
            5 => upstream.signs_under = self.new_upstream_root(),
            6 if !upstream.roots.contains(&upstream.signs_under) => upstream.roots.push(upstream.signs_under.clone()),
            _ if upstream.roots.len() > 1 => drop(upstream.roots.remove(0)),
            _ => {}
        }
        let Upstream { roots, signs_under, is_away } = &upstream;
        self.note(format!("above: {} roots, signs under {}, away {is_away}", roots.len(), signs_under.name));
        self.upstream = Some(upstream);
    }

    /// The configuration changes, and everybody starts again.
    pub(super) fn move_house(&mut self) {
        self.upstream = if self.upstream.is_some() { None } else { Some(self.new_upstream()) };
        self.count("moves");
        for leader in 0..self.leaders.len() {
            self.restart(leader);
        }
    }
}

//! What an operator's order comes to: one step, or why it cannot be taken now and what would help.

use super::gate::{Gate, MINIMUM_TIME};
use super::rotation::Rotation;
use super::{Authority, AuthorityKind, AuthorityState, By, Keyring, Step, StepKind};
use crate::crypto::KeyId;
use crate::telemetry::rfc3339;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use time::OffsetDateTime;

/// What an operator wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Order {
    /// What.
    pub kind: OrderKind,
    /// For which kind of key.
    pub authority: AuthorityKind,
    /// In spite of what.
    pub leeway: Leeway,
    /// Who: the operator's user id.
    pub uid: u32,
    /// Why, in the operator's words.
    pub say: Option<String>,
}

/// In spite of what an order is carried out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Leeway {
    /// Only if it breaks nothing.
    #[default]
    None,
    /// These holders are not waited for, and everybody else is.
    Without(BTreeSet<String>),
    /// Even if it breaks something.
    Force,
}

/// What is wanted of a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OrderKind {
    /// That a prepared key signs; the only one if none is named. By force a new one, for intermediates.
    Activate(Option<KeyId>),
    /// A key to come, published from now on.
    Prepare,
    /// That a key leaves the bundle, and is erased.
    Revoke(KeyId),
    /// That the former active key signs again.
    Rollback,
    /// That all that a key signed is renewed at once.
    Taint(KeyId),
}

/// How many live identities hang on each signer, by the signer's name.
pub type Live = BTreeMap<Arc<str>, usize>;

/// Why an order cannot be carried out as things stand.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotNow {
    /// The key signs.
    #[error("key {key_id} is the active one: prepare and activate another first")]
    Active {
        /// Which.
        key_id: KeyId,
    },
    /// Something valid hangs on it.
    #[error("{}: wait, or --force --reason", in_use_told(*key_id, (*identities, *ends_at)))]
    InUse {
        /// Which.
        key_id: KeyId,
        /// How many.
        identities: usize,
        /// Until when, at the latest.
        ends_at: OffsetDateTime,
    },
    /// Nobody of that name is waited for.
    #[error("no holder is called {name:?}: `lanyard authority plan` names them")]
    HolderUnknown {
        /// What was named.
        name: String,
    },
    /// Not for keys of this kind.
    #[error("this is not done to keys of kind {}: they are not published, and change by themselves", authority.as_str())]
    Kind {
        /// Which.
        authority: AuthorityKind,
    },
    /// No key to go back to.
    #[error("no former key of kind {} is published and trusted", authority.as_str())]
    NoFormer {
        /// Of which kind.
        authority: AuthorityKind,
    },
    /// Nothing to activate.
    #[error(
        "no key of kind {kind} is prepared: `lanyard authority prepare --kind {kind}` makes one", kind = authority.as_str()
    )]
    NonePrepared {
        /// Of which kind.
        authority: AuthorityKind,
    },
    /// There is one already.
    #[error("key {key_id} is prepared already: activate it, or revoke it")]
    PreparedAlready {
        /// Which.
        key_id: KeyId,
    },
    /// The key is not in a state for it.
    #[error("key {key_id} is {}: {takes}", state.as_str())]
    State {
        /// Which.
        key_id: KeyId,
        /// What it is.
        state: AuthorityState,
        /// What would do.
        takes: &'static str,
    },
    /// It is not ours to decide.
    #[error("this root is the upstream's: {takes}")]
    Upstream {
        /// What would do.
        takes: &'static str,
    },
    /// No such key.
    #[error("there is no key {key_id} of kind {}: `lanyard authority list` has them", authority.as_str())]
    Unknown {
        /// Of which kind.
        authority: AuthorityKind,
        /// Which.
        key_id: KeyId,
    },
    /// Nothing that could sign below it has come from above yet.
    #[error("the upstream has certified no intermediate under {key_id}: it signs under the root that it has in use")]
    Unoffered {
        /// Which root.
        key_id: KeyId,
    },
    /// It would break something.
    #[error("{gate}; --without NAME leaves one of them aside, --force all, either with --reason")]
    Unsafe {
        /// What stands before it.
        gate: Gate,
    },
}

fn in_use_told(key_id: KeyId, (identities, ends_at): (usize, OffsetDateTime)) -> String {
    let ends_at = rfc3339(ends_at);
    format!("key {key_id} is in use until {ends_at} at the latest (live identities: {identities})")
}

impl NotNow {
    /// What stands in the way, without what to do about it: for those who went on in spite of it.
    fn condition(&self) -> String {
        match self {
            Self::InUse { key_id, identities, ends_at } => in_use_told(*key_id, (*identities, *ends_at)),
            other @ (Self::Active { .. }
            | Self::HolderUnknown { .. }
            | Self::Kind { .. }
            | Self::NoFormer { .. }
            | Self::NonePrepared { .. }
            | Self::PreparedAlready { .. }
            | Self::State { .. }
            | Self::Unknown { .. }
            | Self::Unoffered { .. }
            | Self::Upstream { .. }
            | Self::Unsafe { .. }) => other.to_string(),
        }
    }

    /// Its stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Active { .. } => "authority_active",
            Self::HolderUnknown { .. } => "holder_unknown",
            Self::InUse { .. } => "authority_in_use",
            Self::Kind { .. } => "authority_kind",
            Self::NoFormer { .. } => "no_former_authority",
            Self::NonePrepared { .. } => "none_prepared",
            Self::PreparedAlready { .. } => "prepared_already",
            Self::State { .. } => "authority_state",
            Self::Unknown { .. } => "authority_unknown",
            Self::Unoffered { .. } => "not_offered",
            Self::Upstream { .. } => "upstream_decides",
            Self::Unsafe { .. } => "not_safe_yet",
        }
    }
}

impl Rotation<'_> {
    /// What an order comes to.
    ///
    /// # Errors
    /// Why it cannot be done now.
    pub(super) fn ordered(&self, order: &Order, live: &Live) -> Result<Step, NotNow> {
        let authority = order.authority;
        let mut by = By { uid: Some(order.uid), say: order.say.clone(), in_spite_of: Vec::new() };
        let kind = match order.kind {
            OrderKind::Taint(key_id) => return Ok(Step { by, ..self.taintable(authority, key_id)? }),
            OrderKind::Activate(None) if self.is_made_at_once(order) => {
                self.offered(self.signing_root()?)?;
                by.in_spite_of = vec![MINIMUM_TIME.to_owned()];
                StepKind::Succeed
            }
            OrderKind::Activate(wanted) => {
                let next = self.activatable(authority, wanted)?;
                by.in_spite_of = self.left_aside(self.gate(next), &order.leeway)?;
                let kind = self.activate(next);
                if matches!(kind, StepKind::Activate { through: None, .. }) && next.kind == AuthorityKind::X509Root {
                    self.offered(next)?;
                }
                kind
            }
            OrderKind::Prepare => self.preparable(authority)?,
            _ if !authority.is_published() => return Err(NotNow::Kind { authority }),
            OrderKind::Revoke(key_id) => {
                let named = self.named(authority, key_id)?;
                if self.above.is_some_and(|above| above.has(key_id)) {
                    return Err(NotNow::Upstream { takes: "take it out of its roots_file first" });
                }
                if named.state == AuthorityState::Active {
                    return Err(NotNow::Active { key_id });
                }
                if let Some(in_use) = self.in_use(named, live) {
                    by.in_spite_of.push(in_use.condition());
                    (order.leeway == Leeway::Force).then_some(()).ok_or(in_use)?;
                }
                StepKind::Revoke(key_id)
            }
            OrderKind::Rollback => {
                let former = self.former(authority).ok_or(NotNow::NoFormer { authority })?;
                if !former.is_ours() {
                    return Err(NotNow::Upstream {
                        takes: "let it sign under the former one again, then activate that",
                    });
                }
                let key = former.key_id();
                StepKind::Rollback { key, through: self.through(key).map(Authority::key_id) }
            }
        };
        Ok(Step { kind, authority, by })
    }

    /// Whether an intermediate is wanted now that nobody has prepared.
    fn is_made_at_once(&self, order: &Order) -> bool {
        let is_forced = order.leeway == Leeway::Force && order.authority == AuthorityKind::X509Intermediate;
        is_forced && self.activatable(order.authority, None).is_err()
    }

    fn signing_root(&self) -> Result<&Authority, NotNow> {
        let authority = AuthorityKind::X509Root;
        self.keyring.active(authority).ok_or(NotNow::NonePrepared { authority })
    }

    fn preparable(&self, authority: AuthorityKind) -> Result<StepKind, NotNow> {
        match authority {
            AuthorityKind::Journal => Err(NotNow::Kind { authority }),
            AuthorityKind::X509Intermediate => {
                let root = self.signing_root()?;
                self.offered(root)?;
                Ok(StepKind::Prepare { under: Some(root.key_id()) })
            }
            AuthorityKind::X509Root if self.above.is_some() => {
                Err(NotNow::Upstream { takes: "add it to its roots_file, and it is published" })
            }
            AuthorityKind::Jwt | AuthorityKind::JwtRs256 | AuthorityKind::X509Root => {
                match self.prepared(authority).last() {
                    Some(there) => Err(NotNow::PreparedAlready { key_id: there.key_id() }),
                    None => Ok(StepKind::Prepare { under: None }),
                }
            }
        }
    }

    /// Who and what an activation leaves aside, if its order allows that.
    fn left_aside(&self, gate: Gate, leeway: &Leeway) -> Result<Vec<String>, NotNow> {
        let (gate, aside) = match leeway {
            Leeway::Force => return Ok(gate.left_aside(self.now)),
            Leeway::None => (gate, Vec::new()),
            Leeway::Without(names) => {
                let unknown = |name: &&String| !self.known.holders.iter().any(|holder| holder.is_called(name));
                if let Some(name) = names.iter().find(unknown) {
                    return Err(NotNow::HolderUnknown { name: name.clone() });
                }
                gate.without(names)
            }
        };
        if gate.is_open(self.now) { Ok(aside) } else { Err(NotNow::Unsafe { gate }) }
    }

    /// The key that signed before the active one, and is still published and trusted.
    pub(super) fn former(&self, kind: AuthorityKind) -> Option<&Authority> {
        let old = self.keyring.of_kind(kind).filter(|authority| authority.state == AuthorityState::Old);
        let alive = old.filter(|authority| authority.not_after > self.now);
        alive.max_by_key(|authority| (authority.since, authority.generation))
    }

    fn activatable(&self, authority: AuthorityKind, wanted: Option<KeyId>) -> Result<&Authority, NotNow> {
        let root = self.keyring.active(AuthorityKind::X509Root).map(Authority::key_id);
        // One below another root signs when that root does.
        let fits = |one: &Authority| one.kind != AuthorityKind::X509Intermediate || one.issuer == root;
        let Some(key_id) = wanted else {
            let prepared = self.prepared(authority).filter(|one| fits(one));
            return prepared.last().ok_or(NotNow::NonePrepared { authority });
        };
        let takes = "activate takes a prepared key; rollback goes back to the former one";
        match self.named(authority, key_id)? {
            named if !fits(named) => {
                Err(NotNow::State { key_id, state: named.state, takes: "it signs when the root above it does" })
            }
            named if named.state == AuthorityState::Prepared => Ok(named),
            named if named.state == AuthorityState::Old && !named.is_ours() => Ok(named),
            named if named.state == AuthorityState::Active => Err(NotNow::Active { key_id }),
            named => Err(NotNow::State { key_id, state: named.state, takes }),
        }
    }

    /// Whoever holds an intermediate's key passes as its root, so that is what is tainted.
    fn taintable(&self, authority: AuthorityKind, key_id: KeyId) -> Result<Step, NotNow> {
        let named = self.named(authority, key_id)?;
        let root = named.issuer.and_then(|root| self.keyring.find(root));
        let tainted = root.unwrap_or(named);
        let (key_id, state) = (tainted.key_id(), tainted.state);
        match state {
            AuthorityState::Active => Err(NotNow::Active { key_id }),
            AuthorityState::Old if tainted.kind.is_published() => {
                Ok(Step { kind: StepKind::Taint(key_id), authority: tainted.kind, by: By::default() })
            }
            AuthorityState::Old => Err(NotNow::Kind { authority }),
            AuthorityState::Prepared | AuthorityState::Removed | AuthorityState::Tainted => {
                Err(NotNow::State { key_id, state, takes: "taint takes an old key; revoke takes the others" })
            }
        }
    }

    /// Why revoking a key would break something, if it would. What a tainted key signed has been renewed as soon as no live
    /// identity shows it any more; of an old one it is only known when the last has ended.
    fn in_use(&self, named: &Authority, live: &Live) -> Option<NotNow> {
        let key_id = named.key_id();
        let identities = self.keyring.identities_on(named, live);
        let ends_at = self.valid_until(named)?;
        let in_use = match (named.state, named.kind) {
            (AuthorityState::Prepared | AuthorityState::Removed, _) => false,
            (AuthorityState::Tainted, AuthorityKind::X509Root) => identities > 0,
            _ => !self.hangs_on_for(named).is_zero(),
        };
        in_use.then_some(NotNow::InUse { key_id, identities, ends_at })
    }

    fn named(&self, authority: AuthorityKind, key_id: KeyId) -> Result<&Authority, NotNow> {
        self.keyring.find(key_id).filter(|one| one.kind == authority).ok_or(NotNow::Unknown { authority, key_id })
    }
}

impl Keyring {
    /// How many live identities show a chain to this key.
    pub(super) fn identities_on(&self, authority: &Authority, live: &Live) -> usize {
        let of = |one: &Authority| live.get(&*one.key_id().to_string()).copied().unwrap_or(0);
        match authority.kind {
            AuthorityKind::X509Root => self.below(authority.key_id()).map(of).sum(),
            AuthorityKind::X509Intermediate | AuthorityKind::Jwt | AuthorityKind::JwtRs256 | AuthorityKind::Journal => {
                of(authority)
            }
        }
    }
}

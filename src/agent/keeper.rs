//! What the agent holds for its workloads: one writer, many watchers. Each state is whole, never a change.

use super::federated::Federated;
use crate::bundle::Bundle;
use crate::crypto::KeyPair;
use crate::identity::SpiffeId;
use crate::svid::inspect_authority;
use crate::wire::lanyard::FederatedBundles;
use rustls_pki_types::CertificateDer;
use std::sync::Arc;
use time::OffsetDateTime;
use tokio::sync::watch;

/// One X.509-SVID and its private key.
#[derive(Debug)]
pub(super) struct Svid {
    pub(super) spiffe_id: SpiffeId,
    /// The rule's name for it; empty where the rule has only one.
    pub(super) profile: String,
    /// Leaf first, root left out.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: KeyPair,
    pub(super) not_after: OffsetDateTime,
}

/// All that one session gives: never without an SVID, and the bundle always with it (WAPI-40).
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) session: String,
    /// The default one first.
    pub(super) svids: Arc<[Svid]>,
    pub(super) bundle: Arc<Bundle>,
    /// Other trust domains' bundles.
    pub(super) federated: Federated,
    pub(super) session_ends_at: OffsetDateTime,
    /// The kids of tainted JWT keys: what they signed is not handed out.
    pub(super) distrusted: Arc<[String]>,
}

impl Identity {
    /// Whether one of these keys signed one of the SVIDs.
    pub(super) fn is_signed_by(&self, signers: &[String]) -> bool {
        let signer = |svid: &Svid| Some(inspect_authority(svid.chain.get(1)?).ok()?.key_id.to_string());
        self.svids.iter().filter_map(signer).any(|signer| signers.contains(&signer))
    }

    /// Our own bundle and those of other trust domains.
    pub(super) fn bundles(&self) -> impl Iterator<Item = &Bundle> {
        std::iter::once(&*self.bundle).chain(self.federated.bundles())
    }

    /// When the first of the SVIDs ends.
    pub(super) fn not_after(&self) -> OffsetDateTime {
        self.svids.iter().map(|svid| svid.not_after).min().unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

/// What workloads can have now.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// Nothing yet: nobody has logged in, or the server has not answered.
    Waiting,
    /// These.
    Serving(Identity),
    /// Nothing: the session has ended, but a token that could open another one is on its way.
    Between,
    /// Nothing while the server is away: the session lives, and its last SVID is over, or was another process's.
    Lapsed,
    /// Nothing: refused for good, or the session has ended.
    Withdrawn,
    /// Nothing from this process: it is about to end.
    Stopping,
}

impl State {
    /// What is served, if anything is.
    pub(super) fn serving(&self) -> Option<Identity> {
        match self {
            Self::Serving(identity) => Some(identity.clone()),
            Self::Waiting | Self::Between | Self::Lapsed | Self::Withdrawn | Self::Stopping => None,
        }
    }
}

/// Where watchers look.
pub(super) type KeeperWatch = watch::Receiver<State>;

/// The one writer.
#[derive(Debug)]
pub(super) struct Keeper(watch::Sender<State>);

impl Default for Keeper {
    fn default() -> Self {
        Self(watch::Sender::new(State::Waiting))
    }
}

impl Keeper {
    pub(super) fn watch(&self) -> KeeperWatch {
        self.0.subscribe()
    }

    /// What is served now, if anything is.
    pub(super) fn serving(&self) -> Option<Identity> {
        self.0.borrow().serving()
    }

    /// A better identity is in hand. Its bundle may be older than the one that the server has told of since: a newer one
    /// is kept (TDB-27).
    pub(super) fn serve(&self, mut identity: Identity) {
        if let Some(held) = self.serving() {
            identity.distrusted = held.distrusted;
            if newer(&held.bundle, &identity.bundle) {
                identity.bundle = held.bundle;
            }
            if held.session == identity.session {
                identity.federated = identity.federated.beside(&held.federated);
            }
        }
        self.turn(State::Serving(identity));
    }

    /// An identity can come from now on; what is served stays.
    pub(super) fn expect_one(&self) {
        self.0.send_if_modified(|state| {
            let withdrawn = matches!(state, State::Withdrawn);
            if withdrawn {
                *state = State::Between;
            }
            withdrawn
        });
    }

    /// A session lives, and there is no SVID of it.
    pub(super) fn lapse(&self) {
        self.turn(State::Lapsed);
    }

    /// The trust bundle changed; an older one is not taken (TDB-27).
    pub(super) fn take_bundle(&self, json: &[u8]) {
        let Some(held) = self.serving() else { return };
        let bundle = match Bundle::parse(held.bundle.trust_domain.clone(), json) {
            Ok(bundle) => bundle,
            Err(error) => return tracing::error!(%error, "the server's bundle cannot be read; the last one stays"),
        };
        self.0.send_if_modified(|state| match state {
            State::Serving(identity) if newer(&bundle, &identity.bundle) => {
                identity.bundle = Arc::new(bundle);
                true
            }
            State::Serving(_)
            | State::Waiting
            | State::Between
            | State::Lapsed
            | State::Withdrawn
            | State::Stopping => false,
        });
    }

    /// These JWT keys are tainted, and no others. That concerns who asks for a token, not who watches.
    pub(super) fn distrust(&self, kids: &[String]) {
        self.0.send_if_modified(|state| {
            if let State::Serving(identity) = state {
                identity.distrusted = kids.into();
            }
            false
        });
    }

    /// Other trust domains' bundles changed, or whose there are.
    pub(super) fn take_federated(&self, said: FederatedBundles) {
        let Some(held) = self.serving() else { return };
        let federated = Federated::read(said, &held.bundle.trust_domain);
        self.0.send_if_modified(|state| match state {
            State::Serving(identity) if !federated.is_older(&identity.federated) => {
                identity.federated = federated;
                true
            }
            State::Serving(_)
            | State::Waiting
            | State::Between
            | State::Lapsed
            | State::Withdrawn
            | State::Stopping => false,
        });
    }

    /// Nothing more comes from what we have.
    pub(super) fn withdraw(&self) {
        self.turn(State::Withdrawn);
    }

    /// What was served has ended; whoever asks waits for what comes next.
    pub(super) fn withdraw_for_another(&self) {
        self.turn(State::Between);
    }

    /// The process ends; nothing changes this any more.
    pub(super) fn stop(&self) {
        self.turn(State::Stopping);
    }

    fn turn(&self, to: State) {
        self.0.send_if_modified(|state| {
            let goes_on = !matches!(state, State::Stopping);
            if goes_on {
                *state = to;
            }
            goes_on
        });
    }
}

fn newer(bundle: &Bundle, held: &Bundle) -> bool {
    bundle.trust_domain == held.trust_domain && bundle.sequence > held.sequence
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::identity::TrustDomain;
    use std::time::Duration;

    /// Of this session, and nothing in it.
    pub(in crate::agent) fn identity(session: &str) -> Identity {
        let bundle = Bundle {
            trust_domain: TrustDomain::parse("ci.test").unwrap(),
            sequence: 1,
            refresh_hint: Duration::from_secs(300),
            x509_authorities: Vec::new(),
            jwt_authorities: Vec::new(),
        };
        Identity {
            session: session.to_owned(),
            svids: Arc::new([]),
            bundle: Arc::new(bundle),
            federated: Federated::default(),
            session_ends_at: OffsetDateTime::UNIX_EPOCH,
            distrusted: Arc::new([]),
        }
    }
}

//! The SVID that the bundle endpoint's SPIFFE profile shows (SPIFFE Federation §5.2.2): ours, below our own authority, made anew
//! at half of its life and as soon as another intermediate signs, so that nothing long hangs on a retired or tainted one.

use crate::audit::{AdmitError, Changes, Ledger};
use crate::authority::{Authorities, DraftError, OwnSvid, OwnSvidError};
use crate::clock::Clock;
use crate::crypto::{CryptoError, KeyAlgorithm, KeyId, KeyPair};
use crate::identity::{SpiffeId, SpiffeIdError};
use crate::store::StoreError;
use crate::telemetry::{Shutdown, chain};
use crate::tls::{ShownSvid, TlsError};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// Where the server names itself, and what this name is for. No rule can grant an ID below it.
const PATH: [&str; 3] = ["-", "lanyard", "bundle-endpoint"];
/// Long enough that a store in trouble is mended meanwhile, short enough that a copied key is soon worthless.
const LIFETIME: Duration = Duration::from_secs(60 * 60);
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum EndpointSvidError {
    /// The intermediate has ended.
    #[error(transparent)]
    Draft(#[from] DraftError),
    /// The trust domain's name leaves no room for the path.
    #[error(transparent)]
    Id(#[from] SpiffeIdError),
    /// No key could be made.
    #[error(transparent)]
    Key(#[from] CryptoError),
    /// It was not signed.
    #[error(transparent)]
    Sign(#[from] OwnSvidError),
    /// It could not be recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It does not serve.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Keeps it fresh.
#[derive(Debug)]
pub(super) struct EndpointSvid {
    maker: Maker,
    shown: Arc<ShownSvid>,
    now: Current,
}

#[derive(Debug)]
struct Maker {
    spiffe_id: SpiffeId,
    authorities: Arc<Authorities>,
    ledger: Ledger,
}

/// The one that is shown.
#[derive(Debug)]
struct Current {
    signer: KeyId,
    renew_at: OffsetDateTime,
}

impl EndpointSvid {
    /// Makes the first: before it there is nothing to listen with.
    pub(super) async fn begin(
        authorities: Arc<Authorities>,
        ledger: Ledger,
        now: OffsetDateTime,
    ) -> Result<Self, EndpointSvidError> {
        let spiffe_id = SpiffeId::from_segments(authorities.trust_domain(), PATH)?;
        let maker = Maker { spiffe_id, authorities, ledger };
        let (svid, key) = maker.make(now).await?;
        let shown = Arc::new(ShownSvid::new(svid.chain.clone(), &key)?);
        Ok(Self { maker, shown, now: Current::of(&svid, now) })
    }

    /// What the port shows.
    pub(super) fn shown(&self) -> Arc<ShownSvid> {
        Arc::clone(&self.shown)
    }

    /// Renews until shutdown. What cannot be renewed is shown until it can: readers refuse it once it has ended.
    pub(super) async fn run(mut self, clock: Arc<dyn Clock>, shutdown: Shutdown) {
        let mut is_failing = false;
        loop {
            tokio::select! {
                () = shutdown.wait() => return,
                () = clock.wait_until(clock.now() + LOOK_EVERY) => {}
            }
            let now = clock.now();
            if !self.is_due(now) {
                continue;
            }
            match self.renew(now).await {
                Ok(()) => is_failing = false,
                Err(fault) if !is_failing => {
                    is_failing = true;
                    tracing::error!(fault = %chain(&fault), "the bundle endpoint's SVID cannot be renewed; trying again");
                }
                Err(_still) => {}
            }
        }
    }

    fn is_due(&self, now: OffsetDateTime) -> bool {
        now >= self.now.renew_at || self.maker.authorities.signer() != self.now.signer
    }

    async fn renew(&mut self, now: OffsetDateTime) -> Result<(), EndpointSvidError> {
        let (svid, key) = self.maker.make(now).await?;
        self.shown.show(svid.chain.clone(), &key)?;
        self.now = Current::of(&svid, now);
        Ok(())
    }
}

impl Maker {
    async fn make(&self, now: OffsetDateTime) -> Result<(OwnSvid, KeyPair), EndpointSvidError> {
        let key = KeyPair::generate(KeyAlgorithm::EcP256)?;
        let draft = self.authorities.draft_own(&self.spiffe_id, key.public(), LIFETIME, now)?;
        let intent = self.ledger.admit(draft, Changes::default()).await.map_err(|fault| match fault {
            AdmitError::Store(fault) => EndpointSvidError::Store(fault),
            // There is no condition that could fail.
            AdmitError::Conflict { .. } => EndpointSvidError::Store(StoreError::Stopped),
        })?;
        Ok((self.authorities.sign_own(intent)?, key))
    }
}

impl Current {
    fn of(svid: &OwnSvid, made_at: OffsetDateTime) -> Self {
        Self { signer: svid.signer, renew_at: made_at + (svid.not_after - made_at) / 2 }
    }
}

//! Asks one bundle endpoint again and again, alone: a peer that is slow or ill delays no other.

use super::looked::Seen;
use super::schedule::{Pace, jitter_max};
use super::turns::Turn;
use super::{Endpoint, Federation, Foreign, Profile, Source};
use crate::bundle::Bundle;
use crate::clock::Clock;
use crate::discovery::{BundleAsker, Shown};
use crate::identity::{SpiffeId, TrustDomain};
use crate::telemetry::chain;
use crate::tls::SpiffePeer;
use std::sync::Arc;
use std::time::Duration;

/// A thousand peers are not all asked in the first second.
const FIRST_WITHIN: Duration = Duration::from_secs(10);

/// See the file's words.
pub(super) struct Poller {
    federation: Federation,
    trust_domain: TrustDomain,
    source: Source,
    endpoint: Endpoint,
    turn: Turn,
    /// By which bundle it is known, and who asks by that.
    asker: Option<(Option<Arc<Foreign>>, BundleAsker)>,
    /// What the endpoint calls the bundle that is held.
    called: Option<(String, Arc<Foreign>)>,
}

impl Poller {
    pub(super) fn new(
        federation: Federation,
        (trust_domain, source, endpoint): (TrustDomain, Source, Endpoint),
        turn: Turn,
    ) -> Self {
        Self { federation, trust_domain, source, endpoint, turn, asker: None, called: None }
    }

    /// Asks until the relationship is over.
    pub(super) async fn run(mut self, clock: Arc<dyn Clock>) {
        let (mut failures, mut is_heard) = (0_u32, false);
        let mut wait = self.first_wait();
        loop {
            let at = clock.now() + wait;
            self.federation.asks_at((&self.trust_domain, &self.source), at).await;
            tokio::select! {
                turned = self.turn.changed() => if turned.is_err() { return },
                () = clock.wait_until(at) => {}
            }
            let mut turn = self.turn.clone();
            let seen = tokio::select! {
                () = ended(&mut turn) => return,
                seen = self.ask(&clock) => seen,
            };
            let is_good = self.tell(seen, &*clock).await;
            is_heard |= is_good;
            failures = if is_good { 0 } else { failures.saturating_add(1) };
            wait = Pace { hint: self.hint(), is_heard, failures }.wait();
            wait -= self.federation.random().jitter(jitter_max(wait));
        }
    }

    /// Whoever has nothing asks at once.
    fn first_wait(&self) -> Duration {
        let is_held = self.held().is_some();
        if is_held { self.federation.random().jitter(FIRST_WITHIN) } else { Duration::ZERO }
    }

    fn held(&self) -> Option<Arc<Foreign>> {
        self.federation.now().of(&self.trust_domain).cloned()
    }

    fn hint(&self) -> Duration {
        self.held().map_or(Bundle::REFRESH_UNSET, |foreign| foreign.bundle.refresh_hint)
    }

    async fn tell(&mut self, seen: Result<(Seen, Option<String>), String>, clock: &dyn Clock) -> bool {
        let (found, etag) = match seen {
            Ok((seen, etag)) => (Ok(seen), etag),
            Err(why) => (Err(why), None),
        };
        let is_other = matches!(found, Ok(Seen::Bundle(..)));
        let told = self.federation.looked((&self.trust_domain, &self.source), found, clock.now()).await;
        let (trust_domain, url, peer) = (&self.trust_domain, &self.endpoint.url, self.endpoint.endpoint_id());
        let is_good = told.unwrap_or_else(|fault| {
            let why = chain(&fault);
            tracing::error!(%trust_domain, why, "a foreign bundle cannot be recorded");
            false
        });
        let held = self.held();
        tracing::debug!(
            %trust_domain,
            %url,
            peer = peer.map_or_else(|| url.host().to_owned(), SpiffeId::to_string),
            sequence = held.as_ref().map(|foreign| foreign.bundle.sequence),
            keys = held.as_ref().map(|foreign| foreign.bundle.key_ids().join(" ")),
            is_good,
            "a bundle endpoint was asked"
        );
        if is_other {
            self.called = etag.zip(held).filter(|_| is_good);
        }
        is_good
    }

    /// What the endpoint shows, and what it calls that.
    async fn ask(&mut self, clock: &Arc<dyn Clock>) -> Result<(Seen, Option<String>), String> {
        let held = self.held();
        let is_held = |called: &&(String, Arc<Foreign>)| held.as_ref().is_some_and(|held| Arc::ptr_eq(held, &called.1));
        let called = self.called.as_ref().filter(is_held).map(|(etag, _)| etag.clone());
        let url = self.endpoint.url.to_string();
        let shown = self.asker(clock)?.ask(&url, called.as_deref()).await.map_err(|fault| chain(&fault))?;
        match shown {
            Shown::AsBefore => Ok((Seen::AsBefore, called)),
            Shown::Document { body, etag } => {
                let read = Bundle::parse_telling(self.trust_domain.clone(), &body);
                let (bundle, mut odd) = read.map_err(|fault| no_bundle(&body, &chain(&fault)))?;
                let (bundle, others) = bundle.without_others();
                if let (true, Some(other)) = (bundle.x509_authorities.is_empty(), others.first()) {
                    return Err(format!("it shows the bundle of another trust domain: {}", chain(other)));
                }
                odd.extend(others);
                Ok((Seen::Bundle(bundle, odd), etag))
            }
        }
    }

    /// Who asks: by the newest bundle of whoever vouches for the endpoint, where that is its own SVID (FED-17, FED-20).
    fn asker(&mut self, clock: &Arc<dyn Clock>) -> Result<&BundleAsker, String> {
        let by = self.vouching()?;
        let is_known = self.asker.as_ref().is_some_and(|(known, _)| match (known, &by) {
            (Some(known), Some(by)) => Arc::ptr_eq(known, by),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        });
        if !is_known {
            self.asker = None;
        }
        match &mut self.asker {
            Some((_, asker)) => Ok(asker),
            none => {
                let asker = made(&self.endpoint.profile, by.as_deref(), clock)?;
                Ok(&none.insert((by, asker)).1)
            }
        }
    }

    fn vouching(&self) -> Result<Option<Arc<Foreign>>, String> {
        let Some(id) = self.endpoint.endpoint_id() else { return Ok(None) };
        let vouches = id.trust_domain();
        let by = self.federation.now().of(&vouches).cloned();
        by.map(Some).ok_or_else(|| {
            format!(
                "{id} is known by the bundle of {vouches}, and none is held; give it: `lanyard bundle set {vouches}`"
            )
        })
    }
}

fn made(profile: &Profile, by: Option<&Foreign>, clock: &Arc<dyn Clock>) -> Result<BundleAsker, String> {
    let asker = match (profile, by) {
        (Profile::HttpsSpiffe { endpoint_id }, Some(by)) => {
            let peer = SpiffePeer { id: endpoint_id.clone(), bundle: by.bundle.clone() };
            BundleAsker::of_spiffe(&peer, Arc::clone(clock))
        }
        (Profile::HttpsSpiffe { endpoint_id }, None) => return Err(format!("no bundle tells {endpoint_id}")),
        (Profile::HttpsWeb { ca_pem }, _) => BundleAsker::of_web(ca_pem.as_ref().map(String::as_bytes)),
    };
    asker.map_err(|fault| chain(&fault))
}

/// Whoever answers with a page has been asked at the wrong place.
fn no_bundle(body: &[u8], why: &str) -> String {
    if body.trim_ascii_start().starts_with(b"<") {
        return "it answers with a page (HTML or XML) and not with a SPIFFE bundle (JSON): is this the bundle's own URL?"
            .to_owned();
    }
    why.to_owned()
}

async fn ended(turn: &mut Turn) {
    while turn.changed().await.is_ok() {}
}

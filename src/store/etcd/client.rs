//! Questions to etcd: to the endpoint that answered last, and to the next one when that does not. One that may be put twice
//! goes to the next one soon, beside the first: a member that is cut off says nothing, and nobody waits to learn that it is.

use super::error::Fault;
use super::proto::auth_client::AuthClient;
use super::proto::kv_client::KvClient;
use super::proto::lease_client::LeaseClient;
use super::proto::watch_client::WatchClient;
use super::proto::{
    AuthenticateRequest, LeaseGrantRequest, LeaseKeepAliveRequest, RangeRequest, RangeResponse, TxnRequest,
    TxnResponse, WatchRequest, WatchResponse,
};
use arc_swap::ArcSwapOption;
use std::error::Error as _;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};
use zeroize::Zeroizing;

/// An endpoint that answers later is as good as none: etcd's own elections take about as long.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// etcd takes its time to check a password, and more where it has much to do.
const LOGGED_IN_WITHIN: Duration = Duration::from_secs(3);
/// Without an answer by then the next endpoint is asked, too; many times what a member near by needs.
const HEDGE_AFTER: Duration = Duration::from_millis(250);
/// So many at the same time: an etcd that is slow for all is not asked everything three times.
const HEDGES_MAX: usize = 32;
/// etcd's word for: say at once where you know no leader, and end a watch then.
const REQUIRE_LEADER: (&str, &str) = ("hasleader", "true");
/// Between two endpoints, so that a cluster without a leader is not asked in a tight loop.
const PAUSE: Duration = Duration::from_millis(50);
/// A page of values, or what a watch brings at once; etcd's own limit for a request is far below.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// As whom we come, where etcd asks.
#[derive(Clone, Debug)]
pub struct EtcdLogin {
    /// The user.
    pub user: String,
    /// Its password.
    pub password: Zeroizing<String>,
}

/// As whom we ask.
type Token = Arc<AsciiMetadataValue>;
/// The same, and until when an answer counts.
type Admitted = (Option<Token>, Instant);

/// What an endpoint said.
struct Said<A> {
    answer: Result<A, Fault>,
    /// Which one, counted as `place` counts.
    at: usize,
    /// Others were asked, too, and may do it still.
    hedged: bool,
}

/// Asks. Clones share what they know of the endpoints.
#[derive(Clone, Debug)]
pub(super) struct Client(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    channels: Vec<Channel>,
    /// One login at a time at each: however many wait for it, etcd checks the password once.
    logins: Vec<Mutex<()>>,
    /// Which one is asked, modulo their number.
    at: AtomicUsize,
    hedges: Semaphore,
    login: Option<EtcdLogin>,
    token: ArcSwapOption<AsciiMetadataValue>,
}

impl Client {
    pub(super) fn new(channels: Vec<Channel>, login: Option<EtcdLogin>) -> Self {
        let (at, hedges, token) = (AtomicUsize::new(0), Semaphore::new(HEDGES_MAX), ArcSwapOption::empty());
        let logins = channels.iter().map(|_| Mutex::default()).collect();
        Self(Arc::new(Inside { channels, logins, at, hedges, login, token }))
    }

    /// A transaction, put to one endpoint: when that does not answer it may have been done all the same.
    pub(super) async fn txn(&self, txn: TxnRequest) -> Result<TxnResponse, Fault> {
        let ask = |channel, request| async move {
            KvClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).txn(request).await
        };
        self.once(txn, ask).await
    }

    /// A transaction that does no harm when it arrives twice; and whether it may.
    pub(super) async fn txn_hedged(&self, txn: &TxnRequest) -> (Result<TxnResponse, Fault>, bool) {
        let ask = |channel, request| async move { KvClient::new(channel).txn(request).await };
        let Said { answer, hedged, .. } = self.hedged(txn, &ask).await;
        (answer, hedged)
    }

    /// A read that has seen whatever was acknowledged before.
    pub(super) async fn range(&self, range: &RangeRequest, until: Instant) -> Result<RangeResponse, Fault> {
        let ask = |channel, request| async move {
            KvClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).range(request).await
        };
        loop {
            match self.hedged(range, &ask).await.answer {
                Err(Fault::Away(_)) if Instant::now() < until => sleep(PAUSE).await,
                answer => return answer,
            }
        }
    }

    /// A watch; its stream is of the endpoint that is asked now.
    pub(super) async fn watch(&self, wish: WatchRequest) -> Result<Streaming<WatchResponse>, Fault> {
        // Nothing more is said, and a stream that we end would end the watch.
        let wishes = tokio_stream::StreamExt::chain(tokio_stream::once(wish), tokio_stream::pending());
        let ask = |channel, request| async move {
            WatchClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).watch(request).await
        };
        self.once(wishes, ask).await
    }

    /// A lease of so many seconds.
    pub(super) async fn grant(&self, seconds: i64) -> Result<i64, Fault> {
        let ask = |channel, request| async move { LeaseClient::new(channel).lease_grant(request).await };
        Ok(self.once(LeaseGrantRequest { ttl: seconds }, ask).await?.id)
    }

    /// Whether the lease lives on for its whole span.
    pub(super) async fn keep_alive(&self, id: i64) -> Result<bool, Fault> {
        let ask = |channel, request| async move {
            let mut answers = LeaseClient::new(channel).lease_keep_alive(request).await?.into_inner();
            Ok(Response::new(answers.message().await?))
        };
        let kept = self.once(tokio_stream::once(LeaseKeepAliveRequest { id }), ask).await?;
        Ok(kept.is_some_and(|kept| kept.ttl > 0))
    }

    /// The next question goes to another endpoint, unless somebody has turned already.
    pub(super) fn turn(&self, from: usize) {
        self.prefer(from, from.wrapping_add(1));
    }

    fn prefer(&self, from: usize, next: usize) {
        let _turned = self.0.at.compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    }

    /// Which endpoint is asked now.
    pub(super) fn place(&self) -> usize {
        self.0.at.load(Ordering::Relaxed)
    }

    async fn once<Q, A, F>(&self, body: Q, ask: impl FnOnce(Channel, Request<Q>) -> F) -> Result<A, Fault>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.ask_at((self.place(), Instant::now() + ANSWER_WITHIN), body, ask).await
    }

    /// The first good answer; the endpoint that gave it is asked first from then on.
    async fn hedged<Q, A, F, K>(&self, body: &Q, ask: &K) -> Said<A>
    where
        Q: Clone + Send + Sync,
        A: Send,
        K: Fn(Channel, Request<Q>) -> F + Sync,
        F: Future<Output = Result<Response<A>, Status>> + Send,
    {
        let (from, others) = (self.place(), self.0.channels.len().saturating_sub(1));
        let said = self.hedged_from((from, others, Instant::now() + ANSWER_WITHIN), body, ask).await;
        if said.answer.is_ok() {
            self.prefer(from, said.at);
        }
        said
    }

    fn hedged_from<'a, Q, A, F, K>(
        &'a self,
        (at, others, until): (usize, usize, Instant),
        body: &'a Q,
        ask: &'a K,
    ) -> Pin<Box<dyn Future<Output = Said<A>> + Send + 'a>>
    where
        Q: Clone + Send + Sync,
        A: Send + 'a,
        K: Fn(Channel, Request<Q>) -> F + Sync,
        F: Future<Output = Result<Response<A>, Status>> + Send,
    {
        Box::pin(async move {
            let mut first = pin!(self.ask_at((at, until), body.clone(), ask));
            if let Ok(answer) = timeout_at(Instant::now() + HEDGE_AFTER, &mut first).await {
                return Said { answer, at, hedged: false };
            }
            let Some(_hedge) = self.hedge(others) else { return Said { answer: first.await, at, hedged: false } };
            let mut rest = self.hedged_from((at.wrapping_add(1), others.saturating_sub(1), until), body, ask);
            let said = tokio::select! {
                answer = &mut first => match answer {
                    Err(Fault::Away(_)) => rest.await,
                    answer => Said { answer, at, hedged: true },
                },
                said = &mut rest => match said.answer {
                    Err(Fault::Away(_)) => Said { answer: first.await, at, hedged: true },
                    _ => said,
                },
            };
            Said { hedged: true, ..said }
        })
    }

    /// The right to ask another member besides, if there is one.
    fn hedge(&self, others: usize) -> Option<SemaphorePermit<'_>> {
        (others > 0).then(|| self.0.hedges.try_acquire().ok()).flatten()
    }

    async fn ask_at<Q, A, F>(
        &self,
        (at, until): (usize, Instant),
        body: Q,
        ask: impl FnOnce(Channel, Request<Q>) -> F,
    ) -> Result<A, Fault>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let place = at.checked_rem(self.0.channels.len()).unwrap_or_default();
        let channel = self.0.channels.get(place).ok_or_else(|| Fault::Away("there is no endpoint".to_owned()))?;
        let mut shown = None;
        let answer = match timeout(LOGGED_IN_WITHIN, self.logged_in((place, channel), until)).await {
            Ok(Ok((token, until))) => {
                let mut request = Request::new(body);
                request.metadata_mut().insert(REQUIRE_LEADER.0, AsciiMetadataValue::from_static(REQUIRE_LEADER.1));
                shown = token;
                shown.as_deref().map(|token| request.metadata_mut().insert("token", token.clone()));
                let late = |_| Err(Status::deadline_exceeded("no answer within a second"));
                timeout_at(until, ask(channel.clone(), request)).await.unwrap_or_else(late)
            }
            Ok(Err(refused)) => Err(refused),
            Err(_late) => Err(Status::deadline_exceeded("no login within three seconds")),
        };
        match answer {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(self.fault((at, shown), status)),
        }
    }

    /// The token, if etcd asks for one, and until when the question's answer counts: a login does not take of its time.
    async fn logged_in(&self, (place, channel): (usize, &Channel), until: Instant) -> Result<Admitted, Status> {
        let Some(login) = &self.0.login else { return Ok((None, until)) };
        if let Some(token) = self.0.token.load_full() {
            return Ok((Some(token), until));
        }
        let first = self.0.logins.get(place).ok_or_else(|| Status::unavailable("there is no endpoint"))?;
        let _first = first.lock().await;
        if self.0.token.load().is_none() {
            let (name, password) = (login.user.clone(), login.password.as_str().to_owned());
            let answer = AuthClient::new(channel.clone()).authenticate(AuthenticateRequest { name, password }).await?;
            let token = answer.into_inner().token.parse();
            let token = token.map_err(|_odd| Status::permission_denied("etcd's token cannot be sent"))?;
            self.0.token.store(Some(Arc::new(token)));
        }
        Ok((self.0.token.load_full(), Instant::now() + ANSWER_WITHIN))
    }

    /// The next question logs in again.
    pub(super) fn forget_token(&self) {
        self.0.token.store(None);
    }

    /// The same, unless somebody has by now.
    fn forget(&self, token: &Token) {
        self.0.token.rcu(|now| now.clone().filter(|now| !Arc::ptr_eq(now, token)));
    }

    fn fault(&self, (at, shown): (usize, Option<Token>), status: Status) -> Fault {
        // Else the connection says so, not etcd: one that ends for its pings is no refusal.
        let says_etcd = status.source().is_none();
        if let Some(token) = shown.filter(|_| says_etcd && is_of_token(&status)) {
            // It is too old, or etcd began anew.
            self.forget(&token);
            return Fault::Away(status.message().to_owned());
        }
        match status.code() {
            Code::OutOfRange if status.message().contains("compacted") => Fault::Compacted,
            _ if !says_etcd => {
                self.turn(at);
                Fault::Away(status.message().to_owned())
            }
            Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::InvalidArgument
            | Code::NotFound
            | Code::OutOfRange
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::Unauthenticated
            | Code::Unimplemented => Fault::Refused(Box::new(status)),
            Code::Aborted
            | Code::Cancelled
            | Code::DataLoss
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::Ok
            | Code::Unavailable
            | Code::Unknown => {
                self.turn(at);
                Fault::Away(status.message().to_owned())
            }
        }
    }
}

/// Whether it is not ourselves but the token that is refused. Whatever else etcd has changed, a new one fits.
fn is_of_token(status: &Status) -> bool {
    let of_store = || status.message().contains("auth store") || status.message().contains("auth token");
    status.code() == Code::Unauthenticated || of_store()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_that_are_refused_with_one_token_both_may_ask_again_and_a_newer_one_stays() {
        let client = Client::new(Vec::new(), None);
        let [old, new] = ["old", "new"].map(|token| Arc::new(AsciiMetadataValue::from_static(token)));
        let refuse = |token: &Token| {
            let fault =
                client.fault((0, Some(Arc::clone(token))), Status::unauthenticated("etcdserver: invalid auth token"));
            assert!(matches!(fault, Fault::Away(_)), "{fault:?}");
        };
        client.0.token.store(Some(Arc::clone(&old)));
        refuse(&old);
        assert!(client.0.token.load().is_none());
        refuse(&old);
        client.0.token.store(Some(Arc::clone(&new)));
        refuse(&old);
        assert!(client.0.token.load().is_some());
        refuse(&new);
        assert!(client.0.token.load().is_none());
        let ourselves = client.fault((0, None), Status::unauthenticated("etcdserver: authentication failed"));
        assert!(matches!(ourselves, Fault::Refused(_)), "{ourselves:?}");
    }
}

//! Questions to etcd: to the endpoint that answered last, and to the next one when that does not.

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
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};
use zeroize::Zeroizing;

/// An endpoint that answers later is as good as none: etcd's own elections take about as long.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
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

/// Asks. Clones share what they know of the endpoints.
#[derive(Clone, Debug)]
pub(super) struct Client(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    channels: Vec<Channel>,
    /// Which one is asked, modulo their number.
    at: AtomicUsize,
    login: Option<EtcdLogin>,
    token: ArcSwapOption<AsciiMetadataValue>,
}

impl Client {
    pub(super) fn new(channels: Vec<Channel>, login: Option<EtcdLogin>) -> Self {
        Self(Arc::new(Inside { channels, at: AtomicUsize::new(0), login, token: ArcSwapOption::empty() }))
    }

    /// A transaction, tried once: when nobody answers it may have been done all the same.
    pub(super) async fn txn(&self, txn: TxnRequest) -> Result<TxnResponse, Fault> {
        self.once(txn, |channel, request| async move { KvClient::new(channel).txn(request).await }).await
    }

    /// A read that has seen whatever was acknowledged before.
    pub(super) async fn range(&self, range: &RangeRequest, until: Instant) -> Result<RangeResponse, Fault> {
        let ask = |channel, request| async move {
            KvClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).range(request).await
        };
        loop {
            match self.once(range.clone(), ask).await {
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
        let next = from.wrapping_add(1);
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
        let (at, count) = (self.place(), self.0.channels.len());
        let channel = at.checked_rem(count).and_then(|at| self.0.channels.get(at)).cloned();
        let channel = channel.ok_or_else(|| Fault::Away("there is no endpoint".to_owned()))?;
        let asked = async {
            let request = self.request(body, &channel).await?;
            ask(channel.clone(), request).await
        };
        let answer = timeout(ANSWER_WITHIN, asked).await;
        match answer.unwrap_or_else(|_late| Err(Status::deadline_exceeded("no answer within a second"))) {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(self.fault(at, status)),
        }
    }

    async fn request<Q>(&self, body: Q, channel: &Channel) -> Result<Request<Q>, Status> {
        let mut request = Request::new(body);
        if let Some(login) = &self.0.login {
            if self.0.token.load().is_none() {
                let (name, password) = (login.user.clone(), login.password.as_str().to_owned());
                let answer =
                    AuthClient::new(channel.clone()).authenticate(AuthenticateRequest { name, password }).await?;
                let token = answer.into_inner().token.parse();
                let token = token.map_err(|_odd| Status::permission_denied("etcd's token cannot be sent"))?;
                self.0.token.store(Some(Arc::new(token)));
            }
            if let Some(token) = self.0.token.load_full() {
                request.metadata_mut().insert("token", AsciiMetadataValue::clone(&token));
            }
        }
        Ok(request)
    }

    /// The next question logs in again.
    pub(super) fn forget_token(&self) {
        self.0.token.store(None);
    }

    /// Whether it is not ourselves but the token that is refused. Whatever else etcd has changed, a new one fits.
    fn is_of_token(&self, status: &Status) -> bool {
        let of_store = || status.message().contains("auth store") || status.message().contains("auth token");
        self.0.token.load().is_some() && (status.code() == Code::Unauthenticated || of_store())
    }

    fn fault(&self, at: usize, status: Status) -> Fault {
        match status.code() {
            Code::OutOfRange if status.message().contains("compacted") => Fault::Compacted,
            _ if self.is_of_token(&status) => {
                // It is too old, or etcd began anew: the next question logs in again.
                self.forget_token();
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

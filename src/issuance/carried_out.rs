//! What is begun is carried out, also when whoever asked for it hangs up.
//!
//! An end is durable first, then agents are told and revocation lists hear of it. A handler that is dropped between the two
//! must not leave it at that until the next start.

use crate::store::StoreError;

/// Does it to its end, whoever still waits.
#[expect(clippy::disallowed_methods, reason = "it ends by itself: the store answers, or has stopped")]
pub(super) async fn carried_out<T, E>(deed: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    // A task that broke down has said so itself.
    tokio::spawn(deed).await.unwrap_or_else(|_stopped| Err(StoreError::Stopped.into()))
}

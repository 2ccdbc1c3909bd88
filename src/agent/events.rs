//! What the server says of its own accord, over a stream that is opened again whenever it is lost.

use super::link::{Held, LinkError, ServerLink};
use super::renewal;
use crate::clock::Clock;
use crate::crypto::Random;
use crate::wire::lanyard::Event;
use crate::wire::lanyard::event::Kind;
use std::pin::Pin;
use std::sync::Arc;
use time::OffsetDateTime;
use tonic::Streaming;

/// A stream that the server is asked for.
type Asked = Pin<Box<dyn Future<Output = Result<Streaming<Event>, LinkError>> + Send>>;

/// The stream, or the time to try again.
pub(super) struct ServerEvents {
    link: ServerLink,
    sessions: Vec<String>,
    clock: Arc<dyn Clock>,
    random: Random,
    stream: Option<Streaming<Event>>,
    asked: Option<Asked>,
    failures: u32,
    open_at: OffsetDateTime,
}

impl ServerEvents {
    pub(super) fn new(link: ServerLink, sessions: Vec<String>, clock: Arc<dyn Clock>, random: Random) -> Self {
        let open_at = clock.now();
        Self { link, sessions, clock, random, stream: None, asked: None, failures: 0, open_at }
    }

    /// The next event for whoever holds this. Dropping the future loses no event and no request.
    pub(super) async fn next(&mut self, held: &Held) -> Kind {
        loop {
            let Some(stream) = &mut self.stream else {
                self.clock.wait_until(self.open_at).await;
                self.open(held).await;
                continue;
            };
            match stream.message().await {
                Ok(Some(Event { kind: Some(kind) })) => {
                    self.failures = 0;
                    return kind;
                }
                // An event of a newer server.
                Ok(Some(Event { kind: None })) => {}
                Ok(None) => self.lost("the server closed it"),
                Err(status) => self.lost(status.message()),
            }
        }
    }

    async fn open(&mut self, held: &Held) {
        let asked = self.asked.get_or_insert_with(|| {
            let (link, sessions, held) = (self.link.clone(), self.sessions.clone(), held.clone());
            Box::pin(async move { link.watch(sessions, held).await })
        });
        let answer = asked.await;
        self.asked = None;
        match answer {
            Ok(stream) => self.stream = Some(stream),
            Err(error) => self.lost(&error.to_string()),
        }
    }

    fn lost(&mut self, why: &str) {
        self.stream = None;
        self.failures = self.failures.saturating_add(1);
        self.open_at = self.clock.now() + renewal::retry_after(self.failures, &self.random);
        tracing::debug!(why, failures = self.failures, "the server's events are not heard");
    }
}

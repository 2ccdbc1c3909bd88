//! What a caller of the sockets is served: its job's identity, whole, as long as it stays in its job.
//!
//! A stream is held open in silence while an SVID can still come, then sends the whole state at once and again when
//! it changes, and never ends with OK, since several clients do not come back after that (RUN-2):
//! `Unavailable` when what it served is gone or the agent stops, `PermissionDenied` when there was never anything.

use super::calls::Connection;
use super::desk::{Guest, Job, NO_IDENTITY};
use super::keeper::{Identity, State};
use std::pin::Pin;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

/// A stream of full states.
pub(super) type States<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Brings a call to its caller's job, or turns it away, before anything else is looked at.
pub(super) fn with_job(mut request: Request<()>) -> Result<Request<()>, Status> {
    let connection = request.extensions().get::<Connection>();
    let job = connection.ok_or_else(|| Status::permission_denied(NO_IDENTITY))?.guest.job();
    let job = job.map_err(|why| Status::from(&why))?;
    request.extensions_mut().insert(job);
    Ok(request)
}

/// A caller in its job.
#[derive(Clone)]
pub(super) struct Caller {
    guest: Guest,
    pub(super) job: Job,
}

impl Caller {
    pub(super) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let (connection, job) = (request.extensions().get::<Connection>(), request.extensions().get::<Job>());
        let (Some(Connection { guest, .. }), Some(job)) = (connection, job) else {
            return Err(Status::permission_denied(NO_IDENTITY));
        };
        Ok(Self { guest: guest.clone(), job: job.clone() })
    }

    /// Whether it is in its job still: asked right before anything is handed out.
    pub(super) fn stays(&self) -> Result<(), Status> {
        self.guest.job().map(drop).map_err(|why| Status::from(&why))
    }

    /// What can be handed out at this moment, if anything can.
    pub(super) fn served(&self) -> Result<Option<Identity>, Status> {
        self.stays()?;
        Ok(self.job.shown.serving())
    }

    /// The identity and each that follows it; a slow reader gets the newest only.
    pub(super) fn identities(self) -> impl Stream<Item = Result<Identity, Status>> + Send {
        let mut served = false;
        let states = self.job.shown.clone().states().filter_map(move |state| match (state, served) {
            (State::Serving(identity), _) => {
                served = true;
                Some(self.stays().map(|()| identity))
            }
            (State::Stopping, _) => Some(Err(stopping())),
            (State::Waiting | State::Between | State::Lapsed, false) => None,
            (State::Withdrawn, false) => Some(Err(Status::permission_denied(NO_IDENTITY))),
            (State::Waiting | State::Between | State::Lapsed | State::Withdrawn, true) => {
                Some(Err(Status::unavailable("the identity has ended")))
            }
        });
        // The keeper lives as long as the process; should it go first, the stream still must not end with OK.
        states.chain(tokio_stream::once(Err(stopping())))
    }

    /// The same, each as the message that `render` makes of it; equal ones are sent once.
    pub(super) fn states<T>(self, render: impl Fn(&Identity) -> T + Send + 'static) -> Response<States<T>>
    where
        T: Clone + PartialEq + Send + 'static,
    {
        let mut sent: Option<T> = None;
        Response::new(Box::pin(self.identities().filter_map(move |identity| match identity {
            Err(status) => Some(Err(status)),
            Ok(identity) => {
                let message = render(&identity);
                let changed = sent.as_ref() != Some(&message);
                sent = Some(message.clone());
                changed.then_some(Ok(message))
            }
        })))
    }

    /// What is served, waiting for it while it can still come; the caller's own deadline is the limit.
    pub(super) async fn identity(&self) -> Result<Identity, Status> {
        let mut shown = self.job.shown.clone();
        loop {
            match shown.look() {
                State::Serving(identity) => {
                    self.stays()?;
                    return Ok(identity);
                }
                State::Withdrawn => return Err(Status::permission_denied(NO_IDENTITY)),
                State::Waiting | State::Between | State::Lapsed if shown.changed().await => {}
                State::Waiting | State::Between | State::Lapsed | State::Stopping => return Err(stopping()),
            }
        }
    }
}

fn stopping() -> Status {
    Status::unavailable("the agent is stopping")
}

//! The threads that serve the issuer port: a connection stays on one of them, from its handshake to its end.
//!
//! What a request makes is used and dropped on the core that made it, while it still lies in that core's cache; answers of
//! one connection become ready on one thread and leave together; and no thread takes work from another, or wakes it.
//! So work is spread over the cores by connections: each goes to the thread that serves the fewest.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::thread;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// One thread for each core, until it is dropped.
#[derive(Debug)]
pub(in crate::server) struct Crew(Vec<Member>);

#[derive(Debug)]
struct Member {
    seat: Seat,
    /// Its thread ends when this goes.
    _stays: oneshot::Sender<Infallible>,
}

/// A connection's place on a thread; held as long as the connection lasts.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub(super) runtime: Handle,
    taken: Arc<()>,
}

impl Crew {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system gives none.
    pub(in crate::server) fn muster() -> io::Result<Self> {
        let cores = thread::available_parallelism()?.get();
        Ok(Self((0..cores).map(|_| Member::start()).collect::<Result<_, _>>()?))
    }

    /// A place on the thread that serves the fewest connections.
    pub(super) fn seat(&self) -> Option<Seat> {
        let least = self.0.iter().min_by_key(|member| Arc::strong_count(&member.seat.taken));
        least.map(|member| member.seat.clone())
    }
}

impl Member {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stays, gone) = oneshot::channel();
        let seat = Seat { runtime: runtime.handle().clone(), taken: Arc::default() };
        // What is under way when the crew goes ends with the thread.
        let serve = move || drop(runtime.block_on(gone));
        thread::Builder::new().name("door".into()).spawn(serve)?;
        Ok(Self { seat, _stays: stays })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_goes_to_the_thread_that_serves_the_fewest() {
        let crew = Crew(vec![Member::start().unwrap(), Member::start().unwrap()]);
        let [first, second] = [(); 2].map(|()| crew.seat().unwrap());
        assert_ne!(first.runtime.id(), second.runtime.id());
        let gone = first.runtime.id();
        drop(first);
        assert_eq!(crew.seat().unwrap().runtime.id(), gone);
        assert_ne!(second.runtime.id(), gone);
    }
}

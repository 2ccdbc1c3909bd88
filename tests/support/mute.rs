//! A way to a server on which answers can be lost while all that is asked arrives, or connections end with a reproach.
#![expect(clippy::unwrap_used, reason = "what cannot go on here ends the test, and says so")]
#![expect(clippy::disallowed_methods, reason = "a way of its own needs tasks of its own")]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// GOAWAY, `ENHANCE_YOUR_CALM` (RFC 9113 §6.8): so says the library of etcd to whoever pings too often. In turn: all streams
/// that have begun may go on, and none of them was seen.
const TOO_MANY_PINGS: [&[u8]; 2] = [
    b"\0\0\x16\x07\0\0\0\0\0\x7f\xff\xff\xff\0\0\0\x0btoo_many_pings",
    b"\0\0\x16\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0btoo_many_pings",
];

/// To one port of loopback.
pub(crate) struct Way {
    pub(crate) port: u16,
    state: Arc<watch::Sender<State>>,
    reproached: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Open,
    /// Answers are read and thrown away.
    Mute,
    /// Instead of the next answer its connection is told that it pings too often, and ends.
    Reproaching,
    /// Whoever is on it is cut off.
    Cut,
}

/// One connection, until it is cut.
async fn lead(from: TcpStream, port: u16, (state, reproached): (Arc<watch::Sender<State>>, Arc<AtomicUsize>)) {
    let Ok(to) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
    let mut over = state.subscribe();
    tokio::select! {
        () = carry(from, to, (&state, &reproached)) => {}
        _ = over.wait_for(|state| *state == State::Cut) => {}
    }
}

impl Way {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let state = Arc::new(watch::Sender::new(State::Open));
        let reproached = Arc::<AtomicUsize>::default();
        let seen = (Arc::clone(&state), Arc::clone(&reproached));
        drop(tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                drop(tokio::spawn(lead(from, port, seen.clone())));
            }
        }));
        Self { port: own, state, reproached }
    }

    /// From now on no answer arrives.
    pub(crate) fn mute(&self) {
        self.state.send_replace(State::Mute);
    }

    /// Instead of the next answer its connection is told that it pings too often, and ends.
    pub(crate) fn reproach(&self) {
        self.state.send_replace(State::Reproaching);
    }

    /// How many connections ended so.
    pub(crate) fn reproached(&self) -> usize {
        self.reproached.load(Ordering::Relaxed)
    }

    /// Whoever is on it is cut off; who comes then is answered.
    pub(crate) async fn open_anew(&self) {
        self.state.send_replace(State::Cut);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        self.state.send_replace(State::Open);
    }
}

/// One connection is reproached, and no other.
fn is_over(state: &mut State) -> bool {
    let reproaches = *state == State::Reproaching;
    *state = if reproaches { State::Open } else { *state };
    reproaches
}

async fn carry(from: TcpStream, to: TcpStream, (state, reproaches): (&watch::Sender<State>, &AtomicUsize)) {
    let ((mut asked, mut answers), (mut answered, mut asks)) = (from.into_split(), to.into_split());
    let back = async {
        let mut piece = vec![0; 1 << 14];
        while let Ok(length @ 1..) = answered.read(&mut piece).await {
            if state.send_if_modified(is_over) {
                let before = reproaches.fetch_add(1, Ordering::Relaxed);
                // Whoever has gone already needs to hear nothing.
                let _told = answers.write_all(TOO_MANY_PINGS[before % 2]).await;
                return;
            }
            if *state.borrow() == State::Open && answers.write_all(&piece[..length]).await.is_err() {
                return;
            }
        }
    };
    let forth = tokio::io::copy(&mut asked, &mut asks);
    tokio::select! {
        () = back => {}
        _ = forth => {}
    }
}

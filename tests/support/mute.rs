//! A way to a server on which answers can be lost, while all that is asked arrives.
#![expect(clippy::unwrap_used, reason = "what cannot go on here ends the test, and says so")]
#![expect(clippy::disallowed_methods, reason = "a way of its own needs tasks of its own")]

use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// To one port of loopback.
pub(crate) struct Way {
    pub(crate) port: u16,
    state: Arc<watch::Sender<State>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Open,
    /// Answers are read and thrown away.
    Mute,
    /// Whoever is on it is cut off.
    Cut,
}

/// One connection, until it is cut.
async fn lead(from: TcpStream, port: u16, mut state: watch::Receiver<State>) {
    let Ok(to) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
    let over = state.clone();
    tokio::select! {
        () = carry(from, to, over) => {}
        _ = state.wait_for(|state| *state == State::Cut) => {}
    }
}

impl Way {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let state = Arc::new(watch::Sender::new(State::Open));
        let seen = Arc::clone(&state);
        drop(tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                drop(tokio::spawn(lead(from, port, seen.subscribe())));
            }
        }));
        Self { port: own, state }
    }

    /// From now on no answer arrives.
    pub(crate) fn mute(&self) {
        self.state.send_replace(State::Mute);
    }

    /// Whoever is on it is cut off; who comes then is answered.
    pub(crate) async fn open_anew(&self) {
        self.state.send_replace(State::Cut);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        self.state.send_replace(State::Open);
    }
}

async fn carry(from: TcpStream, to: TcpStream, state: watch::Receiver<State>) {
    let ((mut asked, mut answers), (mut answered, mut asks)) = (from.into_split(), to.into_split());
    let back = async {
        let mut piece = vec![0; 1 << 14];
        while let Ok(length @ 1..) = answered.read(&mut piece).await {
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

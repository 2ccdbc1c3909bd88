//! A server on loopback that answers as a test says, one connection a question.
#![expect(clippy::unwrap_used, reason = "a server of tests: what fails ends the test")]

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What is answered to a path with its query, from whoever shows this authorization, or sends this.
pub(crate) type Answer = Box<dyn FnMut(&str, &str) -> Reply + Send>;

/// An answer.
pub(crate) struct Reply {
    pub(crate) status: &'static str,
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn of(status: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: String::new(), body: body.into() }
    }

    pub(crate) fn json(body: &Value) -> Self {
        Self::of("200 OK", body.to_string())
    }

    pub(crate) fn with(mut self, header: &str) -> Self {
        self.headers.push_str(header);
        self.headers.push_str("\r\n");
        self
    }
}

/// The server, until it is dropped with the test's process.
pub(crate) struct Scripted {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<String>>>,
    answer: Arc<Mutex<Answer>>,
}

impl Scripted {
    pub(crate) fn new(answer: impl FnMut(&str, &str) -> Reply + Send + 'static) -> Self {
        let answer: Answer = Box::new(answer);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (asked, answer) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(Mutex::new(answer)));
        let (of_thread, by_thread) = (Arc::clone(&asked), Arc::clone(&answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, &of_thread, &by_thread);
            }
        });
        Self { url, asked, answer }
    }

    /// Answers otherwise from now on.
    pub(crate) fn answers(&self, answer: impl FnMut(&str, &str) -> Reply + Send + 'static) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    /// What was asked since.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().drain(..).collect()
    }
}

fn serve(mut stream: TcpStream, asked: &Mutex<Vec<String>>, answer: &Mutex<Answer>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = reader.by_ref().lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    let header = |name: &str| {
        let of = |line: &String| {
            line.split_once(": ").filter(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, v)| v.to_owned())
        };
        head.iter().find_map(of)
    };
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut sent = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut sent).unwrap();
    let sent = String::from_utf8(sent).unwrap();
    let let_in = header("authorization").or_else(|| header("private-token")).unwrap_or(sent);
    asked.lock().unwrap().push(path.clone());
    let Reply { status, headers, body } = (answer.lock().unwrap())(&path, &let_in);
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len());
    // Whoever has read enough hangs up.
    drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)));
}

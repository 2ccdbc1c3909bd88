//! SPIFFE clients that others wrote, as their authors ship them, each behind the same few words.
//!
//! A client is told a line at a time what to do, and says a line of JSON for what came of it, `step` being the word it
//! was told:
//!
//! ```text
//! x509_svid                      spiffe_id, chain (its length), serial; verified with the bundle that came along
//! x509_bundles, jwt_bundles      trust_domains, authorities (how many in all)
//! jwt_svid AUDIENCE…             spiffe_id, audience, token
//! validate TOKEN AUDIENCE        spiffe_id; by the agent, then by the library with the agent's bundles
//! watch NAME                     nothing, but later as often as it happens: `update` with spiffe_id and serial,
//!                                `watch_error` where the library says so and tries again, `watch_ended` where it
//!                                gives up; each with `watch`
//! ```
//!
//! What fails is said with `code`, the gRPC status, and `message`. The end of the input ends the client.
//! `tests/run` installs the three that are programs of their own and says where they are; without them these tests
//! fail, since nothing else can stand in.

mod matrix;
mod rust;

use super::running::{Running, eventually};
use crate::installed::installed;
use serde_json::Value;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tonic::Code;

/// Longer than any client waits before it comes back, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(45);

/// One of them, ready to be told.
struct Client {
    name: &'static str,
    tell: UnboundedSender<String>,
    said: UnboundedReceiver<Value>,
    /// What it said while something else was waited for.
    unheard: VecDeque<Value>,
    /// What it prints for people.
    complaints: PathBuf,
}

/// All four on one socket.
async fn every_client(agent: &Running) -> [Client; 4] {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/py/workload_client.py");
    let mut python = Command::new(installed("LANYARD_TEST_PYTHON"));
    python.arg(script);
    // A JVM that compiles little starts sooner, and these live for seconds.
    let mut java = Command::new("java");
    java.args(["-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", &installed("LANYARD_TEST_JAVA"), "WorkloadClient"]);
    let mut clients = [
        Client::program("go-spiffe", Command::new(installed("LANYARD_TEST_GO")), agent),
        Client::program("java-spiffe", java, agent),
        Client::program("py-spiffe", python, agent),
        Client::in_process("rust-spiffe", agent),
    ];
    for client in &mut clients {
        client.hear("ready").await;
    }
    clients
}

impl Client {
    fn program(name: &'static str, mut program: Command, agent: &Running) -> Self {
        let complaints = agent.folder.path().join(name);
        let mut program = program
            .env("SPIFFE_ENDPOINT_SOCKET", agent.endpoint())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&complaints).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (mut input, output) = (program.stdin.take().unwrap(), program.stdout.take().unwrap());
        let ((tell, mut told), (say, said)) = (unbounded_channel::<String>(), unbounded_channel());
        tokio::spawn(async move {
            while let Some(line) = told.recv().await {
                input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
            }
            drop(input);
            program.wait().await.unwrap()
        });
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Some(line) = lines.next_line().await.unwrap() {
                drop(say.send(serde_json::from_str(&line).unwrap()));
            }
        });
        Self { name, tell, said, unheard: VecDeque::new(), complaints }
    }

    fn in_process(name: &'static str, agent: &Running) -> Self {
        let ((tell, told), (say, said)) = (unbounded_channel(), unbounded_channel());
        tokio::spawn(rust::run(agent.endpoint(), told, say));
        Self { name, tell, said, unheard: VecDeque::new(), complaints: PathBuf::new() }
    }

    fn tell(&self, command: &str) {
        self.tell.send(command.to_owned()).unwrap();
    }

    /// The next line of one kind; others stay to be heard.
    async fn hear(&mut self, step: &str) -> Value {
        self.hear_one(step, |said| said["step"] == step).await
    }

    async fn hear_one(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.unheard.iter().position(&wanted) {
            return self.unheard.remove(at).unwrap();
        }
        let limit = tokio::time::Instant::now() + PATIENCE;
        loop {
            let said = tokio::time::timeout_at(limit, self.said.recv()).await.ok().flatten();
            match said {
                Some(said) if wanted(&said) => return said,
                Some(other) => self.unheard.push_back(other),
                None => {
                    let log = std::fs::read_to_string(&self.complaints).unwrap_or_default();
                    panic!("{}: no {what}, or it is gone; it said {:?}\n{log}", self.name, self.unheard)
                }
            }
        }
    }

    /// What came of a command, which has to be this and may be more.
    async fn gets(&mut self, command: &str, wanted: &Value) -> Value {
        self.tell(command);
        self.answers(command, wanted).await
    }

    /// The same for a command given earlier.
    async fn answers(&mut self, command: &str, wanted: &Value) -> Value {
        let answer = self.hear(command.split(' ').next().unwrap()).await;
        for (fact, value) in wanted.as_object().unwrap() {
            assert_eq!(answer.get(fact), Some(value), "{}, {command}: {answer}", self.name);
        }
        answer
    }

    /// A command that fails so; what the client says of it.
    async fn is_refused(&mut self, command: &str, code: Code) -> String {
        let answer = self.gets(command, &serde_json::json!({"code": i32::from(code)})).await;
        answer["message"].as_str().unwrap().to_owned()
    }

    /// The next SVID over a stream whose serial is another; gives that back.
    async fn sees_another_than(&mut self, known: &str, watch: &str) -> String {
        let another = |said: &Value| said["step"] == "update" && said["watch"] == watch && said["serial"] != known;
        let update = self.hear_one("update", another).await;
        assert_eq!(update["spiffe_id"], super::issuer::ID, "{}", self.name);
        update["serial"].as_str().unwrap().to_owned()
    }

    /// Waits until this was the answer to a stream that it opened by itself. Java keeps it from its caller, but not
    /// from its log; Python says nothing, and is the first to ask again.
    async fn knows_on_its_stream(&mut self, why: &str) {
        match self.name {
            "py-spiffe" => {}
            "java-spiffe" => {
                let logged = || std::fs::read_to_string(&self.complaints).unwrap().contains(why);
                tokio::time::timeout(PATIENCE, eventually(logged)).await.expect(self.name);
            }
            _ => drop(self.hear_one(why, |said| said["watch"] == "a" && said.to_string().contains(why)).await),
        }
    }

    /// Whether it has said nothing that nobody has heard.
    fn is_silent(&mut self) -> bool {
        while let Ok(said) = self.said.try_recv() {
            self.unheard.push_back(said);
        }
        self.unheard.is_empty()
    }

    /// Whether it has said this of a stream, without anybody waiting for it.
    fn has_said(&mut self, step: &str, watch: &str) -> bool {
        !self.is_silent() && self.unheard.iter().any(|said| said["step"] == step && said["watch"] == watch)
    }
}

//! `lanyard login` and `lanyard logout`: the job's token to a running agent, and the end of its session.

use super::failure::{NotReachable, WrongSocket, WrongUsage, unreadable};
use super::{render, snippet};
use crate::config::{Environment, SystemEnvironment};
use crate::wire::lanyard::JobEnd;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::UnixStream;
use zeroize::Zeroizing;

/// Answers of an agent are small.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The agent's word for a session that is over there, while the server does not know.
const SERVER_NOT_TOLD: &str = "server_not_told";

/// Hands the job's token to a running agent; returns when the first SVID is there
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    token: TokenArgs,
    /// The agent's own socket
    #[arg(long, env = "LANYARD_AGENT_SOCKET", value_name = "PATH")]
    agent_socket: PathBuf,
    /// How long to wait for the first SVID, in seconds
    #[arg(long, default_value_t = 120, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    wait: u64,
    /// Print the agent's answer as JSON
    #[arg(long)]
    json: bool,
}

/// Ends the job's session: what is served ends at once, and the token cannot open it again
#[derive(clap::Args, Debug)]
pub(crate) struct LogoutArgs {
    /// The agent's own socket
    #[arg(long, env = "LANYARD_AGENT_SOCKET", value_name = "PATH")]
    agent_socket: PathBuf,
}

/// Where the job's token is. Never the token itself: command lines can be read by others.
#[derive(clap::Args, Debug)]
pub(super) struct TokenArgs {
    /// The variable that holds the job's token
    #[arg(long, default_value = "LANYARD_ID_TOKEN", value_name = "NAME")]
    pub(super) token_env: String,
    /// A file that holds the job's token, in place of the variable
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
}

/// What the agent's socket says.
pub(super) enum Answer {
    Done(Bytes),
    Refused(Problem),
}

/// A refusal as RFC 9457 writes it.
#[derive(Debug, Deserialize)]
pub(super) struct Problem {
    #[serde(default)]
    pub(super) code: String,
    #[serde(default)]
    pub(super) detail: String,
    #[serde(default)]
    pub(super) request_id: String,
    /// The audience that the job's token should have, where the token is what is wrong.
    #[serde(default)]
    pub(super) audience: Option<String>,
}

impl Problem {
    /// Reads an answer that is a no; one that is no problem document is told as it is.
    pub(super) fn of(status: StatusCode, body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_else(|_not_a_problem| Self {
            code: status.to_string(),
            detail: String::from_utf8_lossy(body).into_owned(),
            request_id: String::new(),
            audience: None,
        })
    }
}

#[derive(Deserialize)]
struct LoggedIn {
    spiffe_id: String,
    not_after: String,
    session: String,
}

#[derive(Deserialize)]
struct LoggedOut {
    session: String,
}

impl TokenArgs {
    /// Whether there is anything to read.
    pub(super) fn is_given(&self) -> bool {
        self.token_file.is_some() || SystemEnvironment.value(&self.token_env).is_some()
    }

    /// Reads the token.
    pub(super) fn read(&self) -> anyhow::Result<Zeroizing<String>> {
        self.read_naming("--token-file")
    }

    /// The same for a command that calls the file's flag otherwise.
    pub(super) fn read_naming(&self, file_flag: &str) -> anyhow::Result<Zeroizing<String>> {
        let text = match &self.token_file {
            Some(file) => Zeroizing::new(std::fs::read_to_string(file).map_err(unreadable(file))?),
            None => Zeroizing::new(SystemEnvironment.value(&self.token_env).unwrap_or_default()),
        };
        let token = Zeroizing::new(text.trim().to_owned());
        if !has_the_form_of_a_token(&token) {
            let place =
                self.token_file.as_ref().map_or_else(|| self.token_env.clone(), |file| file.display().to_string());
            let elsewhere =
                self.token_file.is_none().then(|| OTHER_NAMES.iter().find(|name| holds_token(name))).flatten();
            return Err(
                WrongUsage::new(snippet::no_token(&place, (token.chars().count(), elsewhere), file_flag)).into()
            );
        }
        Ok(token)
    }
}

/// What people call the variable instead.
const OTHER_NAMES: [&str; 9] = [
    "LANYARD_TOKEN",
    "LANYARD_JWT",
    "LANYARD_ID_TOKENS",
    "ID_TOKEN",
    "GITLAB_OIDC_TOKEN",
    "OIDC_TOKEN",
    "SPIFFE_ID_TOKEN",
    "VAULT_ID_TOKEN",
    "SIGSTORE_ID_TOKEN",
];

fn holds_token(name: &str) -> bool {
    SystemEnvironment.value(name).is_some_and(|value| has_the_form_of_a_token(value.trim()))
}

/// Three parts in base64url (RFC 7515 §3.1); whether it is good is the server's to say.
fn has_the_form_of_a_token(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    text.split('.').count() == 3 && text.split('.').all(|part| !part.is_empty() && part.bytes().all(plain))
}

/// Logs in.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let token = args.token.read()?;
    let login = log_in(&args.agent_socket, &token);
    let Ok(answer) = tokio::time::timeout(Duration::from_secs(args.wait), login).await else {
        render::aside(&format!("no SVID within {} s; the agent goes on trying, and its log says why", args.wait));
        return Ok(ExitCode::from(3));
    };
    match answer? {
        Answer::Done(body) if args.json => render::say(String::from_utf8_lossy(&body).trim_end())?,
        Answer::Done(body) => {
            let LoggedIn { spiffe_id, not_after, session } = serde_json::from_slice(&body)?;
            render::say(&format!(
                "{spiffe_id}\n  SVID until {not_after}, renewed while the job lives\n  session {session}"
            ))?;
        }
        Answer::Refused(problem) => return Ok(tell(&problem)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Logs out.
pub(crate) async fn run_logout(args: LogoutArgs) -> anyhow::Result<ExitCode> {
    match log_out(&args.agent_socket, JobEnd::Logout).await? {
        Answer::Done(body) => {
            let ended = serde_json::from_slice::<LoggedOut>(&body);
            let told = ended.map(|LoggedOut { session }| format!("session {session} has ended"));
            render::say(&told.unwrap_or_else(|_nothing| "there was no session to end".to_owned()))?;
            Ok(ExitCode::SUCCESS)
        }
        Answer::Refused(problem) if problem.code == SERVER_NOT_TOLD => {
            render::aside(&problem.detail);
            Ok(ExitCode::from(3))
        }
        Answer::Refused(problem) => Ok(tell(&problem)),
    }
}

/// Three lines: the code, the one thing to change, the request's name. Below them the lines to paste, where those help.
pub(super) fn tell(problem: &Problem) -> ExitCode {
    let request_id = if problem.request_id.is_empty() { "none" } else { &problem.request_id };
    render::aside(&format!("refused: {}\n{}\nrequest id: {request_id}", problem.code, problem.detail));
    if let Some(audience) = &problem.audience {
        render::aside(&format!("\n{}", snippet::block(audience)));
    }
    ExitCode::FAILURE
}

/// Hands a token to the agent behind a socket.
pub(super) async fn log_in(socket: &Path, token: &str) -> anyhow::Result<Answer> {
    let body = Zeroizing::new(serde_json::json!({ "token": token }).to_string());
    post(socket, "/v1/login", Bytes::copy_from_slice(body.as_bytes())).await
}

/// Ends the session of the agent behind a socket.
pub(super) async fn log_out(socket: &Path, why: JobEnd) -> anyhow::Result<Answer> {
    let body = serde_json::json!({ "reason": why.as_str() }).to_string();
    post(socket, "/v1/logout", body.into()).await
}

async fn post(socket: &Path, path: &str, body: Bytes) -> anyhow::Result<Answer> {
    let place = socket.display().to_string();
    let stream = UnixStream::connect(socket).await;
    let stream = stream.map_err(|error| NotReachable::agent("the agent", place.as_str(), &error))?;
    let gone = |error: hyper::Error| -> anyhow::Error {
        // Whoever stops says nothing; what is no agent says something else.
        if error.is_incomplete_message() || error.is_closed() {
            return NotReachable { what: "the agent", place: place.clone(), why: error.to_string() }.into();
        }
        WrongSocket { place: place.clone(), what: "an agent's own HTTP" }.into()
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(gone)?;
    let request = Request::post(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(body))?;
    let mut answer = pin!(async {
        let response = sender.send_request(request).await.map_err(gone)?;
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        anyhow::Ok((status, body.map_err(anyhow::Error::from_boxed)?.to_bytes()))
    });
    let (status, body) = tokio::select! {
        biased;
        answer = &mut answer => answer?,
        ended = connection => {
            ended.map_err(gone)?;
            answer.await?
        }
    };
    if status.is_success() { Ok(Answer::Done(body)) } else { Ok(Answer::Refused(Problem::of(status, &body))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_token_is_refused_before_anybody_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            TokenArgs { token_env: "LANYARD_ID_TOKEN".to_owned(), token_file: Some(file.clone()) }.read()
        };
        for (text, count) in [("", 0), ("$LANYARD_ID_TOKEN", 17), ("a.b", 3), ("a..c", 4)] {
            let refused = read(text).unwrap_err().to_string();
            assert!(refused.contains(&format!("holds no token ({count} characters)")), "{refused}");
        }
        assert_eq!(**read(" eyJ.eyI.c2ln\n").unwrap(), *"eyJ.eyI.c2ln");
        let unset = TokenArgs { token_env: "LANYARD_NO_SUCH_TOKEN".to_owned(), token_file: None };
        assert!(
            unset.read().unwrap_err().to_string().starts_with("LANYARD_NO_SUCH_TOKEN holds no token (0 characters)")
        );
    }
}

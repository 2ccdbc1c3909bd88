//! A runner's or a server's machine, by its configuration.

use super::finding::Finding;
use super::sockets::Looker;
use super::{at_rest, server, sockets};
use crate::agent::{AgentSettings, TokenSource};
use crate::cli::failure::plain;
use crate::cli::{health, operator};
use crate::clock::SystemClock;
use crate::config::{AnySettings, ServerSettings, SystemEnvironment, Whose, load_any};
use crate::discovery::{HttpsFetch, IssuerKeys};
use crate::telemetry::chain;
use std::path::Path;
use std::sync::Arc;

/// What a configuration says, and whether it is true here.
pub(super) async fn look(file: &Path) -> (Whose, Vec<Finding>) {
    let (whose, read) = load_any(file, &SystemEnvironment);
    let seen = match read {
        Err(problems) => {
            let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
            let problems = crate::cli::render::count(all.len(), "problem");
            let of = match whose {
                Whose::Agent => "an agent's",
                Whose::Server => "a server's",
            };
            let found = format!("{} has {problems} as {of}", file.display());
            vec![Finding::wrong("configuration", found, all.join("\n"))]
        }
        Ok(AnySettings::Agent(settings)) => of_agent(file, &settings).await,
        Ok(AnySettings::Server(settings)) => of_server(file, &settings).await,
    };
    (whose, seen)
}

async fn of_agent(file: &Path, settings: &AgentSettings) -> Vec<Finding> {
    let mut seen = vec![Finding::good("configuration", format!("{} is an agent's", file.display()))];
    let wrong = server::at(&mut seen, &settings.server, &settings.trust).await.err();
    seen.extend(wrong);
    // With a token of its own it should serve an identity to anybody here; else jobs bring theirs.
    let looker = if settings.token == TokenSource::Login { Looker::Administrator } else { Looker::Job };
    seen.extend(sockets::workload(&format!("unix://{}", settings.workload_socket.display()), looker).await);
    if let Some(socket) = &settings.agent_socket {
        seen.push(sockets::agent(socket).await);
    }
    seen
}

async fn of_server(file: &Path, settings: &ServerSettings) -> Vec<Finding> {
    let mut seen = vec![Finding::good("configuration", format!("{} is a server's", file.display()))];
    // Where nobody answers, the admin socket tells why.
    if let Some(address) = settings.doors.health
        && let Ok((is_ready, words)) = health::ask(health::reachable(address)).await
    {
        let words = words.trim();
        let remedy = "mend what it says first: until then no job gets an identity, whatever else is well";
        seen.push(if is_ready {
            Finding::good("readiness", words)
        } else {
            Finding::wrong("readiness", words, remedy)
        });
    }
    seen.push(match settings.data_dir.read_dir() {
        Ok(_) => Finding::good("data folder", settings.data_dir.display().to_string()),
        Err(error) => Finding::wrong(
            "data folder",
            format!("{}: {}", settings.data_dir.display(), plain(&error)),
            "mount it, or mend data_dir; run this as the server's user",
        ),
    });
    let socket = &settings.doors.admin_socket;
    let is_running = operator::listens(socket).await;
    // A running one sees to them itself, and writes meanwhile.
    if !is_running && settings.data_dir.is_dir() {
        seen.extend(at_rest::look(file, settings).await);
    }
    seen.extend(issuers(settings).await);
    seen.push(if is_running {
        Finding::good("server", format!("it runs: {} answers", socket.display()))
    } else {
        Finding::wrong(
            "server",
            format!("nobody answers at {}", socket.display()),
            "start it: lanyard server --config …; if it ends at once, its log's last line says why",
        )
    });
    seen
}

/// Whether each issuer's keys can be had from here.
async fn issuers(settings: &ServerSettings) -> Vec<Finding> {
    let fetch = match HttpsFetch::new(None) {
        Ok(fetch) => fetch,
        Err(error) => return vec![Finding::wrong("issuer keys", chain(&error), "install ca-certificates")],
    };
    let keys = IssuerKeys::new(Arc::new(settings.issuers.clone()), Arc::new(SystemClock), Arc::new(fetch));
    let errors = keys.warm().await;
    if errors.is_empty() {
        let names: Vec<String> = settings.issuers.iter().map(|issuer| issuer.name().to_string()).collect();
        return vec![Finding::good("issuer keys", format!("those of {} can be had", names.join(", ")))];
    }
    let remedy = "the server must reach GitLab's own URL by HTTPS: see DNS, proxies, and ca_file of the issuer";
    errors.iter().map(|error| Finding::wrong("issuer keys", chain(error), remedy)).collect()
}

//! `lanyard dev`: see an SVID appear, and understand it.

use super::render;
use crate::clock::{Clock as _, SystemClock};
use crate::config::SystemEnvironment;
use crate::crypto::Random;
use crate::dev::{Claim, DevFolder, Limit, Mint, Report, RunningDev};
use crate::telemetry::ShutdownTrigger;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Columns that every terminal has.
const WIDTH: usize = 80;
/// The widest a column of names gets.
const COLUMN: usize = 20;

/// What can be typed.
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(flatten)]
    folder: Folder,
    /// End after the first SVID
    #[arg(long)]
    once: bool,
    /// What was found out as one JSON object
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(clap::Args, Debug)]
struct Folder {
    /// Where keys, sockets and files of the run stand [default: $XDG_RUNTIME_DIR/lanyard-dev, or else
    /// /tmp/lanyard-dev-UID]
    #[arg(long, env = "LANYARD_DEV_DIR", value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// An `id_token` of the stand-in GitLab: each call is a new job
    Token {
        #[command(flatten)]
        folder: Folder,
        /// What the token claims, such as `project_path=acme/web`; what follows from it follows
        #[arg(long = "claim", value_name = "NAME=VALUE")]
        claims: Vec<Claim>,
        /// Whom the token is for [default: the server of this run]
        #[arg(long, value_name = "TEXT")]
        audience: Option<String>,
    },
}

impl Folder {
    fn path(self) -> PathBuf {
        self.dir.unwrap_or_else(|| DevFolder::default_path(&SystemEnvironment))
    }
}

/// Runs until Ctrl-C, or mints a token.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(Action::Token { folder, mut claims, audience }) = args.action {
        claims.extend(audience.map(|audience| Claim::text("aud", audience)));
        let folder = DevFolder::at(&folder.path());
        let now = SystemClock.now();
        render::say(&Mint::of(&folder, now)?.token(&claims, &Random::system(), now)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let dev = Box::pin(RunningDev::start(&args.folder.path(), &SystemEnvironment, Arc::new(SystemClock))).await?;
    // The run goes on for whoever uses it, also when nobody reads on.
    render::unless_closed(if args.json {
        render::json(&dev.report)
    } else {
        render::say(&story(&dev.report, &program(), args.once))
    })?;
    if args.once {
        dev.stop().await;
    } else {
        let stop = async {
            // Without signals only the parts' own end is left to wait for.
            if ShutdownTrigger::signalled().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        Box::pin(dev.until_stopped(stop)).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The first SVID, told to somebody who has never seen one.
fn story(report: &Report, program: &str, once: bool) -> String {
    let parts: Vec<_> = report.parts.iter().map(|part| (part.text.as_str(), part.means.to_owned())).collect();
    let opening = format!("A CI job has an identity now, {} ms after you pressed return:", report.milliseconds);
    let how = format!(
        "How it came about: a stand-in GitLab at {} gave a job its id_token. An agent took the token and a key it had \
         just made to the server at {}, which checked GitLab's signature, found a rule that grants the ID, wrote down \
         what it was about to sign, and signed. The agent serves the SVID to workloads at",
        report.gitlab, report.server
    );
    let mut blocks = vec![
        wrapped("", "", &opening),
        format!("  {}", report.spiffe_id),
        columns(&parts),
        format!("{}\n  {}", wrapped("", "", &how), report.workload_socket.display()),
        columns(&facts(report)),
    ];
    if !once {
        blocks.push(format!(
            "\
Try next, in another shell:

  . {}
  # ask for the SVID as any workload would
  {program} svid x509
  # see what the job of another project would get, and why
  {program} dev token --claim project_path=zoo/lions |
      {program} explain --token-file -
  # see what was recorded before each signature
  {program} audit show",
            report.env_file.display()
        ));
        blocks.push("Ctrl-C ends everything; the folder keeps its keys for next time.".to_owned());
    }
    blocks.join("\n\n")
}

fn facts(report: &Report) -> [(&'static str, String); 4] {
    let limit = match report.limited_by {
        Limit::Session => "the session ends then, with the job's token",
        Limit::Signer => "the key that signed it ends then",
        Limit::Ttl => "the rule's ttl; policy.toml has it",
    };
    let (signer, root) = (&report.signed_by, &report.rooted_in.name);
    let (end, minutes) = (render::time(report.not_after), (report.not_after - report.not_before).whole_minutes());
    let session_end = render::time(report.session_ends_at);
    [
        ("signed by", format!("{}, in use until {}", signer.name, render::time(signer.not_after))),
        ("rooted in", format!("{root}; this certificate is the trust bundle, all that others need to trust the job")),
        ("valid until", format!("{end}, {minutes} minutes in all; what ends it: {limit}")),
        ("renewed", format!("well before that, with a new key, until the session ends at {session_end}")),
    ]
}

/// How the person called us, so that what is shown can be typed.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "lanyard".to_owned())
}

/// Names and what they mean, side by side; a name too long for that stands alone on its line.
fn columns(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default().min(COLUMN);
    let indent = " ".repeat(width + 4);
    let lines = rows.iter().map(|(name, means)| {
        if name.len() > width {
            format!("  {name}\n{}", wrapped(&indent, &indent, means))
        } else {
            wrapped(&format!("  {name:width$}  "), &indent, means)
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Words in lines that fit a terminal; a word that is longer than a line stays whole, so that it can be copied.
fn wrapped(first: &str, indent: &str, text: &str) -> String {
    let mut lines = Vec::new();
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in text.split(' ') {
        if !is_empty && line.len() + 1 + word.len() > WIDTH {
            lines.push(std::mem::replace(&mut line, indent.to_owned()));
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines.push(line);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_fits_a_terminal_of_80_columns() {
        let text = "word ".repeat(60);
        let name = "acme/a-project-whose-name-is-longer-than-any-column";
        let page = columns(&[("-", text.clone()), (name, text)]);
        assert!(page.lines().all(|line| line.len() <= WIDTH), "{page}");
        assert_eq!(page.matches("word").count(), 120);
        assert!(page.contains(&format!("  {name}\n")));
    }
}

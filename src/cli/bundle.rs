//! `lanyard bundle show`: what others need to trust us.

use super::remote::{RemoteError, ServerArgs};
use super::{login, render};
use crate::bundle::Bundle;
use crate::identity::TrustDomain;
use anyhow::Context as _;
use std::process::ExitCode;

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// The server's own trust bundle: its roots and the keys of its JWT-SVIDs
    Show {
        #[command(flatten)]
        server: ServerArgs,
        /// json: the SPIFFE bundle document; pem: the root certificates alone
        #[arg(long, value_enum, default_value_t = Format::Json)]
        format: Format,
        /// As --format json
        #[arg(long, conflicts_with = "format")]
        json: bool,
    },
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, Eq, PartialEq)]
enum Format {
    Json,
    Pem,
}

/// Shows it.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Action::Show { server, format, json } = args.action;
    let document = match server.fetch("/v1/bundle").await {
        Ok(document) => document,
        Err(RemoteError::Refused(problem)) => return Ok(login::tell(&problem)),
        Err(other) => return Err(other.into()),
    };
    if json || format == Format::Json {
        render::say(&String::from_utf8_lossy(&document))?;
    } else {
        // The document does not name its trust domain (SPIFFE TDB-24), and PEM needs none.
        let any = TrustDomain::parse("any")?;
        let bundle = Bundle::parse(any, &document).context("the server's answer is no bundle")?;
        render::say(bundle.to_pem().trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

//! `lanyard bundle show|list|set|delete|crl`: what others need to trust us, what we trust of others, and whom not to trust
//! any more.

use super::admin::AdminArgs;
use super::remote::{RemoteError, ServerArgs};
use super::{foreign_bundles, login, render};
use crate::bundle::Bundle;
use crate::identity::TrustDomain;
use crate::wire::lanyard::{ShowBundleRequest, ShowCrlsAnswer, ShowCrlsRequest};
use anyhow::Context as _;
use serde_json::json;
use std::process::ExitCode;
use time::OffsetDateTime;

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// The revocation lists that a running server delivers: how many SVIDs stand on them, and how old they are
    Crl {
        #[command(flatten)]
        server: AdminArgs,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Gives up another trust domain's bundle that `bundle set` brought: from now on no job gets it
    Delete(foreign_bundles::Delete),
    /// The other trust domains whose bundles the server holds: from where, how old, when the last root ends, what is wrong
    List(foreign_bundles::List),
    /// Takes another trust domain's bundle, or asks its bundle endpoint from now on; jobs get it by rules with `federates_with`. The
    /// journal tells who brought it
    Set(foreign_bundles::Set),
    /// A trust bundle: roots and keys of JWT-SVIDs; the server's own where no other trust domain is named
    Show {
        #[command(flatten)]
        server: ServerArgs,
        #[command(flatten)]
        admin: AdminArgs,
        /// Another trust domain, whose bundle the server holds; asked at its admin socket
        trust_domain: Option<String>,
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
    match args.action {
        Action::Crl { server, json } => crl(&server, json).await,
        Action::Delete(asked) => foreign_bundles::delete(asked).await.map(|()| ExitCode::SUCCESS),
        Action::List(asked) => foreign_bundles::list(asked).await.map(|()| ExitCode::SUCCESS),
        Action::Set(asked) => foreign_bundles::set(asked).await.map(|()| ExitCode::SUCCESS),
        Action::Show { server, admin, trust_domain, format, json } => {
            let as_json = json || format == Format::Json;
            match trust_domain {
                Some(trust_domain) => show_foreign(&admin, trust_domain, as_json).await,
                None => show(&server, as_json).await,
            }
        }
    }
}

async fn crl(server: &AdminArgs, as_json: bool) -> anyhow::Result<ExitCode> {
    let answer = server.ask(async move |mut admin| admin.show_crls(ShowCrlsRequest {}).await).await?;
    let ShowCrlsAnswer { number, revoked, made_at, next_update, list } = answer;
    if as_json {
        let lists: Vec<_> =
            list.iter().map(|one| json!({ "authority_key_id": one.authority, "bytes": one.bytes })).collect();
        render::unless_closed(render::json(&json!({
            "number": number, "revoked": revoked, "made_at": made_at, "next_update": next_update, "lists": lists,
        })))?;
        return Ok(ExitCode::SUCCESS);
    }
    let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).map_or_else(|_| seconds.to_string(), render::time);
    let svids = render::count(revoked, "SVID");
    render::unless_closed(render::say(&format!(
        "{svids} on the lists of {}, set {number}\nmade {}, good until {}",
        render::count(list.len(), "issuer"),
        at(made_at),
        at(next_update)
    )))?;
    let rows = list.into_iter().map(|one| vec![one.authority, one.bytes.to_string()]).collect();
    render::unless_closed(render::rows(&["AUTHORITY KEY ID", "BYTES"], rows))?;
    Ok(ExitCode::SUCCESS)
}

async fn show(server: &ServerArgs, as_json: bool) -> anyhow::Result<ExitCode> {
    let document = match server.fetch("/v1/bundle").await {
        Ok(document) => document,
        Err(RemoteError::Refused(problem)) => return Ok(login::tell(&problem)),
        Err(other) => return Err(other.into()),
    };
    tell(&document, as_json)
}

async fn show_foreign(admin: &AdminArgs, trust_domain: String, as_json: bool) -> anyhow::Result<ExitCode> {
    let question = ShowBundleRequest { trust_domain };
    let answer = admin.ask(async move |mut admin| admin.show_bundle(question).await).await?;
    tell(&answer.document, as_json)
}

fn tell(document: &[u8], as_json: bool) -> anyhow::Result<ExitCode> {
    if as_json {
        render::say(&String::from_utf8_lossy(document))?;
    } else {
        // The document does not name its trust domain (SPIFFE TDB-24), and PEM needs none.
        let any = TrustDomain::parse("any")?;
        let bundle = Bundle::parse(any, document).context("the server's answer is no bundle")?;
        render::say(bundle.to_pem().trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

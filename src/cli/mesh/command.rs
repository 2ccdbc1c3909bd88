//! For which mesh, and how the objects are printed.

use super::{envoy, istio, linkerd, vault};
use crate::cli::render;
use crate::mesh::Document;
use serde_json::json;
use std::process::ExitCode;

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    mesh: Mesh,
}

/// Everything is printed to standard output and nothing is applied; a rule that the mesh cannot tell from others is
/// refused by name, with the reason, and then nothing is printed at all. Render again whenever the policy changes.
#[derive(clap::Subcommand, Debug)]
enum Mesh {
    /// Envoy without a control plane: a bootstrap for the proxy before a service, or beside a job
    Envoy(envoy::Args),
    /// AuthorizationPolicy, PeerAuthentication and DestinationRule; our part of the MeshConfig
    Istio(istio::Args),
    /// Server, MeshTLSAuthentication and AuthorizationPolicy; ExternalWorkload, trust anchors, a proxy's environment
    Linkerd(linkerd::Args),
    /// Vault, or OpenBao: commands that write a policy, and a role for logins by certificate, by token, or both
    Vault(vault::Args),
}

/// What came of it: objects, a text of another kind, or nothing but what was said on the way.
pub(super) enum Rendered {
    Commands { text: String, objects: Vec<Document>, advice: Vec<String> },
    Objects { objects: Vec<Document>, advice: Vec<String> },
    Refused,
    Text(String),
}

/// Renders.
pub(in crate::cli) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (rendered, as_json) = match &args.mesh {
        Mesh::Envoy(args) => (envoy::render(args)?, args.rules.json),
        Mesh::Istio(args) => (istio::render(args)?, args.rules.json),
        Mesh::Linkerd(args) => (linkerd::render(args)?, args.rules.json),
        Mesh::Vault(args) => (vault::render(args)?, args.rules.json),
    };
    match rendered {
        Rendered::Refused => return Ok(ExitCode::FAILURE),
        Rendered::Text(text) if as_json => render::json(&json!({ "text": text }))?,
        Rendered::Text(text) => render::say(text.trim_end())?,
        Rendered::Commands { objects, advice, .. } | Rendered::Objects { objects, advice } if as_json => {
            let objects: Vec<_> = objects.iter().map(Document::value).collect();
            render::json(&json!({ "objects": objects, "advice": advice }))?;
        }
        Rendered::Commands { text, advice, .. } => printed(&text, &advice)?,
        Rendered::Objects { objects, advice } => printed(&Document::to_yaml(&objects), &advice)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn printed(text: &str, advice: &[String]) -> anyhow::Result<()> {
    render::say(text.trim_end())?;
    for words in advice {
        render::aside(words);
    }
    Ok(())
}

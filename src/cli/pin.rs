//! `lanyard pin list|set|delete`: which project a path belongs to, at a running server.

use super::admin::AdminArgs;
use super::render;
use super::selector::time;
use crate::audit::PinnedBy;
use crate::wire::lanyard::{DeletePinRequest, ListPinsRequest, Pin, SetPinRequest};
use serde_json::{Value, json};
use std::process::ExitCode;

/// What can be typed.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
A path belongs to the project whose job a rule first granted it. Another project that comes with it is refused\n\
(project_path_reused) until an operator says whose it is. Where an issuer has pins = \"declared\", `pin set` is the only way.")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Which project each path belongs to, since when, and by whose word
    List {
        #[command(flatten)]
        server: AdminArgs,
        /// Only of this issuer, by its name in the server's configuration
        #[arg(long, value_name = "NAME")]
        issuer: Option<String>,
        /// Only paths that fit: * stays inside a segment, ** does not
        #[arg(long, value_name = "GLOB")]
        path: Option<String>,
        /// One JSON object a pin
        #[arg(long)]
        json: bool,
    },
    /// Says which project a path belongs to; the journal tells who said so
    Set {
        #[command(flatten)]
        server: AdminArgs,
        #[command(flatten)]
        of: Of,
        /// The project's id; GitLab shows it on the project's page
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        project_id: u64,
        #[command(flatten)]
        told: Told,
    },
    /// Forgets whose a path is: the next project that a rule grants it to has it, unless pins are declared
    Delete {
        #[command(flatten)]
        server: AdminArgs,
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        told: Told,
    },
}

#[derive(clap::Args, Debug)]
struct Of {
    /// The issuer's name in the server's configuration
    issuer: String,
    /// The project's path, such as acme/payments/api; its case does not count
    path: String,
}

#[derive(clap::Args, Debug)]
struct Told {
    /// Why, for the journal
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// The outcome as one JSON object
    #[arg(long)]
    json: bool,
}

/// Asks the server.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.action {
        Action::List { server, issuer, path, json } => {
            let asked = ListPinsRequest {
                issuer: issuer.unwrap_or_default(),
                path: path.unwrap_or_default(),
                after: String::new(),
            };
            list(&server, asked, json).await?;
        }
        Action::Set { server, of: Of { issuer, path }, project_id, told: Told { reason, json } } => {
            let asked = SetPinRequest { issuer: issuer.clone(), path: path.clone(), project_id, reason };
            let old = known(server.ask(async move |mut admin| admin.set_pin(asked).await).await?.old);
            let said = match old {
                Some(old) if old == project_id => format!("{path} belonged to project {project_id} already"),
                Some(old) => format!("{path} belongs to project {project_id} from now on, not to {old} any more"),
                None => format!("{path} belongs to project {project_id} from now on"),
            };
            tell(json, &json!({ "issuer": issuer, "path": path, "old": old, "new": project_id }), &said)?;
        }
        Action::Delete { server, of: Of { issuer, path }, told: Told { reason, json } } => {
            let asked = DeletePinRequest { issuer: issuer.clone(), path: path.clone(), reason };
            let old = server.ask(async move |mut admin| admin.delete_pin(asked).await).await?.old;
            let said = format!("{path} belongs to nobody now; it was project {old}'s");
            tell(json, &json!({ "issuer": issuer, "path": path, "old": old, "new": null }), &said)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Pages go by as they come, where no table has to be aligned.
async fn list(server: &AdminArgs, mut asked: ListPinsRequest, as_json: bool) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    loop {
        let page = asked.clone();
        let answer = server.ask(async move |mut admin| admin.list_pins(page).await).await?;
        for pin in answer.pins {
            if as_json { render::json(&fact(&pin))? } else { rows.push(row(pin)) }
        }
        if answer.next.is_empty() {
            break;
        }
        asked.after = answer.next;
    }
    if as_json { Ok(()) } else { render::rows(&["issuer", "path", "project", "since", "by"], rows) }
}

fn row(pin: Pin) -> Vec<String> {
    let by: Option<PinnedBy> = serde_json::from_str(&pin.by).ok();
    let by = by.map(|by| by.to_string()).unwrap_or_default();
    let since = time(pin.since).unwrap_or_default();
    vec![pin.issuer, pin.path, pin.project_id.to_string(), since, by]
}

fn fact(pin: &Pin) -> Value {
    let by: Value = serde_json::from_str(&pin.by).unwrap_or_default();
    let Pin { issuer, path, project_id, .. } = pin;
    json!({ "issuer": issuer, "path": path, "project_id": project_id, "since": time(pin.since), "by": by })
}

/// The wire says 0 where nothing is known.
fn known<N: Default + PartialEq>(number: N) -> Option<N> {
    Some(number).filter(|number| *number != N::default())
}

fn tell(as_json: bool, fact: &Value, said: &str) -> anyhow::Result<()> {
    render::unless_closed(if as_json { render::json(fact) } else { render::say(said) })
}

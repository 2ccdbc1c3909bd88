//! `lanyard gitlab hooks plan|apply`: the webhooks by which GitLab tells that a job is over, as the configuration wants them.
//!
//! ```text
//!   [[issuer.hook]] ─▶ Wanted ─┐
//!   GitLab's list ──▶ Shown ───┴▶ Step: add, change or keep ─▶ said (plan), or done and read back (apply)
//! ```
//! Webhooks that call another URL are never touched, and none is ever deleted.

use super::failure::WrongUsage;
use super::gitlab_api::{Api, ApiError};
use super::remote::named_config;
use super::render;
use crate::config::{ServerSettings, SystemEnvironment, load_server};
use crate::facts::api_of;
use crate::hooks::{Hook, Scope, Shown, Step, Wanted};
use crate::token::{IssuerName, KeySource};
use crate::wire::ServerUrl;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// The webhooks by which GitLab tells that a job is over
    Hooks {
        #[command(subcommand)]
        action: Action,
    },
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Which webhooks are there, and what would change
    Plan {
        #[command(flatten)]
        asked: Asked,
    },
    /// Adds and changes webhooks until they are as the configuration wants them; deletes none
    Apply {
        #[command(flatten)]
        asked: Asked,
        /// Send the secrets too where all else is right: GitLab does not tell which ones it holds
        #[arg(long)]
        secrets: bool,
    },
}

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Group webhooks need GitLab Premium. Elsewhere `plan --group G` names the group's projects, and\n\
`apply --group G --project P` puts the group's webhook into each that is named.")]
struct Asked {
    /// The group whose hook in the configuration is meant, by its full path
    #[arg(long, value_name = "PATH")]
    group: Option<String>,
    /// A project to put the webhook into, by path or number; may come again. Without --group it is the number of a hook's
    /// own project
    #[arg(long = "project", value_name = "PROJECT")]
    projects: Vec<String>,
    /// The issuer whose GitLab it is, where several have hooks
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// The server's https URL, as GitLab reaches it
    #[arg(long, env = "LANYARD_SERVER", value_name = "URL")]
    server: String,
    #[arg(long, value_name = "FILE", help = "The server's configuration [env: LANYARD_CONFIG]")]
    config: Option<PathBuf>,
    /// A file with a token of scope api, closed to others [default: the `token_file` of `[issuer.api]`]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Where a webhook can be.
#[derive(Clone, Debug)]
enum Place {
    Group(String),
    Project(String),
}

impl Place {
    /// Its webhooks, in the API.
    fn hooks(&self) -> String {
        let (Self::Group(name) | Self::Project(name)) = self;
        let kind = if matches!(self, Self::Group(_)) { "groups" } else { "projects" };
        format!("{kind}/{}/hooks", name.replace('/', "%2F"))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(path) => write!(f, "group {path}"),
            Self::Project(name) => write!(f, "project {name}"),
        }
    }
}

/// What is the case at a place, or was made so.
struct Finding {
    place: Place,
    hook: Option<u64>,
    state: &'static str,
    wrong: Vec<String>,
    remarks: Vec<String>,
}

impl Finding {
    fn row(&self) -> Vec<String> {
        let hook = self.hook.map(|id| id.to_string()).unwrap_or_default();
        let notes: Vec<_> = self.wrong.iter().chain(&self.remarks).cloned().collect();
        vec![self.place.to_string(), hook, self.state.to_owned(), notes.join("; ")]
    }

    fn fact(&self) -> Value {
        let Self { place, hook, state, wrong, remarks } = self;
        json!({ "place": place.to_string(), "hook": hook, "state": state, "wrong": wrong, "remarks": remarks })
    }
}

const AS_WANTED: &str = "as wanted";
/// GitLab took it, and shows it otherwise.
const NOT_DONE: &str = "not as wanted";

/// What may be done to GitLab.
#[derive(Clone, Copy, Debug)]
enum Do {
    Apply { secrets: bool },
    Nothing,
}

/// Says what would be done, or does it.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let What::Hooks { action } = args.what;
    let (asked, what) = match action {
        Action::Plan { asked } => (asked, Do::Nothing),
        Action::Apply { asked, secrets } => (asked, Do::Apply { secrets }),
    };
    let places = asked.places()?;
    let server: ServerUrl = asked.server.parse().map_err(|odd| WrongUsage::new(format!("--server: {odd}")))?;
    let config = named_config(asked.config.clone());
    let config = config.ok_or_else(|| WrongUsage::new("name the server's configuration: --config FILE"))?;
    let settings = match load_server(&config, &SystemEnvironment) {
        Ok(settings) => settings,
        Err(problems) => {
            render::problems(&problems);
            return Ok(ExitCode::FAILURE);
        }
    };
    let issuer = asked.issuer(&settings)?;
    let hook = asked.hook(&settings, &issuer)?;
    let api = asked.api(&settings, &issuer)?;
    let wanted = Wanted::new(&format!("{server}/v1/hooks/gitlab/{issuer}"), hook)?;
    let (mut findings, mut failed) = (Vec::new(), None);
    for place in places {
        match settle(&api, &wanted, &place, what).await {
            Ok(finding) => findings.push(finding),
            Err(error) => {
                failed = Some((place, error));
                break;
            }
        }
    }
    let failed = match failed {
        Some((Place::Group(group), error)) if error.is_hidden() => {
            return instead(&api, &wanted, (&group, error), asked.json).await;
        }
        failed => failed,
    };
    tell(&wanted, &findings, asked.json)?;
    match failed {
        Some((_, error)) => Err(error.into_failure()),
        None if findings.iter().any(|finding| finding.state == NOT_DONE) => Ok(ExitCode::FAILURE),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// One place: looked at, and where that was asked for put right.
async fn settle(api: &Api, wanted: &Wanted, place: &Place, what: Do) -> Result<Finding, ApiError> {
    let there: Vec<Shown> = api.list(&place.hooks()).await?;
    let (old, wrong) = match wanted.step(&there) {
        Step::Add => (None, Vec::new()),
        Step::Change(shown, wrong) => (Some(shown), wrong),
        Step::Keep(shown) => (Some(shown), Vec::new()),
    };
    let mut finding =
        Finding { place: place.clone(), hook: old.map(|shown| shown.id), state: "to add", wrong, remarks: Vec::new() };
    let again = matches!(what, Do::Apply { secrets: true });
    match (what, old) {
        (_, Some(_)) if finding.wrong.is_empty() && !again => finding.state = AS_WANTED,
        (Do::Nothing, Some(_)) => finding.state = "to change",
        (Do::Nothing, None) => {}
        (Do::Apply { .. }, _) => {
            let (method, path, done) = match old {
                Some(shown) => (Method::PUT, format!("{}/{}", place.hooks(), shown.id), "changed"),
                None => (Method::POST, place.hooks(), "added"),
            };
            let now: Shown = api.send(method, &path, &wanted.body(old)).await?;
            finding.hook = Some(now.id);
            finding.wrong = wanted.wrong_with(&now);
            finding.state = if finding.wrong.is_empty() { done } else { NOT_DONE };
            finding.remarks = now.remarks(wanted);
            return Ok(finding);
        }
    }
    let twins = wanted
        .ours(&there)
        .skip(1)
        .map(|twin| format!("hook {} calls the same URL: delete one of them in GitLab", twin.id));
    finding.remarks = old.map(|shown| shown.remarks(wanted)).into_iter().flatten().chain(twins).collect();
    Ok(finding)
}

fn tell(wanted: &Wanted, findings: &[Finding], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let places: Vec<_> = findings.iter().map(Finding::fact).collect();
        return render::json(&json!({ "url": wanted.url(), "places": places }));
    }
    if findings.is_empty() {
        return Ok(());
    }
    render::rows(&["place", "hook", "state", "what is wrong"], findings.iter().map(Finding::row).collect())?;
    render::aside(&format!("{} is what they call", wanted.url()));
    Ok(())
}

#[derive(Debug, Deserialize, Serialize)]
struct Project {
    id: u64,
    path_with_namespace: String,
}

/// A group that has no webhooks, or none for us: its projects have.
async fn instead(
    api: &Api,
    wanted: &Wanted,
    (group, error): (&str, ApiError),
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let name = group.replace('/', "%2F");
    let path = format!("groups/{name}/projects?include_subgroups=true&archived=false&simple=true&order_by=id&sort=asc");
    let Ok(projects) = api.list::<Project>(&path).await else { return Err(error.into_failure()) };
    if as_json {
        let facts = json!({ "url": wanted.url(), "places": [], "group_webhooks": false, "projects": projects });
        render::unless_closed(render::json(&facts))?;
        return Ok(ExitCode::FAILURE);
    }
    render::aside(&format!(
        "{error}. Group webhooks need GitLab Premium, and a token of an Owner. Without them put the group's webhook into its \
         projects, which are:"
    ));
    let row = |project: &Project| vec![project.id.to_string(), project.path_with_namespace.clone()];
    render::unless_closed(render::rows(&["project", "path"], projects.iter().map(row).collect()))?;
    let flags: Vec<_> = projects.iter().map(|project| format!("--project {}", project.id)).collect();
    render::aside(&format!("lanyard gitlab hooks apply --group {group} {}", flags.join(" ")));
    Ok(ExitCode::FAILURE)
}

impl Asked {
    fn places(&self) -> Result<Vec<Place>, WrongUsage> {
        let all = self.group.iter().chain(&self.projects);
        if let Some(odd) = all.into_iter().find(|name| !is_path(name)) {
            return Err(WrongUsage::new(format!("{odd:?} is no path of a group or project, such as acme/payments")));
        }
        match (&self.group, &*self.projects) {
            (None, []) => Err(WrongUsage::new("say whose webhooks: --group PATH, or --project NUMBER")),
            (Some(group), []) => Ok(vec![Place::Group(group.clone())]),
            (_, projects) => Ok(projects.iter().cloned().map(Place::Project).collect()),
        }
    }

    fn issuer(&self, settings: &ServerSettings) -> Result<IssuerName, WrongUsage> {
        let with_hooks = settings.hooks.iter().filter(|(_, hooks)| !hooks.0.is_empty()).map(|(name, _)| name);
        let fits = |name: &&IssuerName| self.issuer.as_deref().is_none_or(|wanted| wanted == &*name.0);
        match *with_hooks.filter(fits).collect::<Vec<_>>() {
            [only] => Ok(only.clone()),
            [] => {
                let whose =
                    self.issuer.as_deref().map_or_else(|| "no issuer".to_owned(), |name| format!("no issuer {name:?}"));
                Err(WrongUsage::new(format!(
                    "{whose} with an [[issuer.hook]] in the configuration: write one behind the [[issuer]], with its group \
                     or project and a secret_file"
                )))
            }
            [..] => Err(WrongUsage::new("several issuers have hooks: say which, with --issuer NAME")),
        }
    }

    fn hook<'a>(&self, settings: &'a ServerSettings, issuer: &IssuerName) -> Result<&'a Hook, WrongUsage> {
        let scope = match (&self.group, &*self.projects) {
            (Some(group), _) => Some(Scope::group(group)),
            (None, [project]) => project.parse().ok().map(Scope::Project),
            (None, _) => None,
        };
        let scope = scope.ok_or_else(|| {
            WrongUsage::new("without --group, --project is the one number that an [[issuer.hook]] names as its project")
        })?;
        let hooks = settings.hooks.get(issuer).map(|hooks| &*hooks.0).unwrap_or_default();
        hooks.iter().find(|hook| hook.scope == scope).ok_or_else(|| {
            let known: Vec<_> = hooks.iter().map(|hook| hook.scope.to_string()).collect();
            WrongUsage::new(format!(
                "no [[issuer.hook]] of {issuer} is for {scope}; there are hooks for {}. Add one with its secret, and start \
                 the server anew, before GitLab calls it",
                known.join(", ")
            ))
        })
    }

    fn api(&self, settings: &ServerSettings, issuer: &IssuerName) -> anyhow::Result<Api> {
        let api = settings.gitlab_of(issuer).map(|api| &api.place);
        let token_file = self
            .token_file
            .as_ref()
            .or_else(|| api.map(|api| &api.token_file))
            .ok_or_else(|| WrongUsage::new("name a file with an access token of scope api: --token-file FILE"))?;
        if let Some(api) = api {
            return Api::open(api.url.clone(), api.ca_pem.as_deref(), token_file);
        }
        let known = settings.issuers.iter().find(|known| known.name() == issuer);
        let known = known.ok_or_else(|| WrongUsage::new(format!("no issuer {issuer}")))?;
        let ca_pem = match &known.keys {
            KeySource::Discovery { ca_pem, .. } => ca_pem.as_deref(),
            KeySource::Bundle(_) | KeySource::Jwks(_) => None,
        };
        Api::open(api_of(&known.expectations.issuer_url), ca_pem, token_file)
    }
}

/// A path or a number; nothing that could lead elsewhere in an address.
fn is_path(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    name.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && part.chars().all(fits))
}

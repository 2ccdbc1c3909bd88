//! `lanyard explain`: why a token gets its identity, or none. Decides nothing and uses nothing up.

use super::audit::Place;
use super::failure::{WrongUsage, unreadable};
use super::login::{TokenArgs, tell};
use super::operator;
use super::remote::{RemoteError, ServerArgs, named_config};
use super::walk::Look;
use super::{archive, render, snippet};
use crate::config::{
    Environment as _, Lifetimes, ServerSettings, SystemEnvironment, load_policy, load_server, load_whereabouts,
};
use crate::identity::TrustDomain;
use crate::issuance::Recalled;
use crate::policy::Policy;
use crate::token::{Claims, IssuerKind, IssuerName, Issuers, TokenError, UnverifiedToken};
use crate::wire::lanyard::admin_explain_request::Subject;
use anyhow::Context as _;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use zeroize::Zeroizing;

/// Stands for the trust domain where only a policy is at hand, which names none (RFC 2606 §2: never a real one).
const NO_TRUST_DOMAIN: &str = "trust-domain.invalid";
/// Nobody vouched for a token that no server saw.
const UNPROVEN: &str =
    "the token was only read: whether it is genuine, in its time, unused and not banned is the server's to say";

/// What can be typed. With nothing of it: what the server thinks of the job's own token
#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("subject"))]
pub(crate) struct Args {
    /// Ask about the token in this file; - reads standard input. The server is asked, unless --policy or --config is given
    #[arg(long, value_name = "FILE", group = "subject")]
    token_file: Option<PathBuf>,
    /// The variable that holds the job's token, where nothing else is asked about
    #[arg(long, default_value = "LANYARD_ID_TOKEN", value_name = "NAME", conflicts_with = "subject")]
    token_env: String,
    /// Ask a policy file what it would say to these claims (a token's payload as JSON); needs no server
    #[arg(long, value_name = "FILE", group = "subject")]
    claims: Option<PathBuf>,
    /// A request of the past: what was decided, and why. Asks the running server, or else reads the journal
    #[arg(long, value_name = "ID", group = "subject")]
    request_id: Option<String>,
    /// The policy to ask, for a token or claims; needs no server [default: the configuration's]
    #[arg(long, value_name = "FILE", conflicts_with = "request_id")]
    policy: Option<PathBuf>,
    /// The name that rules give the claims' issuer [default: by iss from the configuration, or the policy's only one]
    #[arg(long, value_name = "NAME", conflicts_with = "request_id")]
    issuer: Option<String>,
    // The variable is read by hand: it must not turn a question to a server into one to a file.
    #[arg(
        long,
        value_name = "FILE",
        help = "The server's configuration [env: LANYARD_CONFIG, for --claims and --request-id]"
    )]
    config: Option<PathBuf>,
    // Read by hand: a variable does not ask for an operator's view.
    #[arg(
        long,
        value_name = "PATH",
        help = "The server's admin socket, which shows every rule [env: LANYARD_ADMIN_SOCKET, for --request-id]"
    )]
    admin_socket: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
    /// Every rule with its terms, however far away
    #[arg(long)]
    all: bool,
    /// The walk as one JSON object
    #[arg(long)]
    json: bool,
}

/// Explains.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let walk = if let Some(file) = &args.claims {
        let json = std::fs::read(file).map_err(unreadable(file))?;
        let Some(side) = Side::load(&args)? else { return Ok(ExitCode::FAILURE) };
        side.of_claims(&args, &json, file).map(Some)
    } else if let Some(typed) = &args.request_id {
        recorded(&args, typed).await
    } else {
        of_token(&args).await
    };
    let walk = match walk {
        Ok(Some(walk)) => walk,
        Ok(None) => return Ok(ExitCode::FAILURE),
        Err(error) => return refused(error),
    };
    let look = Look { all: args.all, coloured: render::takes_colours() };
    render::unless_closed(if args.json { render::json(&walk) } else { render::say(&look.story(&walk)) })?;
    let denied = walk.pointer("/verdict/outcome").is_some_and(|outcome| outcome == "denied");
    if let Some(audience) = walk.get("audience").and_then(Value::as_str).filter(|_| !args.json) {
        render::aside(&snippet::block(audience));
    }
    Ok(if denied { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn refused(error: anyhow::Error) -> anyhow::Result<ExitCode> {
    let error = error.downcast::<RemoteError>()?;
    let RemoteError::Refused(problem) = error else { return Err(error.into()) };
    Ok(tell(&problem))
}

/// What a server or a file says of a token; none when the file has problems, which are printed then.
async fn of_token(args: &Args) -> anyhow::Result<Option<Value>> {
    let token = match &args.token_file {
        Some(file) if file == Path::new("-") => std::io::read_to_string(std::io::stdin()),
        Some(file) => std::fs::read_to_string(file),
        None => Ok(TokenArgs { token_env: args.token_env.clone(), token_file: None }.read()?.to_string()),
    };
    let token = token.map_err(unreadable(args.token_file.as_deref().unwrap_or(Path::new("-"))))?;
    let token = Zeroizing::new(token.trim().to_owned());
    if args.policy.is_some() || args.config.is_some() {
        return Side::load(args)?.map(|side| side.of_token(args, &token)).transpose();
    }
    if let Some(socket) = &args.admin_socket {
        return operator::explain(socket, Subject::Token(token.to_string())).await.map(Some);
    }
    let answer = args.server.post("/v1/explain", &json!({ "token": *token })).await?;
    Ok(Some(serde_json::from_slice(&answer).context("the server's answer is no walk")?))
}

/// What the running server says of a request of the past, or else the journal; none when the configuration has problems,
/// which are printed then.
async fn recorded(args: &Args, typed: &str) -> anyhow::Result<Option<Value>> {
    let by_variable =
        || SystemEnvironment.value("LANYARD_ADMIN_SOCKET").map(PathBuf::from).filter(|_| args.config.is_none());
    let asked = |socket: PathBuf| async move {
        operator::explain(&socket, Subject::RequestId(typed.to_owned())).await.map(Some)
    };
    if let Some(socket) = &args.admin_socket {
        return asked(socket.clone()).await;
    }
    if let Some(socket) = by_variable()
        && operator::listens(&socket).await
    {
        return asked(socket).await;
    }
    let config = named_config(args.config.clone()).ok_or_else(|| {
        WrongUsage::new("--request-id asks the server or reads its journal: name --admin-socket or --config")
    })?;
    let found = render::needed(&config, load_whereabouts(&config, &SystemEnvironment));
    let Some(server) = found else { return Ok(None) };
    if operator::listens(&server.admin_socket).await {
        return asked(server.admin_socket).await;
    }
    // What today's rules say stands beside what was decided.
    let Some(settings) = render::loaded(load_server(&config, &SystemEnvironment)) else { return Ok(None) };
    let (policy, trust_domain) = (settings.policy, settings.trust_domain);
    let place = Place::of(server)?;
    let people = place.people().await.unwrap_or_default();
    let recalled = Recalled::read(&place.folder, typed, (&policy, &trust_domain), &people)?;
    let Some(recalled) = recalled else {
        let elsewhere = archive::whereabouts(&place.folder)?;
        anyhow::bail!("the journal knows no such request; `lanyard audit show` lists those it does{elsewhere}");
    };
    // The text first: entries are kept as they were written, which no value can hold.
    Ok(Some(serde_json::from_str(&serde_json::to_string(&recalled)?)?))
}

/// What a question without a server is put to.
struct Side {
    policy: Policy,
    /// None where only a policy is at hand.
    issuers: Option<Issuers>,
    trust_domain: TrustDomain,
}

impl Side {
    /// None when a file has problems, which are printed then.
    fn load(args: &Args) -> anyhow::Result<Option<Self>> {
        if let Some(file) = &args.policy {
            let trust_domain = TrustDomain::parse(NO_TRUST_DOMAIN)?;
            let policy = render::loaded(load_policy(file, &[], Lifetimes::SVID));
            return Ok(policy.map(|policy| Self { policy, issuers: None, trust_domain }));
        }
        let config = named_config(args.config.clone())
            .ok_or_else(|| WrongUsage::new("name the policy with --policy, or the configuration with --config"))?;
        Ok(render::loaded(load_server(&config, &SystemEnvironment)).map(|settings| {
            let ServerSettings { policy, issuers, trust_domain, .. } = settings;
            Self { policy, issuers: Some(issuers), trust_domain }
        }))
    }

    /// The name that rules give an issuer.
    fn issuer(&self, args: &Args, iss: Option<&str>) -> Option<IssuerName> {
        if let Some(name) = &args.issuer {
            return Some(IssuerName(name.as_str().into()));
        }
        match &self.issuers {
            Some(issuers) => issuers.by_url(iss?).map(|issuer| issuer.name().clone()),
            None => self.policy.rules().first().map(|rule| rule.issuer.clone()),
        }
    }

    fn of_claims(&self, args: &Args, json: &[u8], file: &Path) -> anyhow::Result<Value> {
        let payload: Value = serde_json::from_slice(json).with_context(|| format!("{} is no JSON", file.display()))?;
        let issuer = self.issuer(args, payload.get("iss").and_then(Value::as_str)).context(
            "the configuration has no issuer with the claims' iss; issuers are compared as strings. Name one with --issuer",
        )?;
        let configured = self.issuers.as_ref().and_then(|issuers| issuers.by_name(&issuer.0));
        let kind = configured.map(|issuer| issuer.expectations.kind).unwrap_or_default();
        if let (Some(payload), true) = (payload.as_object(), kind != IssuerKind::GitLab) {
            let claims = Claims::unproven_of(kind, payload, issuer);
            return self.walk(&claims.with_context(|| format!("{} holds no such claims", file.display()))?);
        }
        let lacking = payload.as_object().map(Claims::lacking).unwrap_or_default();
        anyhow::ensure!(
            lacking.is_empty(),
            "{} holds no job's claims: every job's token has {} too",
            file.display(),
            lacking.join(", ")
        );
        let claims = Claims::unproven(json, issuer);
        let claims = claims.with_context(|| format!("{} holds no job's claims", file.display()))?;
        self.walk(&claims)
    }

    /// As the server would say it, but for what only it can know.
    fn of_token(&self, args: &Args, token: &str) -> anyhow::Result<Value> {
        let no = |code: &str, reason: String, audience: Option<&str>| json!({ "audience": audience, "verdict": { "outcome": "denied", "code": code, "reason": reason } });
        let all = self.issuers.as_ref().and_then(Issuers::audience);
        let read = self.issuers.as_ref().map_or_else(|| UnverifiedToken::parse(token), |issuers| issuers.read(token));
        let read = match read {
            Ok(read) => read,
            Err(error) => return Ok(no(error.code(), error.to_string(), all)),
        };
        let Some(issuer) = self.issuer(args, Some(read.issuer())) else {
            return Ok(no("issuer_unknown", self.unknown(read.issuer()), all));
        };
        let configured = self.issuers.as_ref().and_then(|issuers| issuers.by_name(&issuer.0));
        let claims = match read.unproven(issuer, configured.map(|issuer| &issuer.expectations)) {
            Ok(claims) => claims,
            Err(error) => {
                let is_audience = matches!(error, TokenError::AudienceShared { .. } | TokenError::AudienceWrong { .. });
                let wanted = configured.map(|issuer| &*issuer.expectations.audience).filter(|_| is_audience);
                return Ok(no(error.code(), error.to_string(), wanted));
            }
        };
        let mut walk = self.walk(&claims)?;
        if let (Some(Err(error)), Some(verdict)) =
            (configured.map(|issuer| issuer.admit(&claims)), walk.get_mut("verdict"))
        {
            *verdict = json!({ "outcome": "denied", "code": error.code(), "reason": error.to_string() });
        }
        if let Some(walk) = walk.as_object_mut() {
            walk.insert("unproven".to_owned(), UNPROVEN.into());
        }
        Ok(walk)
    }

    fn unknown(&self, iss: &str) -> String {
        let known: Vec<&str> =
            self.issuers.iter().flat_map(Issuers::iter).map(|one| one.expectations.issuer_url.as_str()).collect();
        format!(
            "the token's issuer {iss:?} is not configured, and issuers are compared as strings; configured: {}",
            known.join(", ")
        )
    }

    fn walk(&self, claims: &Claims) -> anyhow::Result<Value> {
        let mut walk = serde_json::to_value(self.policy.walk(claims, &self.trust_domain))?;
        if let Some(Value::String(id)) = walk.pointer_mut("/verdict/spiffe_id")
            && let Some(path) = id.strip_prefix("spiffe://").and_then(|id| id.strip_prefix(NO_TRUST_DOMAIN))
        {
            *id = format!("spiffe://<trust domain>{path}");
        }
        Ok(walk)
    }
}

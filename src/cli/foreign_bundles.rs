//! `lanyard bundle list|set|delete`: the bundles of other trust domains that a running server holds.

use super::admin::AdminArgs;
use super::failure::WrongUsage;
use super::render;
use super::selector::time;
use crate::clock::{Clock as _, SystemClock};
use crate::wire::lanyard::set_bundle_request::Form;
use crate::wire::lanyard::{BundleEndpoint, BundleShown, DeleteBundleRequest, ListBundlesRequest, SetBundleRequest};
use anyhow::Context as _;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// In seconds.
const DAY: i64 = 86_400;

/// Most endpoints have answered by then; a person waits no longer.
const HEARD_WITHIN: Duration = Duration::from_secs(6);
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(clap::Args, Debug)]
pub(super) struct Set {
    #[command(flatten)]
    server: AdminArgs,
    /// The trust domain, such as mesh.example.org
    trust_domain: String,
    #[command(flatten)]
    file: BundleFile,
    #[command(flatten)]
    endpoint: EndpointArgs,
    #[command(flatten)]
    told: Told,
}

/// In one of two forms. Beside a URL it is the first bundle, until the endpoint shows the next.
#[derive(clap::Args, Debug)]
#[group(multiple = false)]
struct BundleFile {
    /// Its CA certificates, PEM
    #[arg(long, value_name = "FILE")]
    pem: Option<PathBuf>,
    /// Its SPIFFE bundle (JSON), or a map of several
    #[arg(long, value_name = "FILE")]
    spiffe: Option<PathBuf>,
}

/// Its own bundle endpoint, asked from now on.
#[derive(clap::Args, Debug)]
struct EndpointArgs {
    /// Its bundle endpoint, asked from now on as often as its bundle says
    #[arg(long, value_name = "URL", requires = "profile")]
    url: Option<String>,
    /// How the endpoint is known: by a certificate for its host's name, or by the SVID that it shows
    #[arg(long, value_name = "PROFILE", requires = "url", value_parser = ["https_web", "https_spiffe"])]
    profile: Option<String>,
    /// For an endpoint with an SVID: the ID that it shows
    #[arg(long, value_name = "ID", requires = "url", required_if_eq("profile", "https_spiffe"))]
    endpoint_spiffe_id: Option<String>,
    /// For an endpoint known by its host's name: the only CAs that are believed, PEM, in place of the system's
    #[arg(long, value_name = "FILE", requires = "url")]
    ca_file: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
pub(super) struct Delete {
    #[command(flatten)]
    server: AdminArgs,
    /// The trust domain
    trust_domain: String,
    #[command(flatten)]
    told: Told,
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

#[derive(clap::Args, Debug)]
pub(super) struct List {
    #[command(flatten)]
    server: AdminArgs,
    /// One JSON object a trust domain
    #[arg(long)]
    json: bool,
}

/// Takes one.
pub(super) async fn set(asked: Set) -> anyhow::Result<()> {
    let Set { server, trust_domain, file, endpoint, told: Told { reason, json } } = asked;
    let form = match file {
        BundleFile { pem: Some(pem), .. } => Some(Form::Pem(read(&pem)?.into())),
        BundleFile { spiffe: Some(spiffe), .. } => Some(Form::Spiffe(read(&spiffe)?.into())),
        BundleFile { pem: None, spiffe: None } => None,
    };
    let endpoint = endpoint.question()?;
    if form.is_none() && endpoint.is_none() {
        return Err(WrongUsage::new(
            "give its bundle, --pem FILE or --spiffe FILE, or its endpoint, --url and --profile",
        )
        .into());
    }
    let is_asked = endpoint.is_some();
    let question = SetBundleRequest { trust_domain: trust_domain.clone(), form, reason, endpoint };
    let answer = server.ask(async move |mut admin| admin.set_bundle(question).await).await?;
    let bundle = answer.bundle.unwrap_or_default();
    if is_asked {
        return heard(&server, bundle, json).await;
    }
    let what = match (answer.unchanged, answer.replaced) {
        (true, _) => "is held as it was",
        (false, true) => "is replaced",
        (false, false) => "is held from now on",
    };
    let said = format!("the bundle of {trust_domain} {what}: {}", authorities(&bundle));
    warn_of(&bundle, json);
    render::unless_closed(if json { render::json(&fact(&bundle)) } else { render::say(&said) })
}

impl EndpointArgs {
    fn question(self) -> anyhow::Result<Option<BundleEndpoint>> {
        let Self { url: Some(url), profile, endpoint_spiffe_id, ca_file } = self else { return Ok(None) };
        let ca_pem = ca_file.map(|file| read(&file)).transpose()?.unwrap_or_default().into();
        let (profile, endpoint_spiffe_id) = (profile.unwrap_or_default(), endpoint_spiffe_id.unwrap_or_default());
        Ok(Some(BundleEndpoint { url, profile, endpoint_spiffe_id, ca_pem }))
    }
}

/// What came of the first question; where nothing did so soon, the server goes on asking.
async fn heard(server: &AdminArgs, mut bundle: BundleShown, json: bool) -> anyhow::Result<()> {
    let clock = SystemClock;
    let end = clock.now() + HEARD_WITHIN;
    while bundle.confirmed_at == 0 && bundle.problem.is_empty() && clock.now() < end {
        clock.wait_until(clock.now() + LOOK_EVERY).await;
        let all = server.ask(async move |mut admin| admin.list_bundles(ListBundlesRequest {}).await).await?.bundle;
        let of = |one: &BundleShown| one.trust_domain == bundle.trust_domain;
        bundle = all.into_iter().find(of).unwrap_or_default();
    }
    let BundleShown { trust_domain, source, problem, confirmed_at, .. } = &bundle;
    let came = match (confirmed_at, problem.as_str()) {
        (0, "") => "no answer yet; `lanyard bundle list` shows what comes".to_owned(),
        (0, problem) => format!("{problem}; it is asked again, `lanyard bundle list` shows what comes"),
        _ => authorities(&bundle),
    };
    let said = format!("the bundle of {trust_domain} is asked for at {source} from now on: {came}");
    warn_of(&bundle, json);
    render::unless_closed(if json { render::json(&fact(&bundle)) } else { render::say(&said) })
}

/// As JSON it stands in the object.
fn warn_of(bundle: &BundleShown, json: bool) {
    if !json && !bundle.warning.is_empty() {
        render::aside(&format!("warning: {}", bundle.warning));
    }
}

/// Gives one up.
pub(super) async fn delete(asked: Delete) -> anyhow::Result<()> {
    let Delete { server, trust_domain, told: Told { reason, json } } = asked;
    let question = DeleteBundleRequest { trust_domain: trust_domain.clone(), reason };
    server.ask(async move |mut admin| admin.delete_bundle(question).await).await?;
    render::unless_closed(if json {
        render::json(&json!({ "trust_domain": trust_domain, "held": false }))
    } else {
        render::say(&format!("no bundle of {trust_domain} is held any more; agents are told at once"))
    })
}

/// Shows all, and what is wrong.
pub(super) async fn list(List { server, json }: List) -> anyhow::Result<()> {
    let all = server.ask(async move |mut admin| admin.list_bundles(ListBundlesRequest {}).await).await?.bundle;
    if json {
        return render::unless_closed(all.iter().try_for_each(|bundle| render::json(&fact(bundle))));
    }
    let head = ["trust domain", "source", "sequence", "keys", "age", "seen", "next", "last root ends in", "problem"];
    render::unless_closed(render::rows(&head, all.iter().map(row).collect()))
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))
}

fn row(bundle: &BundleShown) -> Vec<String> {
    let of = |text: String| if bundle.held { text } else { String::new() };
    let now = SystemClock.now().unix_timestamp();
    let at = |at: i64, span: fn(i64) -> String, gap: i64| if at == 0 { String::new() } else { span(gap) };
    let (seen, asked) = (bundle.confirmed_at, bundle.asked_at);
    let told = [&bundle.problem, &bundle.warning].map(String::as_str).into_iter().filter(|text| !text.is_empty());
    let left_out = bundle.left_out.iter().map(|key| format!("left out: {key}"));
    let told: Vec<_> = told.map(str::to_owned).chain(left_out).collect();
    let source = match bundle.by.as_str() {
        "" => bundle.source.clone(),
        by => format!("{} {by}", bundle.source),
    };
    vec![
        bundle.trust_domain.clone(),
        source,
        of(bundle.sequence.to_string()),
        of(format!("{} X.509, {} JWT", bundle.x509_authorities, bundle.jwt_authorities)),
        of(span(now - bundle.since)),
        at(seen, ago, now - seen),
        at(asked, ahead, asked - now),
        of(days_left(bundle).map(|days| render::count(days, "day")).unwrap_or_default()),
        told.join("; "),
    ]
}

fn fact(bundle: &BundleShown) -> Value {
    let BundleShown { trust_domain, source, held, sequence, x509_authorities, jwt_authorities, by, problem, .. } =
        bundle;
    let BundleShown { failures, refresh_hint, left_out, warning, .. } = bundle;
    let known = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    json!({
        "trust_domain": trust_domain, "source": source, "held": held, "sequence": sequence,
        "x509_authorities": x509_authorities, "jwt_authorities": jwt_authorities, "since": time(bundle.since),
        "confirmed_at": time(bundle.confirmed_at), "authorities_end_at": time(bundle.authorities_end_at),
        "days_left": days_left(bundle), "by": known(by), "problem": known(problem),
        "failures": failures, "asked_at": time(bundle.asked_at), "refresh_hint": refresh_hint, "left_out": left_out,
        "warning": known(warning),
    })
}

/// Whole days until the last X.509 authority ends; below 0 where it has.
fn days_left(bundle: &BundleShown) -> Option<i64> {
    let end = Some(bundle.authorities_end_at).filter(|end| *end != 0)?;
    Some((end - SystemClock.now().unix_timestamp()).div_euclid(DAY))
}

fn authorities(bundle: &BundleShown) -> String {
    let ends = time(bundle.authorities_end_at).map(|end| format!(", the last of which ends {end}")).unwrap_or_default();
    format!("{}{ends}", render::count(bundle.x509_authorities, "CA certificate"))
}

fn ago(seconds: i64) -> String {
    format!("{} ago", span(seconds))
}

fn ahead(seconds: i64) -> String {
    format!("in {}", span(seconds))
}

/// A span in its largest unit.
fn span(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{} s", seconds.max(0)),
        60..3600 => format!("{} min", seconds / 60),
        3600..DAY => format!("{} h", seconds / 3600),
        DAY.. => render::count(seconds / DAY, "day"),
    }
}

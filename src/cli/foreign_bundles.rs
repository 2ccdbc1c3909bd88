//! `lanyard bundle list|set|delete`: the bundles of other trust domains that a running server holds.

use super::admin::AdminArgs;
use super::render;
use super::selector::time;
use crate::clock::{Clock as _, SystemClock};
use crate::wire::lanyard::set_bundle_request::Form;
use crate::wire::lanyard::{BundleShown, DeleteBundleRequest, ListBundlesRequest, SetBundleRequest};
use anyhow::Context as _;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// In seconds.
const DAY: i64 = 86_400;

#[derive(clap::Args, Debug)]
pub(super) struct Set {
    #[command(flatten)]
    server: AdminArgs,
    /// The trust domain, such as mesh.example.org
    trust_domain: String,
    #[command(flatten)]
    file: BundleFile,
    #[command(flatten)]
    told: Told,
}

/// In one of two forms.
#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct BundleFile {
    /// Its CA certificates, PEM
    #[arg(long, value_name = "FILE")]
    pem: Option<PathBuf>,
    /// Its SPIFFE bundle (JSON), or a map of several
    #[arg(long, value_name = "FILE")]
    spiffe: Option<PathBuf>,
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
    let Set { server, trust_domain, file, told: Told { reason, json } } = asked;
    let form = match file {
        BundleFile { pem: Some(pem), .. } => Form::Pem(read(&pem)?.into()),
        BundleFile { spiffe, .. } => Form::Spiffe(read(&spiffe.unwrap_or_default())?.into()),
    };
    let question = SetBundleRequest { trust_domain: trust_domain.clone(), form: Some(form), reason };
    let answer = server.ask(async move |mut admin| admin.set_bundle(question).await).await?;
    let bundle = answer.bundle.unwrap_or_default();
    let what = match (answer.unchanged, answer.replaced) {
        (true, _) => "is held as it was",
        (false, true) => "is replaced",
        (false, false) => "is held from now on",
    };
    let said = format!("the bundle of {trust_domain} {what}: {}", authorities(&bundle));
    render::unless_closed(if json { render::json(&fact(&bundle)) } else { render::say(&said) })
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
    let head = ["trust domain", "source", "sequence", "X.509", "JWT", "age", "last root ends in", "problem"];
    render::unless_closed(render::rows(&head, all.iter().map(row).collect()))
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))
}

fn row(bundle: &BundleShown) -> Vec<String> {
    let of = |text: String| if bundle.held { text } else { String::new() };
    let age = SystemClock.now().unix_timestamp() - bundle.since;
    let source = match bundle.by.as_str() {
        "" => bundle.source.clone(),
        by => format!("{} {by}", bundle.source),
    };
    vec![
        bundle.trust_domain.clone(),
        source,
        of(bundle.sequence.to_string()),
        of(bundle.x509_authorities.to_string()),
        of(bundle.jwt_authorities.to_string()),
        of(span(age)),
        of(days_left(bundle).map(|days| render::count(days, "day")).unwrap_or_default()),
        bundle.problem.clone(),
    ]
}

fn fact(bundle: &BundleShown) -> Value {
    let BundleShown { trust_domain, source, held, sequence, x509_authorities, jwt_authorities, by, problem, .. } =
        bundle;
    let known = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    json!({
        "trust_domain": trust_domain, "source": source, "held": held, "sequence": sequence,
        "x509_authorities": x509_authorities, "jwt_authorities": jwt_authorities, "since": time(bundle.since),
        "confirmed_at": time(bundle.confirmed_at), "authorities_end_at": time(bundle.authorities_end_at),
        "days_left": days_left(bundle), "by": known(by), "problem": known(problem),
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

/// A span in its largest unit.
fn span(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{} s", seconds.max(0)),
        60..3600 => format!("{} min", seconds / 60),
        3600..DAY => format!("{} h", seconds / 3600),
        DAY.. => render::count(seconds / DAY, "day"),
    }
}

//! `lanyard init`: the first files of a real server, for a GitLab that was asked whether it is the right one.

use super::failure::{NotReachable, WrongUsage, unreadable};
use super::{new_files::NewFolder, render};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Starter, SystemEnvironment, load_server};
use crate::crypto::{Digest, Random};
use crate::discovery::{FetchError, HttpsFetch, KeysError, fetch_keys};
use crate::identity::TrustDomain;
use crate::server::make_door_ca;
use crate::telemetry::chain;
use crate::tls::ServerTrust;
use crate::token::KeySource;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

/// GitLab's own service: whoever wants has projects there.
const PUBLIC_GITLAB: &str = "https://gitlab.com";
/// The port of a server that names none.
const PORT: u16 = 8443;

/// What can be typed.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Asks GitLab's discovery document and keys, then writes into DIR: server.toml, policy.toml with its cases, agent.toml,\n\
job.gitlab-ci.yml to paste, and data/ with the door CA by which clients know the server. All of it loads as it is. Nothing\n\
that is there is overwritten; where one file cannot be written, none is.\n\n\
  lanyard init --gitlab https://gitlab.corp.example --trust-domain ci.corp.example --host lanyard.corp.example")]
pub(crate) struct Args {
    /// GitLab's URL, exactly as its tokens have it in iss
    #[arg(long, value_name = "URL")]
    gitlab: Option<String>,
    /// The name that every SPIFFE ID begins with, such as ci.corp.example
    #[arg(long, value_name = "NAME")]
    trust_domain: Option<String>,
    /// Where the files go
    #[arg(long, value_name = "DIR", default_value = "lanyard")]
    dir: PathBuf,
    /// PEM file of the CA that signed GitLab's certificate, where this machine's own store does not know it
    #[arg(long, value_name = "PEM")]
    ca_file: Option<PathBuf>,
    /// The name by which jobs and agents reach the server [default: localhost, for a try on this machine]
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// A top-level group whose tokens count, once for each [default: all groups; needed for gitlab.com]
    #[arg(long = "namespace", value_name = "GROUP")]
    namespaces: Vec<String>,
    /// What jobs write as aud [default: `https://TRUST_DOMAIN/lanyard`]
    #[arg(long, value_name = "TEXT")]
    audience: Option<String>,
    /// The port for jobs and agents [default: 0.0.0.0:8443 with --host, else 127.0.0.1:8443]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The plain port for probes and metrics
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    health: SocketAddr,
    /// What was written, as one JSON object
    #[arg(long)]
    json: bool,
}

/// Asks, writes, and says what comes next.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let starter = understood(&args)?;
    let mut targets = Starter::FILES.to_vec();
    targets.push(Starter::DATA);
    let folder = NewFolder::look(&args.dir, &targets)?;
    let keys = ask(&starter).await?;
    let door_ca = write(&starter, folder)?;
    tell(&args, &starter, keys, &door_ca)?;
    Ok(ExitCode::SUCCESS)
}

/// What was typed, with what follows from it.
fn understood(args: &Args) -> anyhow::Result<Starter> {
    let (Some(gitlab), Some(trust_domain)) = (&args.gitlab, &args.trust_domain) else {
        return Err(WrongUsage::new(missing(args)).into());
    };
    let trust_domain = TrustDomain::parse(trust_domain).map_err(|wrong| WrongUsage::new(wrong.to_string()))?;
    if gitlab == PUBLIC_GITLAB && args.namespaces.is_empty() {
        return Err(WrongUsage::new(
            "anybody can have projects on gitlab.com, and their tokens are genuine: name your own groups with \
             --namespace GROUP, once for each",
        )
        .into());
    }
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if let Some(wrong) = args.namespaces.iter().find(|name| name.is_empty() || !name.chars().all(fits)) {
        return Err(WrongUsage::new(format!("--namespace {wrong:?}: write a top-level group, such as acme")).into());
    }
    if args.audience.as_ref().is_some_and(|audience| audience.is_empty() || audience.contains(char::is_control)) {
        return Err(WrongUsage::new("--audience: write a name for this server, such as https://ci.corp.example").into());
    }
    let any = if args.host.is_some() { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    let listen = args.listen.unwrap_or_else(|| (any, PORT).into());
    let host = args.host.as_deref().unwrap_or("localhost");
    let server = format!("https://{host}:{}", listen.port()).parse();
    let server = server.map_err(|_odd| WrongUsage::new(format!("--host {host:?}: write a DNS name or an address")))?;
    let own = host.trim_matches(['[', ']']);
    let usual = ["localhost", "127.0.0.1", "::1"].into_iter().filter(|name| *name != own);
    let names = [own].into_iter().chain(usual).map(str::to_owned).collect();
    let ca_file = args.ca_file.as_deref().map(|file| file.canonicalize().map_err(unreadable(file))).transpose()?;
    Ok(Starter {
        audience: args.audience.clone().unwrap_or_else(|| format!("https://{trust_domain}/lanyard")),
        trust_domain,
        gitlab: gitlab.clone(),
        ca_file,
        namespaces: args.namespaces.clone(),
        server,
        names,
        listen,
        health: args.health,
    })
}

/// The whole line to type, with what was typed already.
fn missing(args: &Args) -> String {
    let flags = [
        ("--gitlab", &args.gitlab, "https://gitlab.corp.example", "GitLab's URL"),
        ("--trust-domain", &args.trust_domain, "ci.corp.example", "the name that every SPIFFE ID begins with"),
    ];
    let missing = flags.iter().filter(|(_, typed, ..)| typed.is_none());
    let missing: Vec<_> = missing.map(|(flag, .., what)| format!("{flag} ({what})")).collect();
    let line = flags.map(|(flag, typed, example, _)| format!("{flag} {}", typed.as_deref().unwrap_or(example)));
    format!("init needs {}; type: lanyard init {}", missing.join(" and "), line.join(" "))
}

/// Whether this is the GitLab that is meant; how many keys it has.
async fn ask(starter: &Starter) -> anyhow::Result<usize> {
    let url = KeySource::document_of(&starter.gitlab);
    let ca_pem = starter.ca_file.as_deref().map(|file| std::fs::read(file).map_err(unreadable(file))).transpose()?;
    if let (Some(file), Some(pem)) = (&starter.ca_file, &ca_pem) {
        ServerTrust::from_pem(pem, &file.to_string_lossy())?;
    }
    let fetch = HttpsFetch::new(ca_pem.as_deref())?;
    let keys = fetch_keys(&fetch, &starter.gitlab, (&url, ca_pem.as_deref())).await;
    Ok(keys.map_err(|error| remedy(starter, error))?.kids().count())
}

/// What to type instead.
fn remedy(starter: &Starter, error: KeysError) -> anyhow::Error {
    let said = chain(&error);
    let gitlab = &starter.gitlab;
    match error {
        KeysError::Fetch(FetchError::NotHttps { .. }) => WrongUsage::new(format!(
            "--gitlab {gitlab:?}: keys are taken over https only, since whoever can change them on their way can be any \
             job; write https://…, or configure such a GitLab by hand, with jwks_file"
        ))
        .into(),
        KeysError::Fetch(FetchError::Status { status, .. }) if status.is_redirection() => anyhow::anyhow!(
            "{said}, a redirect, and none is followed: give --gitlab the URL that it leads to, as GitLab's own \
             external_url has it"
        ),
        KeysError::Fetch(FetchError::Status { .. }) | KeysError::Document { .. } => anyhow::anyhow!(
            "{said}. Is {gitlab} a GitLab? Give its whole URL, with a path such as /gitlab if it has one"
        ),
        KeysError::Fetch(FetchError::Unreachable { .. }) => {
            let why = match (said.contains("UnknownIssuer"), &starter.ca_file) {
                (true, None) => format!("{said}. Its certificate is of a CA that this machine does not know: --ca-file PEM"),
                (true, Some(file)) => format!("{said}. Its certificate is not of the CA in {}", file.display()),
                (false, _) => said,
            };
            NotReachable { what: "GitLab", place: gitlab.clone(), why }.into()
        }
        KeysError::IssuerDiffers { found, .. } => anyhow::anyhow!(
            "GitLab at {gitlab} calls itself {found}, and so do its tokens; if that is the one: --gitlab {found}"
        ),
        KeysError::Fetch(_)
        | KeysError::Jwks { .. }
        | KeysError::JwksUri { .. }
        | KeysError::NotConfigured
        | KeysError::NotHeld(_)
        | KeysError::NotSeen { .. }
        | KeysError::Token(_)
        | KeysError::NotEnded => anyhow::anyhow!("{said}"),
    }
}

/// Everything or nothing; the files are read again as the server will read them.
fn write(starter: &Starter, mut folder: NewFolder) -> anyhow::Result<Digest> {
    let data = folder.make_folder(Starter::DATA)?;
    let door_ca = make_door_ca(&data, &Random::system(), SystemClock.now())?;
    let digest = Digest::of(door_ca.certificate());
    for (name, text) in Starter::FILES.iter().zip(starter.texts(&digest)) {
        folder.write(name, &text)?;
    }
    load_server(&folder.path().join(Starter::SERVER), &SystemEnvironment).map_err(|problems| {
        render::problems(&problems);
        anyhow::anyhow!("what you typed makes no configuration that loads; nothing was kept")
    })?;
    folder.keep();
    Ok(digest)
}

fn tell(args: &Args, starter: &Starter, keys: usize, door_ca: &Digest) -> anyhow::Result<()> {
    let place = |name: &str| args.dir.join(name).display().to_string();
    let next = [
        format!("lanyard policy test {}", place(Starter::POLICY)),
        format!("lanyard server --config {}", place(Starter::SERVER)),
        format!("lanyard health --config {}", place(Starter::SERVER)),
    ];
    let [.., job] = starter.texts(door_ca);
    if args.json {
        return render::json(&json!({
            "folder": args.dir, "files": Starter::FILES.map(place), "data_dir": place(Starter::DATA),
            "issuer": starter.gitlab, "keys": keys, "audience": starter.audience,
            "trust_domain": starter.trust_domain, "server": starter.server.to_string(),
            "server_ca_sha256": door_ca, "snippet": job, "next": next,
        }));
    }
    let told = [
        (Starter::SERVER, "the server's configuration"),
        (Starter::POLICY, "who may be what"),
        (Starter::CASES, "what that policy must say"),
        (Starter::AGENT, "for the machines where jobs run"),
        (Starter::JOB, "for the projects; here it is:"),
    ];
    let files: Vec<_> = told.iter().map(|(name, what)| format!("  {name:18}  {what}\n")).collect();
    if args.host.is_none() {
        render::aside("no job on another machine reaches localhost: name this one with --host NAME");
    }
    render::say(&format!(
        "{} is a GitLab with {}. In {}/ there are now:\n\n{}\n{}\nNext:\n  {}",
        starter.gitlab,
        render::count(keys, "key"),
        args.dir.display(),
        files.concat(),
        indented(&job),
        next.join("\n  "),
    ))
}

fn indented(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(|line| format!("    {line}\n")).collect();
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        args: Args,
    }

    fn typed(more: &str) -> Starter {
        let line = format!("init --gitlab https://gitlab.example --trust-domain ci.example.org {more}");
        understood(&Typed::parse_from(line.split_whitespace()).args).unwrap()
    }

    #[test]
    fn a_server_with_a_name_is_there_for_everybody_and_one_without_for_this_machine() {
        let own = typed("");
        assert_eq!(
            (own.server.to_string(), own.listen.to_string()),
            ("https://localhost:8443".into(), "127.0.0.1:8443".into())
        );
        assert_eq!((own.audience.as_str(), own.names.len()), ("https://ci.example.org/lanyard", 3));
        let named = typed("--host lanyard.example");
        assert_eq!(named.names, ["lanyard.example", "localhost", "127.0.0.1", "::1"]);
        assert_eq!(named.listen.to_string(), "0.0.0.0:8443");
        let by_address = typed("--host [2001:db8::1] --listen [::]:443");
        assert_eq!(
            (by_address.server.to_string().as_str(), &*by_address.names[0]),
            ("https://[2001:db8::1]:443", "2001:db8::1")
        );
    }

    /// What `init` says of a GitLab that answers so.
    async fn said_of(answer: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert_ne!(stream.read(&mut [0; 4096]).await.unwrap(), 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let fetch = HttpsFetch::new(None).unwrap().with_loopback_http();
        let (asked, ()) = tokio::join!(fetch_keys(&fetch, "https://gitlab.example", (&url, None)), serve);
        remedy(&typed(""), asked.unwrap_err()).to_string()
    }

    #[tokio::test]
    async fn what_is_no_gitlab_is_told_from_one_at_another_place() {
        let moved = "HTTP/1.1 301 Moved Permanently\r\nLocation: https://other.example/\r\nContent-Length: 0\r\n\r\n";
        let said = said_of(moved).await;
        assert!(said.contains("301 Moved Permanently, a redirect, and none is followed: give --gitlab"), "{said}");
        let said = said_of("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>").await;
        assert!(said.contains("Is https://gitlab.example a GitLab?"), "{said}");
    }
}

//! The agent's file: which server, where the job's token comes from, where workloads ask.

use super::Environment;
use super::ca_file::read_ca_file;
use super::host::read_host;
use super::problem::{Problem, read_text};
use super::reader::Reader;
use super::sds::read_secrets;
use super::section::Section;
use crate::agent::{AgentSettings, Callers, FileOutput, Layout, MODE_EVERYBODY, MODE_OWNER, OnStop};
use crate::agent::{TOKEN_VARIABLE, TokenSource};
use crate::crypto::Digest;
use crate::tls::ServerTrust;
use crate::wire::ServerUrl;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// A hook that takes longer than this would keep the files behind the SVID for most of its life.
const HOOK_WITHIN_MAX: Duration = Duration::from_secs(300);

/// Reads and checks an agent's file.
///
/// # Errors
/// Every problem there is, by file and line.
pub fn load_agent(file: &Path, environment: &dyn Environment) -> Result<AgentSettings, Vec<Problem>> {
    let text = read_text(file, "name the agent's configuration with --config")?;
    let reader = Reader::new(file, &text);
    let settings = read(&reader, environment);
    reader.settled(settings)
}

pub(super) fn read(reader: &Reader<'_>, environment: &dyn Environment) -> Option<AgentSettings> {
    let mut root = reader.document();
    let server = root
        .parsed("server", "the server's URL, such as \"https://lanyard.corp.example:8443\"", str::parse::<ServerUrl>)
        .or_else(|| root.missing("server", "write the server's URL, such as \"https://lanyard.corp.example:8443\""));
    let trust = read_trust(&mut root);
    let mode = read_mode(&mut root);
    let state_dir = root.path("state_dir").or_else(|| {
        root.missing("state_dir", "write a folder on tmpfs for the session key, such as \"/run/lanyard/agent\"")
    });
    let callers = read_callers(&mut root, mode);
    let is_host = mode == Some(Mode::Host);
    let token = if is_host { Some(TokenSource::Login) } else { read_token(root.section("token"), environment) };
    let runner = read_runner(&mut root, is_host);
    let mut listen = root.section("listen");
    let workload_socket = socket(&mut listen, "workload");
    let workload_socket =
        workload_socket.or_else(|| listen.missing("workload", "write where workloads ask, an absolute path"));
    let agent_socket = socket(&mut listen, "agent");
    let sds_socket = socket(&mut listen, "sds");
    if is_host && agent_socket.is_none() {
        listen.missing::<()>("agent", "write where jobs log in, an absolute path");
    }
    let program = socket(&mut listen, "program");
    let all = [("workload", &workload_socket), ("agent", &agent_socket), ("sds", &sds_socket), ("program", &program)];
    report_shared(&listen, all.map(|(key, path)| (key, path.as_deref())));
    let metrics = listen.parsed("metrics", "an address with a port, such as \"127.0.0.1:9465\"", str::parse);
    listen.finish();
    let secrets = read_secrets(root.section("sds"));
    let files = if is_host { None } else { read_files(&mut root) };
    root.finish();
    let callers = callers?;
    Some(AgentSettings {
        server: server?,
        trust: trust?,
        workload_socket: workload_socket?,
        agent_socket,
        sds_socket,
        secrets,
        metrics,
        program,
        socket_mode: if callers == Callers::OwnUid { MODE_OWNER } else { MODE_EVERYBODY },
        callers,
        state_dir: state_dir?,
        token: token?,
        runner,
        files,
        on_stop: if is_host { OnStop::KeepSession } else { OnStop::EndSession },
    })
}

/// The server's certificate is believed for one reason only, and which one is written down.
fn read_trust(root: &mut Section<'_, '_>) -> Option<ServerTrust> {
    let digest_line = root.line_of("server_ca_sha256");
    let pinned =
        root.parsed("server_ca_sha256", "64 hex digits: the SHA-256 of the CA certificate, DER", str::parse::<Digest>);
    if !root.holds("server_ca_file") {
        root.skip("server_ca_file");
        return match (pinned, digest_line) {
            (Some(digest), _) => Some(ServerTrust::Sha256(digest)),
            (None, Some(_wrong)) => None,
            (None, None) => Some(ServerTrust::System),
        };
    }
    if digest_line.is_some() {
        root.problem("server_ca_sha256", digest_line, "given beside server_ca_file", "keep one of them");
    }
    read_ca_file(root, "server_ca_file").map(|(_pem, trust)| trust)
}

/// Which processes are which job.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    Host,
    OwnUid,
    Pod,
}

/// It is configured and never guessed.
fn read_mode(root: &mut Section<'_, '_>) -> Option<Mode> {
    let would_do = "\"pod\": whoever sees the socket is the job, so mount its folder only there; \"host\": many jobs, told \
                    apart by their cgroups; or \"own-uid\": processes of the agent's own user are the job";
    let mode = root.parsed("mode", would_do, |text| match text {
        "host" => Ok(Mode::Host),
        "own-uid" => Ok(Mode::OwnUid),
        "pod" => Ok(Mode::Pod),
        _ => Err("no mode"),
    });
    mode.or_else(|| root.missing("mode", &format!("write {would_do}")))
}

/// What the mode makes of its own settings; those of another mode are told.
fn read_callers(root: &mut Section<'_, '_>, mode: Option<Mode>) -> Option<Callers> {
    let callers = match mode? {
        Mode::Host => read_host(root),
        Mode::OwnUid => Callers::OwnUid,
        Mode::Pod => read_uids(root).map_or(Callers::Any, Callers::Uids),
    };
    for (key, its_mode) in [("host", "host"), ("uids", "pod")] {
        if root.holds(key) {
            let remedy = format!("leave it out, or write mode = \"{its_mode}\"");
            root.problem(key, root.line_of(key), "given, and this is another mode", remedy);
        }
        root.skip(key);
    }
    Some(callers)
}

/// In a pod: whose processes are the job; everybody's where nobody is named.
fn read_uids(root: &mut Section<'_, '_>) -> Option<BTreeSet<u32>> {
    let would_do = "the numbers of one or several users, such as uids = [0, 1337]; leave it out to answer everybody";
    let (line, given) = (root.line_of("uids"), root.holds("uids"));
    let mut uids = BTreeSet::new();
    for (line, value) in root.values("uids") {
        match value.as_integer().and_then(|number| u32::from_str_radix(number.as_str(), number.radix()).ok()) {
            Some(uid) => drop(uids.insert(uid)),
            None => {
                root.problem("uids", Some(line), "something else than a user's number", format!("write {would_do}"));
            }
        }
    }
    if given && uids.is_empty() {
        root.problem("uids", line, "nobody", format!("write {would_do}"));
    }
    given.then_some(uids)
}

fn read_token(mut token: Section<'_, '_>, environment: &dyn Environment) -> Option<TokenSource> {
    let file = token.path("file");
    let source = token.parsed("source", "\"login\", \"file\" or \"environment\"", |text| match text {
        "environment" | "file" | "login" => Ok(text.to_owned()),
        _ => Err("unknown"),
    });
    let given = environment.value(TOKEN_VARIABLE);
    let found = match (source.as_deref(), file, given) {
        (None | Some("file"), Some(file), _) => Some(TokenSource::File(file)),
        (Some("file"), None, _) => token.missing("file", "write the file that the token will be in"),
        (Some("environment"), _, None) => {
            token.problem(
                "source",
                None,
                format!("\"environment\", and {TOKEN_VARIABLE} is not set"),
                "set it, or use \"login\"",
            );
            None
        }
        (None | Some("environment"), None, Some(given)) => Some(TokenSource::Given(Zeroizing::new(given))),
        (_, Some(_), _) => {
            token.problem(
                "file",
                None,
                "given, and the token comes from elsewhere",
                "leave it out, or write source = \"file\"",
            );
            None
        }
        (_, None, _) => Some(TokenSource::Login),
    };
    token.finish();
    found
}

/// The runner's own identity, for the time when no job has one.
fn read_runner(root: &mut Section<'_, '_>, is_host: bool) -> Option<PathBuf> {
    if !root.holds("runner") {
        root.skip("runner");
        return None;
    }
    if is_host {
        let remedy = "leave it out: who is in no job of a host is served nothing";
        root.problem("runner", root.line_of("runner"), "given, and mode is \"host\"", remedy);
        root.skip("runner");
        return None;
    }
    let mut runner = root.section("runner");
    let file = runner.path("token_file").or_else(|| {
        runner.missing("token_file", "write the file of the runner's own token, such as a projected volume's")
    });
    runner.finish();
    file
}

fn read_files(root: &mut Section<'_, '_>) -> Option<FileOutput> {
    if !root.holds("files") {
        root.skip("files");
        return None;
    }
    let mut files = root.section("files");
    let folder =
        files.path("folder").or_else(|| files.missing("folder", "write the folder for svid.pem and the others"));
    let layouts = read_layouts(&mut files);
    let crl = files.flag("crl").unwrap_or(false);
    let hook = files.list("hook", "a program and its arguments, each a text", |part| Ok::<_, String>(part.to_owned()));
    let hook_within = files.duration("hook_timeout", HOOK_WITHIN_MAX).unwrap_or(FileOutput::HOOK_WITHIN);
    files.finish();
    Some(FileOutput { folder: folder?, layouts, crl, hook: hook.unwrap_or_default(), hook_within })
}

/// The layout `pem` unless others are named. A list with nothing that can be read is told by what is wrong in it.
fn read_layouts(files: &mut Section<'_, '_>) -> Vec<Layout> {
    let would_do = "\"pem\", \"istio-files\", \"combined\", \"kafka-pem\" or \"per-td\"";
    let (line, wrong) = (files.line_of("layout"), std::cell::Cell::new(false));
    let layouts = files.list("layout", would_do, |name| name.parse::<Layout>().inspect_err(|_none| wrong.set(true)));
    if layouts.as_ref().is_some_and(Vec::is_empty) && !wrong.get() {
        files.problem("layout", line, "none", format!("write {would_do}, or leave it out"));
    }
    layouts.unwrap_or_else(|| vec![Layout::Pem])
}

/// Who comes second at a path would take it from the first.
fn report_shared(listen: &Section<'_, '_>, all: [(&'static str, Option<&Path>); 4]) {
    for (at, (key, path)) in all.iter().enumerate() {
        let first = all.iter().take(at).find(|(_, other)| path.is_some() && other == path);
        if let (Some((first, _)), Some(path)) = (first, path) {
            let found = format!("\"{}\", which is {} already", path.display(), listen.key_path(first));
            listen.problem(key, None, found, "write another path");
        }
    }
}

/// Other processes must find it from wherever they stand.
fn socket(section: &mut Section<'_, '_>, key: &'static str) -> Option<PathBuf> {
    section.parsed(key, "an absolute path", |text| {
        if text.starts_with('/') { Ok(PathBuf::from(text)) } else { Err("not absolute") }
    })
}

#[cfg(test)]
mod tests {
    use super::super::MapEnvironment;
    use super::*;

    fn load(text: &str, environment: &MapEnvironment) -> Result<AgentSettings, Vec<Problem>> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("agent.toml");
        std::fs::write(&file, text).unwrap();
        load_agent(&file, environment)
    }

    const GOOD: &str = "server = \"https://lanyard.test:8443\"\nmode = \"pod\"\nstate_dir = \"/run/x\"\n\
                        [listen]\nworkload = \"/run/x/workload.sock\"\n";

    #[test]
    fn a_token_in_the_environment_is_used_and_else_a_login_is_waited_for() {
        let environment = MapEnvironment([("LANYARD_ID_TOKEN".to_owned(), "t".to_owned())].into());
        assert!(matches!(load(GOOD, &environment).unwrap().token, TokenSource::Given(_)));
        assert_eq!(load(GOOD, &MapEnvironment::default()).unwrap().token, TokenSource::Login);
    }

    #[test]
    fn files_are_pem_unless_other_readers_are_named() {
        let files =
            |more: &str| load(&format!("{GOOD}[files]\nfolder = \"/run/x\"\n{more}"), &MapEnvironment::default());
        let settings = files("").unwrap().files.unwrap();
        assert_eq!((settings.layouts, settings.hook_within), (vec![Layout::Pem], FileOutput::HOOK_WITHIN));
        let settings = files("layout = [\"istio-files\", \"per-td\"]\nhook_timeout = \"5s\"").unwrap().files.unwrap();
        assert_eq!(settings.layouts, [Layout::IstioFiles, Layout::PerTrustDomain]);
        assert_eq!(settings.hook_within, Duration::from_secs(5));
        for wrong in ["layout = [\"der\"]", "layout = []", "hook_timeout = \"1h\""] {
            assert_eq!(files(wrong).unwrap_err().len(), 1, "{wrong}");
        }
    }

    /// Shows: EP-2.
    #[test]
    fn there_is_no_way_to_ask_for_a_tcp_socket() {
        let text = GOOD.replace("/run/x/workload.sock", "tcp://127.0.0.1:8081");
        let problems = load(&text, &MapEnvironment::default()).unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(), ["listen.workload"]);
    }

    #[test]
    fn a_pod_s_users_are_all_unless_some_are_named_and_no_other_mode_names_any() {
        let mode = |mode: &str, uids: &str| {
            let text = GOOD.replace("mode = \"pod\"\n", &format!("mode = \"{mode}\"\n{uids}\n"));
            let loaded = load(&text, &MapEnvironment::default()).map(|settings| settings.callers);
            loaded.map_err(|problems| problems.into_iter().map(|problem| problem.key).collect::<Vec<_>>())
        };
        assert_eq!(mode("pod", ""), Ok(Callers::Any));
        assert_eq!(mode("pod", "uids = 1337"), Ok(Callers::Uids([1337].into())));
        assert_eq!(mode("pod", "uids = [0, 0x539]"), Ok(Callers::Uids([0, 1337].into())));
        for wrong in ["uids = []", "uids = [-1]", "uids = [\"istio\"]", "uids = [4294967296]"] {
            assert!(mode("pod", wrong).unwrap_err().iter().all(|key| key == "uids"), "{wrong}");
        }
        assert_eq!(mode("own-uid", "uids = [1337]"), Err(vec!["uids".to_owned()]));
    }

    #[test]
    fn a_runner_s_own_token_is_beside_the_job_s_and_of_no_use_on_a_host() {
        let load = |text: &str| {
            let loaded = load(text, &MapEnvironment::default());
            let told = |problems: Vec<Problem>| problems.into_iter().map(|problem| problem.key).collect::<Vec<_>>();
            loaded.map(|settings| (settings.runner, settings.token)).map_err(told)
        };
        let own = "[runner]\ntoken_file = \"/run/x/token\"\n";
        assert_eq!(load(&format!("{GOOD}{own}")), Ok((Some("/run/x/token".into()), TokenSource::Login)));
        assert_eq!(load(&format!("{GOOD}[runner]\n")), Err(vec!["runner.token_file".to_owned()]));
        let host = GOOD.replace("mode = \"pod\"", "mode = \"host\"") + "agent = \"/run/x/agent.sock\"\n" + own;
        assert!(load(&host).unwrap_err().contains(&"runner".to_owned()));
    }

    #[test]
    fn each_socket_has_a_path_of_its_own() {
        let told = |more: &str| {
            let problems = load(&format!("{GOOD}{more}"), &MapEnvironment::default()).map(drop).err();
            problems.unwrap_or_default().into_iter().map(|problem| problem.key).collect::<Vec<_>>()
        };
        assert_eq!(told("agent = \"/run/x/agent.sock\"\nsds = \"/run/x/sds.sock\""), [""; 0]);
        assert_eq!(told("agent = \"/run/x/workload.sock\""), ["listen.agent"]);
        assert_eq!(
            told("agent = \"/run/x/a.sock\"\nsds = \"/run/x/a.sock\"\nprogram = \"/run/x/a.sock\""),
            ["listen.sds", "listen.program"]
        );
    }

    #[test]
    fn the_mode_is_never_guessed() {
        let problems = load(&GOOD.replace("mode = \"pod\"\n", ""), &MapEnvironment::default()).unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(), ["mode"]);
    }
}

//! The rules themselves: tables, and the walk that holds each file against them.

use super::source::{Source, has_word, heads_of_paths, names_after};
use std::fmt;
use std::path::Path;

/// What the agent may use: a runner never carries CA code.
const AGENT_USES: [&str; 11] =
    ["agent", "backoff", "bundle", "clock", "crypto", "identity", "store", "svid", "telemetry", "tls", "wire"];

/// What the wire may use: agent and command line speak it too.
const WIRE_USES: [&str; 9] = ["bundle", "clock", "crypto", "identity", "store", "svid", "telemetry", "tls", "wire"];

/// Decisions and values: functions of their arguments.
const PURE: &[&str] = &[
    "backoff.rs",
    "identity/",
    "bundle/",
    "svid/",
    "token/",
    "policy/",
    "consumer/",
    "authority/above.rs",
    "directory/account.rs",
    "directory/ldap/ber.rs",
    "directory/ldap/filter.rs",
    "directory/ldap/message.rs",
    "directory/way.rs",
    "mesh/",
    "authority/gate.rs",
    "authority/order.rs",
    "authority/rotation.rs",
    "authority/step.rs",
    "federation/schedule.rs",
    "federation/warning.rs",
    "agent/caller/cgroup_path.rs",
    "agent/caller/job_pattern.rs",
    "agent/caller/process_text.rs",
    "agent/caller/which_job.rs",
    "agent/renewal.rs",
];

/// Where each foreign library may be named. What is not listed may stand anywhere.
const DOORS: &[(&[&str], &[&str])] = &[
    (&["aws_lc_rs"], &["crypto/"]),
    (&["rustls", "tokio_rustls"], &["crypto/", "tls/"]),
    (&["rcgen"], &["crypto/", "svid/", "tls/"]),
    (&["x509_parser"], &["bundle/", "crypto/", "svid/", "tls/"]),
    (&["jsonwebtoken"], &["crypto/", "token/"]),
    (&["axum"], &["wire/", "api/", "agent/", "cli/", "dev/"]),
    (&["tonic"], &["telemetry/traces/", "wire/", "api/", "agent/", "cli/", "dev/", "store/etcd/"]),
    (&["tonic_reflection"], &["agent/"]),
    (
        &["http_body_util", "hyper", "hyper_util", "tower"],
        &["wire/", "api/", "agent/", "cli/", "dev/", "server/accept/"],
    ),
    (&["prost", "prost_types"], &["wire/", "agent/"]),
    (&["sled"], &["store/sled"]),
    (&["cryptoki"], &["custody/"]),
    (&["proxy_header"], &["wire/introduction.rs"]),
    (&["tar"], &["backup/"]),
    (&["reqwest"], &["discovery/", "wire/", "cli/"]),
    (&["loona_hpack"], &["agent/"]),
    (
        &["kube"],
        &["discovery/kubernetes.rs", "federation/config_map.rs", "publish/cluster.rs", "upstream/cert_manager.rs"],
    ),
    (&["nix"], &["agent/caller/", "wire/etcd_channel.rs"]),
    (&["clap", "clap_complete", "comfy_table"], &["cli/", "main.rs"]),
    (&["anyhow"], &["cli/", "main.rs"]),
    (&["serde_saphyr"], &["mesh/"]),
    (
        &[
            "opentelemetry",
            "opentelemetry_otlp",
            "opentelemetry_sdk",
            "prometheus_client",
            "tracing_opentelemetry",
            "tracing_subscriber",
        ],
        &["telemetry/"],
    ),
];

/// The most lines of a file above its tests.
const LINES_MAX: usize = 400;

/// A rule that is not kept.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, what } = self;
        write!(f, "{path}:{line}: {what}")
    }
}

/// The rooms in their order.
#[derive(Debug)]
pub(crate) struct Rooms(Vec<String>);

impl Rooms {
    /// Reads the `pub mod` lines of `lib.rs`.
    pub(crate) fn parse(lib: &str) -> Self {
        Self(
            lib.lines().filter_map(|line| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned())).collect(),
        )
    }

    fn place(&self, room: &str) -> Option<usize> {
        self.0.iter().position(|known| known == room)
    }

    /// Why an arrow is wrong, if it is.
    fn complaint(&self, from: &str, to: &str) -> Option<String> {
        if from == "main" {
            return None;
        }
        let said = |why: &str| Some(format!("{from} -> {to}: {why}"));
        let (Some(here), Some(there)) = (self.place(from), self.place(to)) else {
            return said("lib.rs has no such room");
        };
        match from {
            _ if here < there => said(&format!("`{to}` stands below `{from}` in lib.rs")),
            "agent" if !AGENT_USES.contains(&to) => said("a runner never carries CA code"),
            "wire" if !WIRE_USES.contains(&to) => said("the wire knows only ground and nouns"),
            _ => None,
        }
    }
}

/// Holds every file against every rule.
pub(crate) fn check(rooms: &Rooms, sources: &[Source]) -> Vec<Broken> {
    let mut broken = tables_name_what_exists(sources);
    for source in sources {
        let mut complain = |line: usize, what: String| broken.push(Broken { path: source.path.clone(), line, what });
        arrows(rooms, source, &mut complain);
        purity(source, &mut complain);
        doors(source, &mut complain);
        shape(source, &mut complain);
        words(source, &mut complain);
    }
    broken
}

/// A rule on a file that is gone guards nothing.
fn tables_name_what_exists(sources: &[Source]) -> Vec<Broken> {
    let places = PURE.iter().chain(DOORS.iter().flat_map(|(_, places)| places.iter()));
    let exists = |place: &&&str| sources.iter().any(|source| within(source, place));
    let gone = places.filter(|place| !exists(place));
    let what = |place: &&str| format!("src/{place} is named in the tables of this test, but is not there");
    gone.map(|place| Broken { path: "tests/house/rules.rs".to_owned(), line: 1, what: what(place) }).collect()
}

fn within(source: &Source, place: &str) -> bool {
    source.path.strip_prefix("src/").is_some_and(|path| path.starts_with(place))
}

fn arrows(rooms: &Rooms, source: &Source, complain: &mut impl FnMut(usize, String)) {
    for (number, line) in source.code_lines() {
        for to in names_after(line, "crate::") {
            match to {
                "" => complain(number, "a nested import hides its arrows: one `use` line a room".to_owned()),
                _ => rooms.complaint(source.room(), to).into_iter().for_each(|what| complain(number, what)),
            }
        }
        let own_name = source.room() != "main" && heads_of_paths(line).any(|name| name == "lanyard");
        if own_name || line.contains("use crate as ") || source.lines >= number && line.contains("super::super::") {
            complain(number, "a detour hides its arrow: write `crate::room::Thing`".to_owned());
        }
    }
}

fn purity(source: &Source, complain: &mut impl FnMut(usize, String)) {
    if !PURE.iter().any(|place| within(source, place)) {
        return;
    }
    let room = source.room();
    for (number, line) in source.shipped_lines() {
        for to in names_after(line, "crate::").filter(|to| ["clock", "store"].contains(to)) {
            complain(number, format!("{room} -> {to}: a decision takes what it needs as arguments"));
        }
        for word in ["async", "tokio"].into_iter().filter(|word| has_word(line, word)) {
            complain(number, format!("{room} -> {word}: a decision is no task"));
        }
    }
}

fn doors(source: &Source, complain: &mut impl FnMut(usize, String)) {
    for (number, line) in source.shipped_lines() {
        for name in heads_of_paths(line) {
            let Some((_, places)) = DOORS.iter().find(|(names, _)| names.contains(&name)) else { continue };
            if !places.iter().any(|place| within(source, place)) {
                let places: Vec<String> = places.iter().map(|place| format!("src/{place}")).collect();
                complain(number, format!("{} -> {name}: it is named only in {}", source.room(), places.join(", ")));
            }
        }
    }
}

fn shape(source: &Source, complain: &mut impl FnMut(usize, String)) {
    if !source.text.starts_with("//! ") {
        complain(1, "a file begins with its opening words, `//! …`".to_owned());
    }
    if source.lines > LINES_MAX {
        let lines = source.lines;
        complain(lines, format!("{lines} lines without tests, at most {LINES_MAX}: which second noun has moved in?"));
    }
    let is_door = source.path.ends_with("/mod.rs");
    for (number, _) in source.shipped_lines().filter(|(_, line)| is_door && has_word(line, "fn")) {
        complain(number, "a room's door holds no logic".to_owned());
    }
}

fn words(source: &Source, complain: &mut impl FnMut(usize, String)) {
    for (number, line) in source.code_lines() {
        if line.contains("todo!") || line.contains("unimplemented!") {
            complain(number, "`todo!` is no answer".to_owned());
        }
        let called = has_word(line, "kept_with_session") && !line.contains("fn kept_with_session");
        if called && source.room() != "session" && number <= source.lines {
            complain(number, "only session/ believes claims that were kept with a session".to_owned());
        }
    }
    for (number, line) in (1..).zip(source.text.lines()) {
        if has_word(line, "TODO") && !line.contains("TODO #") || has_word(line, "FIXME") {
            complain(number, "a TODO carries an issue's number, `TODO #12`".to_owned());
        }
    }
}

/// Folders that any reader's machine may have; a checkout below them is known by its full path only.
const COMMON_FOLDERS: [&str; 9] = ["builds", "home", "mnt", "opt", "root", "srv", "tmp", "usr", "var"];

/// No file of the repository names the place of somebody's checkout: it means nothing to a reader.
pub(crate) fn check_tree(root: &Path, files: &[(String, String)]) -> Vec<Broken> {
    let top = root.iter().nth(1).map(|top| top.to_string_lossy().into_owned()).unwrap_or_default();
    let own = if COMMON_FOLDERS.contains(&top.as_str()) { root.display().to_string() } else { format!("/{top}/") };
    let mut broken = Vec::new();
    for (path, text) in files {
        for (line, _) in (1..).zip(text.lines()).filter(|(_, line)| line.contains(&own)) {
            broken.push(Broken { path: path.clone(), line, what: format!("`{own}` is a place on one machine only") });
        }
    }
    broken
}

//! `[store.etcd]`: the etcd that several replicas share, and as whom this one comes.

use super::reader::Reader;
use super::section::Section;
use super::vault::secret_file;
use super::{ServerSettings, StoreKind};
use crate::discovery::read_token;
use crate::people::Form;
use crate::store::{EtcdLogin, EtcdSettings};
use crate::telemetry::chain;
use crate::wire::{EtcdMembers, TlsFiles};
use std::net::IpAddr;

/// What all keys begin with where nothing else is said.
const PREFIX: &str = "lanyard/";
/// What etcd listens on.
const PORT: u16 = 2379;

/// The etcd of several replicas.
#[derive(Clone, Debug)]
pub struct EtcdPlace {
    /// Its members, and how they are reached.
    pub members: EtcdMembers,
    /// What is ours there; the replica's name stands in `[checkpoints]`.
    pub settings: EtcdSettings,
}

/// A member as it is written: `https://host[:port]`, or with http.
struct Member {
    in_the_clear: bool,
    host: String,
    port: u16,
}

impl Member {
    /// Whether no other machine is on the way.
    fn is_here(&self) -> bool {
        let address: Result<IpAddr, _> = self.host.trim_start_matches('[').trim_end_matches(']').parse();
        address.map_or(self.host == "localhost", |address| address.to_canonical().is_loopback())
    }
}

/// `store`: a word, or a table with the etcd.
pub(super) fn read_store(root: &mut Section<'_, '_>) -> Option<StoreKind> {
    if !root.holds("store") || root.holds_text("store") {
        return root.parsed("store", "\"sled\", \"memory\", or [store.etcd]", |text| match text {
            "memory" => Ok(StoreKind::Memory),
            "sled" => Ok(StoreKind::Sled),
            _ => Err("no store"),
        });
    }
    let mut store = root.section("store");
    let is_there = store.holds("etcd");
    let mut etcd = store.section("etcd");
    let place = if is_there { read_etcd(&mut etcd) } else { None };
    if !is_there {
        store.missing::<()>("etcd", "write [store.etcd], or store = \"sled\"");
    }
    etcd.finish();
    store.finish();
    Some(StoreKind::Etcd(Box::new(place?)))
}

fn read_etcd(etcd: &mut Section<'_, '_>) -> Option<EtcdPlace> {
    let line = etcd.line_of("endpoints");
    let members = etcd.list("endpoints", "its members, such as [\"https://etcd-1.corp.example:2379\"]", member);
    let remedy = "write the URLs of its members";
    match &members {
        Some(none) if none.is_empty() => etcd.problem("endpoints", line, "an empty list", remedy),
        Some(_) => {}
        None => drop(etcd.missing::<()>("endpoints", remedy)),
    }
    let members = members.unwrap_or_default();
    let clear = members.iter().filter(|member| member.in_the_clear).count();
    if clear > 0 && clear < members.len() {
        etcd.problem("endpoints", line, "some with http, some with https", "reach all members in the same way");
    }
    check_clear(etcd, &members, line);
    let tls = read_tls(etcd, (clear == 0, line));
    let prefix = etcd.parsed("prefix", "what our keys begin with, such as \"lanyard/\"", |text| match text {
        "" => Err("empty"),
        text if text.contains('~') || !text.ends_with('/') => Err("it ends with a slash and has no ~"),
        text => Ok(text.to_owned()),
    });
    let settings = EtcdSettings {
        prefix: prefix.unwrap_or_else(|| PREFIX.to_owned()),
        replica: String::new(),
        login: read_login(etcd),
    };
    let hosts = members.into_iter().map(|member| (member.host, member.port)).collect();
    Some(EtcdPlace { members: EtcdMembers { hosts, tls: tls? }, settings })
}

/// What goes over the line in the clear: who holds which session and the user's password. Whoever changes it there changes
/// what all replicas believe.
fn check_clear(etcd: &mut Section<'_, '_>, members: &[Member], line: Option<usize>) {
    let allowed_line = etcd.line_of("allow_http");
    let allowed = etcd.parsed("allow_http", "the reason why nobody is on that line", |text| {
        if text.trim().is_empty() { Err("no reason") } else { Ok(()) }
    });
    let open = members.iter().find(|member| member.in_the_clear && !member.is_here());
    match (open, allowed) {
        (Some(Member { host, .. }), None) => {
            let remedy = "write https with ca_file; where no wire leads there, allow_http = \"the reason\" lets it be";
            etcd.problem("endpoints", line, format!("sessions and passwords to \"{host}\" in the clear"), remedy);
        }
        (None, Some(())) if !members.is_empty() => {
            let found = "given, and nothing leaves this machine in the clear";
            etcd.problem("allow_http", allowed_line, found, "leave it out");
        }
        (Some(_) | None, _) => {}
    }
}

/// What is shown and believed; the inner none where members are reached in the clear.
#[expect(clippy::option_option, reason = "whether it can be read, and whether there is one")]
fn read_tls(etcd: &mut Section<'_, '_>, (over_tls, line): (bool, Option<usize>)) -> Option<Option<TlsFiles>> {
    let line_of_ca = etcd.line_of("ca_file");
    let ca_file = etcd.path("ca_file");
    let shown = (etcd.path("certificate_file"), etcd.path("key_file"));
    let line_of_key = etcd.line_of("key_file").or(line);
    if !over_tls {
        if ca_file.is_some() || shown.0.is_some() || shown.1.is_some() {
            etcd.problem("endpoints", line, "http beside files for TLS", "write https, or leave the files away");
        }
        return Some(None);
    }
    if let Err(error) = TlsFiles::read(ca_file.clone(), None) {
        etcd.problem("ca_file", line_of_ca, chain(&error), "name a PEM file with the CA's certificate");
        return None;
    }
    let shown = match shown {
        (None, None) => None,
        (Some(chain_file), Some(key_file)) => Some((chain_file, key_file)),
        (Some(_), None) => return etcd.missing("key_file", "name the certificate's key"),
        (None, Some(_)) => return etcd.missing("certificate_file", "name the key's certificate"),
    };
    match TlsFiles::read(ca_file, shown) {
        Ok(tls) => Some(Some(tls)),
        Err(error) => {
            etcd.problem("key_file", line_of_key, chain(&error), "name PEM files of a certificate and its key");
            None
        }
    }
}

fn read_login(etcd: &mut Section<'_, '_>) -> Option<EtcdLogin> {
    let user = etcd.text("user", "the user's name");
    let file = secret_file(etcd, "password_file");
    match (user, file) {
        (None, None) => None,
        (Some(user), Some(file)) => Some(EtcdLogin { user, password: read_token(&file).ok()? }),
        (Some(_), None) => etcd.missing("password_file", "name the file with the user's password"),
        (None, Some(_)) => etcd.missing("user", "name the user of the password"),
    }
}

fn member(text: &str) -> Result<Member, &'static str> {
    let (scheme, rest) = text.split_once("://").ok_or("no URL")?;
    let in_the_clear = match scheme {
        "http" => true,
        "https" => false,
        _ => return Err("neither http nor https"),
    };
    let rest = rest.trim_end_matches('/');
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_odd| "no port")?),
        Some(_) | None => (rest, PORT),
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
    if host.is_empty() || !host.chars().all(is_plain) {
        return Err("no host");
    }
    Ok(Member { in_the_clear, host: host.to_owned(), port })
}

/// What replicas cannot share yet is refused rather than kept by each alone; and each has a name of its own.
pub(super) fn fit_replicas(reader: &Reader<'_>, settings: &mut ServerSettings) {
    let StoreKind::Etcd(place) = &mut settings.store else { return };
    let refuse = |key: &str, found: &str, remedy: &str| {
        reader.report(None, key.to_owned(), format!("{found}, beside [store.etcd]"), remedy.to_owned());
    };
    match &settings.checkpoints.replica {
        Some(replica) => place.settings.replica.clone_from(replica),
        None => refuse(
            "checkpoints.replica",
            "nothing",
            "name this replica, such as \"ca-1\", here or in LANYARD_REPLICA; each has its own",
        ),
    }
    if settings.crl.is_some() {
        refuse("crl", "revocation lists", "leave them away: a replica knows the SVIDs of its own journal only");
    }
    if settings.people == Form::Sealed {
        refuse("audit.people", "sealed persons", "leave it away: the persons' keys are in a file of one machine");
    }
    if settings.upstream.is_some() {
        refuse("upstream", "an authority above ours", "leave it away: replicas do not ask it together yet");
    }
    if !settings.keys.places.places.is_empty() {
        refuse("keys.place", "places for keys", "keep the keys in the keyring, which replicas share sealed");
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MapEnvironment, Problem, load_any, load_server};
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    fn load(section: &str) -> Result<ServerSettings, Vec<Problem>> {
        load_as(section, &[])
    }

    fn load_as(section: &str, environment: &[(&str, &str)]) -> Result<ServerSettings, Vec<Problem>> {
        let folder = tempfile::tempdir().unwrap();
        let named = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        load_server(&written(&folder, section), &MapEnvironment(named))
    }

    fn written(folder: &tempfile::TempDir, section: &str) -> PathBuf {
        let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        put("policy.toml", "[[rule]]\nname = \"r\"\nid = \"/{project_path}/-/x\"\nwhen = { issuer = \"corp\" }\n");
        let text = format!(
            "trust_domain = \"ci.example.org\"\ndata_dir = \"data\"\npolicy_file = \"policy.toml\"\n{section}\n[[issuer]]\nname = \
             \"corp\"\nurl = \"https://gitlab.example\"\naudience = \"https://lanyard.example\"\n"
        );
        put("server.toml", &text);
        folder.path().join("server.toml")
    }

    const NAMED: &str = "checkpoints = { replica = \"ca-1\" }\n";

    #[test]
    fn a_store_of_replicas_is_read() {
        let section =
            format!("{NAMED}[store.etcd]\nendpoints = [\"http://127.0.0.1\", \"http://[::1]:2\"]\nprefix = \"ci/\"\n");
        let StoreKind::Etcd(place) = load(&section).unwrap().store else { panic!("another store") };
        assert_eq!(place.members.hosts, [("127.0.0.1".to_owned(), 2379), ("[::1]".to_owned(), 2)]);
        assert_eq!((&*place.settings.prefix, &*place.settings.replica), ("ci/", "ca-1"));
        assert!(place.members.tls.is_none());
    }

    /// One file for all of them, as a chart has it.
    #[test]
    fn a_replica_is_called_as_its_environment_says_where_its_file_does_not() {
        let shared = "[store.etcd]\nendpoints = [\"http://127.0.0.1\"]\n";
        let called = |section: &str, name: &str| {
            let loaded = load_as(section, &[("LANYARD_REPLICA", name)]);
            loaded.map(|settings| settings.checkpoints.replica.unwrap())
        };
        assert_eq!(called(shared, "lanyard-2").unwrap(), "lanyard-2");
        assert_eq!(called(&format!("{NAMED}{shared}"), "lanyard-2").unwrap(), "ca-1");
        let problems = called(shared, "a b").unwrap_err();
        assert!(
            problems.iter().any(|problem| problem.to_string().contains("LANYARD_REPLICA is \"a b\"")),
            "{problems:?}"
        );
    }

    #[test]
    fn what_is_wrong_with_it_is_said() {
        for (section, wanted) in [
            ("[store.etcd]\nendpoints = [\"http://127.0.0.1\"]", &["checkpoints.replica"][..]),
            ("[store]", &["store.etcd"]),
            ("store = \"etcd\"", &["store"]),
            (&format!("{NAMED}[store.etcd]\nendpoints = []"), &["store.etcd.endpoints"]),
            (
                &format!("{NAMED}[store.etcd]\nendpoints = [\"http://127.0.0.1\", \"https://b\"]"),
                &["store.etcd.endpoints"],
            ),
            (
                &format!("{NAMED}[store.etcd]\nendpoints = [\"http://127.0.0.1\"]\nuser = \"u\""),
                &["store.etcd.password_file"],
            ),
            (
                &format!("{NAMED}[store.etcd]\nendpoints = [\"http://127.0.0.1\"]\nprefix = \"x\""),
                &["store.etcd.prefix"],
            ),
            (&format!("{NAMED}[store.etcd]\nendpoints = [\"http://127.0.0.1\"]\n[crl]\n"), &["crl"]),
        ] {
            let problems = load(section).err().unwrap_or_default();
            let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
            assert_eq!(keys, wanted, "{section}: {problems:?}");
        }
    }

    #[test]
    fn what_a_start_refuses_a_check_refuses_too() {
        let etcd = "[store.etcd]\nendpoints = [\"http://127.0.0.1\"]\n";
        let place = "[[keys.place]]\nname = \"p\"\nin = \"memory\"\n";
        for (before, behind, wanted) in [
            ("", "", "checkpoints.replica"),
            (NAMED, "[crl]\n", "crl"),
            (NAMED, "[audit]\npeople = \"sealed\"\n", "audit.people"),
            (NAMED, place, "keys.place"),
        ] {
            let (text, folder) = (format!("{before}{etcd}{behind}"), tempfile::tempdir().unwrap());
            let file = written(&folder, &text);
            let started = load_server(&file, &MapEnvironment::default()).map(drop).unwrap_err();
            assert_eq!(started.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(), [wanted], "{started:?}");
            let (_, checked) = load_any(&file, &MapEnvironment::default());
            assert_eq!(checked.map(drop), Err(started), "{text}");
        }
    }

    #[test]
    fn sessions_go_to_no_other_machine_in_the_clear_unless_somebody_says_why() {
        let etcd = |url: &str, more: &str| {
            let text = format!("{NAMED}[store.etcd]\nendpoints = [\"{url}\"]\n{more}\n");
            load(&text).map_err(|problems| problems.into_iter().map(|problem| problem.to_string()).collect::<Vec<_>>())
        };
        for here in ["http://127.0.0.1:2379", "http://[::1]:2379", "http://localhost:2379"] {
            assert!(etcd(here, "").is_ok(), "{here}");
        }
        for elsewhere in ["http://10.0.0.7:2379", "http://etcd-1.corp.example:2379", "http://localhost.example"] {
            let told = etcd(elsewhere, "").unwrap_err();
            assert!(told[0].contains("store.etcd.endpoints") && told[0].contains("allow_http"), "{told:?}");
            assert!(etcd(elsewhere, "allow_http = \"a network of namespaces, without wires\"").is_ok(), "{elsewhere}");
            assert!(etcd(elsewhere, "allow_http = \" \"").is_err(), "{elsewhere}");
        }
        assert!(etcd("http://127.0.0.1", "allow_http = \"why not\"").is_err());
    }
}

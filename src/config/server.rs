//! The server's file: one trust domain, its doors, its keys, its issuers and its policy.

use super::checkpoints::{JournalCheckpoints, read_checkpoints};
use super::consumer::read_consumers;
use super::crl::read_crl;
use super::directory::read_directory;
use super::doors::{DoorsSettings, read_doors};
use super::etcd::{EtcdPlace, fit_replicas, read_store};
use super::federation::read_federation;
use super::issuer::{KnownIssuer, Own, ReadIssuers, read_issuers};
use super::keys::{KeySettings, read_keys};
use super::leaf::{check_names, read_leaf};
use super::operators::{OperatorSettings, read_operators};
use super::people::{read_people, warn_of_ids};
use super::problem::{Problem, read_text};
use super::publish::read_publish;
use super::reader::Reader;
use super::section::Section;
use super::telemetry::{TelemetrySettings, read_telemetry};
use super::upstream::read_upstream;
use super::vault::read_vault;
use super::whereabouts::folder_of;
use super::{Environment, PolicySource};
use crate::backup::Folder;
use crate::directory::DirectorySettings;
use crate::facts::{Configured, GitlabApi};
use crate::federation::Relationship;
use crate::hooks::Hooks;
use crate::identity::TrustDomain;
use crate::people::Form;
use crate::policy::Policy;
use crate::publish::Target;
use crate::session::CrlPlan;
use crate::svid::LeafProfile;
use crate::token::{IssuerName, Issuers};
use crate::upstream::UpstreamSettings;
use crate::vault::VaultSettings;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Long enough to be rare on disk, short enough that start-up reads little behind the last checkpoint.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Everything a server must know to start.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Whose identities it issues.
    pub trust_domain: TrustDomain,
    /// Where journal, index and sealed keys live.
    pub data_dir: PathBuf,
    /// What holds the index.
    pub store: StoreKind,
    /// When a journal segment ends.
    pub segment_bytes: u64,
    /// How the journal vouches for itself.
    pub checkpoints: JournalCheckpoints,
    /// Where it listens, and what it shows there.
    pub doors: DoorsSettings,
    /// Its keys: how long they live, where, and who has to know of them.
    pub keys: KeySettings,
    /// The Vault that other settings may send us to.
    pub vault: Option<VaultSettings>,
    /// The authority above ours; none where our own roots sign.
    pub upstream: Option<UpstreamSettings>,
    /// How revocation lists are made; none where nobody wants any.
    pub crl: Option<CrlPlan>,
    /// Whose bundles it takes, and from where.
    pub federation: Vec<Relationship>,
    /// Where our own bundle is written.
    pub publish: Vec<Target>,
    /// How leaves look.
    pub leaf: LeafProfile,
    /// Whose tokens count.
    pub issuers: Issuers,
    /// Who may operate it from elsewhere.
    pub operators: OperatorSettings,
    /// What may tell the end of jobs, by issuer.
    pub hooks: BTreeMap<IssuerName, Hooks>,
    /// What can be asked about their jobs.
    pub systems: Vec<Arc<dyn Configured>>,
    /// Where the accounts of their users are; none where nobody asks about them.
    pub directory: Option<DirectorySettings>,
    /// Where the rules are, and what they are held against.
    pub policy_source: PolicySource,
    /// The rules, as they were when this was read.
    pub policy: Policy,
    /// How journal and store tell of persons.
    pub people: Form,
    /// Where traces go, and what is logged.
    pub telemetry: TelemetrySettings,
    /// What loads, but should be known.
    pub warnings: Vec<Problem>,
}

impl ServerSettings {
    /// The data folder, for backups.
    pub fn folder(&self) -> Folder {
        folder_of(&self.trust_domain, &self.data_dir, &self.keys.sealing)
    }

    /// The API of an issuer's own GitLab, where it may be asked.
    pub fn gitlab_of(&self, issuer: &IssuerName) -> Option<&GitlabApi> {
        self.systems.iter().filter_map(|system| system.gitlab()).find(|api| api.issuer == *issuer)
    }
}

/// What holds the index; the journal is on disk with either.
#[derive(Clone, Debug, Default)]
pub enum StoreKind {
    /// Several replicas' own etcd; a replica keeps a copy in memory.
    Etcd(Box<EtcdPlace>),
    /// Rebuilt from the journal at each start.
    Memory,
    /// sled, on disk.
    #[default]
    Sled,
}

/// Reads and checks a server's file, with the policy and keys it names.
///
/// # Errors
/// Every problem there is, by file and line.
pub fn load_server(file: &Path, environment: &dyn Environment) -> Result<ServerSettings, Vec<Problem>> {
    let text = read_text(file, "name the server's configuration with --config")?;
    let reader = Reader::new(file, &text);
    let settings = read(&reader, environment);
    reader.settled(settings)
}

/// All that is there, and whether its parts fit: for a start as for a check.
pub(super) fn read(reader: &Reader<'_>, environment: &dyn Environment) -> Option<ServerSettings> {
    let mut settings = read_parts(reader, environment)?;
    fit_replicas(reader, &mut settings);
    Some(settings)
}

fn read_parts(reader: &Reader<'_>, environment: &dyn Environment) -> Option<ServerSettings> {
    let mut root = reader.document();
    let trust_domain = read_trust_domain(&mut root);
    let data_dir = root.path("data_dir").or_else(|| root.missing("data_dir", "write the folder for journal and keys"));
    let policy_file = root.path("policy_file").or_else(|| root.missing("policy_file", "write the file with the rules"));
    let store = read_store(&mut root);
    let segment_bytes = root.size("segment_bytes").unwrap_or(SEGMENT_BYTES);
    let checkpoints = read_checkpoints(root.section("checkpoints"), environment);
    // Where it is missing, that is a problem already.
    let folder = data_dir.clone().unwrap_or_default();
    let doors = read_doors(&mut root, &folder);
    let mut svid = root.section("svid");
    let (keys, mut warnings) = read_keys(reader, (&mut root, &mut svid), (&folder, environment));
    let names_line = svid.line_of("names_of").or_else(|| svid.line());
    let leaf = read_leaf(reader, &mut svid, &mut warnings);
    let upstream =
        read_upstream(&mut root, trust_domain.as_ref(), (keys.name_constraints, keys.lifetimes.intermediate));
    let (crl, vault) = (read_crl(&mut root), read_vault(&mut root, &keys.places));
    svid.finish();
    let changed_within = keys.change_by_themselves.then_some(keys.lifetimes.jwt_key);
    let consumers = read_consumers(&mut root, (&doors.bundle, changed_within));
    let own = Own { trust_domain: trust_domain.as_ref(), issuer: consumers.issuer.as_ref() };
    let ReadIssuers { issuers, hooks, systems } = read_issuers(&mut root, own);
    let operators = read_operators(&mut root, own, (&issuers, &doors));
    let directory = read_directory(&mut root, (&issuers, &systems));
    let people = read_people(&mut root);
    let federation = read_federation(&mut root, trust_domain.as_ref());
    let publish = read_publish(&mut root, environment);
    let telemetry = read_telemetry(&mut root);
    root.finish();
    warnings.extend(reader.warnings.take());
    let known = KnownIssuer::all(&issuers, &systems, directory.as_ref());
    check_names(reader, names_line, &leaf, &known);
    let (place, ttl, name_constraints) = (policy_file?, keys.lifetimes.svid, keys.name_constraints);
    let policy_source =
        PolicySource { place, issuers: known, ttl, trust_domain: trust_domain.clone(), name_constraints, consumers };
    let policy = loaded(reader, &policy_source, (people, &mut warnings));
    Some(ServerSettings {
        trust_domain: trust_domain?,
        data_dir: data_dir?,
        doors,
        keys,
        store: store.unwrap_or_default(),
        vault,
        segment_bytes,
        checkpoints,
        upstream,
        crl,
        federation,
        publish,
        leaf,
        issuers,
        operators,
        hooks,
        systems,
        directory,
        policy_source,
        policy: policy?,
        people,
        telemetry,
        warnings,
    })
}

pub(super) fn read_trust_domain(root: &mut Section<'_, '_>) -> Option<TrustDomain> {
    root.parsed("trust_domain", "a trust domain, such as \"ci.example.org\"", TrustDomain::parse)
        .or_else(|| root.missing("trust_domain", "write the trust domain, such as \"ci.example.org\""))
}

fn loaded(reader: &Reader<'_>, source: &PolicySource, (people, warnings): (Form, &mut Vec<Problem>)) -> Option<Policy> {
    let checked = source.load().map_err(|problems| reader.adopt(problems));
    let policy = checked.ok().map(|checked| {
        warnings.extend(checked.warnings);
        checked.policy
    });
    warnings.extend(warn_of_ids(reader, people, policy.as_ref()));
    policy
}

#[cfg(test)]
mod tests {
    use super::super::MapEnvironment;
    use super::*;

    /// The problems of a file with an issuer and no policy, which is the first of them; each as "line key".
    fn problems_of(settings: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.toml");
        let text = format!("trust_domain = \"ci.example.org\"\ndata_dir = \"data\"\n{settings}");
        std::fs::write(&file, text).unwrap();
        let problems = load_server(&file, &MapEnvironment::default()).unwrap_err();
        let line = |problem: &Problem| problem.line.unwrap_or(0);
        problems.iter().skip(1).map(|problem| format!("{} {}", line(problem), problem.key)).collect()
    }

    const ISSUER: &str =
        "[[issuer]]\nname = \"corp\"\nurl = \"https://gitlab.example\"\naudience = \"https://lanyard.example\"\n";

    #[test]
    fn namespaces_that_would_let_everybody_in_or_nobody_do_not_load() {
        assert_eq!(problems_of(&format!("{ISSUER}namespaces = [\"acme\"]")), [""; 0]);
        for wrong in ["[]", "[\"acme\", \"acme/api\"]", "[\"acme\", \"*\"]"] {
            assert_eq!(problems_of(&format!("{ISSUER}namespaces = {wrong}")), ["7 issuer[0].namespaces"], "{wrong}");
        }
    }

    #[test]
    fn a_bundle_that_is_asked_for_without_a_pause_does_not_load() {
        assert_eq!(problems_of(&format!("{ISSUER}[keys]\nrefresh_hint = \"1s\"\npropagation = \"1s\"")), [""; 0]);
        assert_eq!(problems_of(&format!("{ISSUER}[keys]\nrefresh_hint = \"10ms\"")), ["8 keys.refresh_hint"]);
    }

    #[test]
    fn balancers_are_named_by_address_and_never_everybody() {
        let listening = |networks: &str| problems_of(&format!("{ISSUER}[listen]\nproxy_protocol_from = {networks}"));
        assert_eq!(listening("[\"10.0.0.7\", \"10.1.0.0/24\", \"2001:db8::/64\"]"), [""; 0]);
        let halves = ["[\"0.0.0.0/1\", \"128.0.0.0/1\"]", "[\"8000::/1\", \"10.0.0.7\", \"::/2\", \"4000::/2\"]"];
        assert_eq!(listening("[\"0.0.0.0/1\", \"128.0.0.0/2\"]"), [""; 0]);
        for wrong in ["[\"0.0.0.0/0\"]", "[\"10.0.0.7/24\"]", "\"lb.corp.example\"", "[7]"].into_iter().chain(halves) {
            assert_eq!(listening(wrong), ["8 listen.proxy_protocol_from"], "{wrong}");
        }
    }

    #[test]
    fn a_rule_without_a_ttl_has_the_server_s() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.toml");
        let rule = |name: &str, ttl: &str| {
            format!("[[rule]]\nname = \"{name}\"\nid = \"/{{project_path}}/-/{name}\"\n{ttl}\nwhen.issuer = \"corp\"\n")
        };
        let policy = rule("own", "ttl = \"5m\"") + &rule("none", "");
        std::fs::write(folder.path().join("policy.toml"), policy).unwrap();
        let text = format!(
            "trust_domain = \"ci.example.org\"\ndata_dir = \"data\"\npolicy_file = \"policy.toml\"\n[svid]\nttl = \"7m\"\n{ISSUER}"
        );
        std::fs::write(&file, text).unwrap();
        let policy = load_server(&file, &MapEnvironment::default()).unwrap().policy;
        let ttls: Vec<u64> = policy.rules().iter().map(|rule| rule.gives.ttl.as_secs() / 60).collect();
        assert_eq!(ttls, [5, 7]);
    }

    /// Shows: MESH-A7.
    #[test]
    fn name_constraints_beside_a_profile_for_linkerd_do_not_load() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.toml");
        let load = |profile: &str| {
            let rule = format!(
                "[[rule]]\nname = \"a\"\nwhen.issuer = \"corp\"\n[[rule.svid]]\nprofile = \"{profile}\"\nid = \"/{{project_path}}\"\n"
            );
            std::fs::write(folder.path().join("policy.toml"), rule).unwrap();
            let text = format!(
                "trust_domain = \"ci.example.org\"\ndata_dir = \"data\"\npolicy_file = \"policy.toml\"\n[keys]\nname_constraints = true\n{ISSUER}"
            );
            std::fs::write(&file, text).unwrap();
            load_server(&file, &MapEnvironment::default())
        };
        let running = load("istio").unwrap();
        assert!(running.keys.name_constraints);
        let keys = |problems: Vec<Problem>| problems.into_iter().map(|problem| problem.key).collect::<Vec<_>>();
        assert_eq!(keys(load("linkerd").unwrap_err()), ["rule \"a\".svid"]);
        // What is read again while the server runs is held against the same.
        assert_eq!(keys(running.policy_source.load().unwrap_err()), ["rule \"a\".svid"]);
    }

    #[test]
    fn holders_have_names_of_their_own_and_keys_change_by_one_of_two_ways() {
        let twice = "[[holder]]\nname = \"mesh\"\n[[holder]]\nname = \"mesh\"\n[[holder]]\n";
        assert_eq!(problems_of(&format!("{ISSUER}{twice}")), ["10 holder[1].name", "11 holder[2].name"]);
        assert_eq!(problems_of(&format!("[keys]\nrotation = \"weekly\"\n{ISSUER}")), ["4 keys.rotation"]);
        let short = format!("jwt_key_lifetime = \"2h\"\n{ISSUER}");
        assert_eq!(problems_of(&format!("[keys]\nrotation = \"automatic\"\n{short}")), ["5 keys.jwt_key_lifetime"]);
        assert_eq!(problems_of(&format!("[keys]\nrotation = \"by hand\"\n{short}")), [""; 0]);
    }

    #[test]
    fn spans_beyond_all_sense_do_not_load() {
        let keys = "[keys]\nroot_lifetime = \"18251d\"\nintermediate_lifetime = \"91d\"\n[svid]\nttl = \"25h\"\n";
        let wrong =
            ["4 keys.root_lifetime", "5 keys.intermediate_lifetime", "7 svid.ttl", "12 issuer[0].max_token_age"];
        assert_eq!(problems_of(&format!("{keys}{ISSUER}max_token_age = \"1000000000d\"")), wrong);
        let keys = "[keys]\nroot_lifetime = \"18250d\"\nintermediate_lifetime = \"90d\"\n[svid]\nttl = \"24h\"\n";
        assert_eq!(problems_of(&format!("{keys}{ISSUER}max_token_age = \"90d\"")), [""; 0]);
    }

    #[test]
    fn every_problem_of_a_file_is_reported_at_once_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.toml");
        let text = "trust_domain = 7\nstroe = \"sled\"\ndata_dir = \"data\"\n[svid]\nttl = \"15\"\n[tls]\nkey_file = \"gone.pem\"\n\
                    [[issuer]]\nname = \"corp\"\nurl = \"gitlab.example\"\n";
        std::fs::write(&file, text).unwrap();
        let problems = load_server(&file, &MapEnvironment::default()).unwrap_err();
        let seen: Vec<_> = problems.iter().map(|p| (p.line, p.key.as_str())).collect();
        assert_eq!(
            seen,
            [
                (None, "policy_file"),
                (Some(1), "trust_domain"),
                (Some(2), "stroe"),
                (Some(5), "svid.ttl"),
                (Some(7), "tls.key_file"),
                (Some(8), "issuer[0].audience"),
                (Some(10), "issuer[0].url"),
            ],
            "{problems:#?}"
        );
        assert!(
            problems[2].to_string().ends_with("server.toml:2: stroe: a key that nobody reads; did you mean store?")
        );
    }
}

//! The policy: from one file or a folder of them to checked rules, with every problem at once.

use super::accept::Warning;
use super::conditions::Lists;
use super::issuer::KnownIssuer;
use super::pieces::Pieces;
use super::problem::{Problem, check_closed, read_text};
use super::reader::Reader;
use super::rule::{Known, Place, Rules};
use super::scope::{SCOPE, Scope};
use super::section::Section;
use super::shared::NamedBy;
use crate::crypto::Digest;
use crate::policy::{Policy, RefusalRule, Rule, find_covered};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A policy, and what loads but should be known.
#[derive(Debug)]
pub struct CheckedPolicy {
    /// The rules.
    pub policy: Policy,
    /// By file and line.
    pub warnings: Vec<Problem>,
}

/// Reads and checks a policy: see [`check_policy`].
///
/// # Errors
/// Every problem of the files, by line.
pub fn load_policy(path: &Path, issuers: &[KnownIssuer], ttl: Duration) -> Result<Policy, Vec<Problem>> {
    check_policy(path, issuers, ttl).map(|checked| checked.policy)
}

/// Reads and checks a policy: a file, or a folder's `*.toml` in the order of their names. With no
/// `issuers` (a policy checked by itself) any name will do. `ttl` is for rules that name none: the
/// server's, or [`super::Lifetimes::SVID`] for a policy checked by itself.
///
/// # Errors
/// Every problem of the files, by line.
pub fn check_policy(path: &Path, issuers: &[KnownIssuer], ttl: Duration) -> Result<CheckedPolicy, Vec<Problem>> {
    let Files { form, texts, unreadable } = Files::read(path)?;
    let read = Reading::new(form).read(&texts, (issuers, ttl));
    match read {
        Ok(checked) if unreadable.is_empty() => Ok(checked),
        read => Err(unreadable.into_iter().chain(read.err().unwrap_or_default()).collect()),
    }
}

/// The digest that the policy of this place would have, found without a look at its rules.
///
/// # Errors
/// Every file that cannot be read.
pub(super) fn digest_at(path: &Path) -> Result<Digest, Vec<Problem>> {
    let Files { texts, unreadable, .. } = Files::read(path)?;
    if unreadable.is_empty() { Ok(digest_of(&texts)) } else { Err(unreadable) }
}

/// What a policy is read from.
#[derive(Debug)]
struct Files {
    form: Form,
    /// In the order of their names.
    texts: Vec<(PathBuf, String)>,
    /// Files beside these.
    unreadable: Vec<Problem>,
}

impl Files {
    fn read(path: &Path) -> Result<Self, Vec<Problem>> {
        if !path.is_dir() {
            let text = read_text(path, "name a file with rules that this user may read")?;
            return Ok(Self { form: Form::File, texts: vec![(path.to_owned(), text)], unreadable: Vec::new() });
        }
        let (mut texts, mut unreadable) = (Vec::new(), Vec::new());
        check_closed(path)?;
        for file in files_of(path)? {
            match read_text(&file, "let this user read it, or give it a name that does not end in .toml") {
                Ok(text) => texts.push((file, text)),
                Err(problems) => unreadable.extend(problems),
            }
        }
        Ok(Self { form: Form::Folder, texts, unreadable })
    }
}

/// The policies of a folder, by name. A dot hides a file, as Kubernetes does with what it mounts.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>, Vec<Problem>> {
    let told = |found: String, remedy: &str| {
        vec![Problem { file: folder.to_owned(), line: None, key: String::new(), found, remedy: remedy.to_owned() }]
    };
    let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries =
        entries.map_err(|error| told(format!("cannot be read ({error})"), "name a folder that this user may read"))?;
    let is_policy = |path: &PathBuf| {
        let name = path.file_name().map_or(b"".as_slice(), |name| name.as_encoded_bytes());
        let aside = name.starts_with(b".") || name.ends_with(b".cases.toml");
        !aside && path.extension().is_some_and(|ending| ending == "toml")
    };
    let mut files: Vec<PathBuf> = entries.iter().map(std::fs::DirEntry::path).filter(is_policy).collect();
    files.sort();
    if files.is_empty() {
        let remedy = "put at least one there, such as 10-payments.toml; without a rule every job is refused";
        return Err(told("a folder without a file that ends in .toml".to_owned(), remedy));
    }
    Ok(files)
}

/// Whether files share the policy, and each must say whose it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    File,
    Folder,
}

/// All that was read so far.
#[derive(Debug)]
struct Reading {
    form: Form,
    known: Known,
    places: BTreeMap<String, Place>,
    refusals: Vec<RefusalRule>,
    rules: Vec<Arc<Rule>>,
}

impl Reading {
    fn new(form: Form) -> Self {
        let (refusals, rules) = (Vec::new(), Vec::new());
        Self { form, known: Known::default(), places: BTreeMap::new(), refusals, rules }
    }

    fn read(
        mut self,
        files: &[(PathBuf, String)],
        (issuers, ttl): (&[KnownIssuer], Duration),
    ) -> Result<CheckedPolicy, Vec<Problem>> {
        let readers: Vec<Reader<'_>> = files.iter().map(|(file, text)| Reader::new(file, text)).collect();
        for (file, reader) in readers.iter().enumerate() {
            let (head, pieces) = Pieces::of(reader.text);
            let mut root = reader.beginning(head);
            let scope = self.read_head(&mut root, issuers);
            let lists = Lists::read(&mut root.section("lists"));
            let mut rules =
                Rules { issuers, ttl, files, file, lists, scope, places: &mut self.places, known: &mut self.known };
            let sections = root.sections("refuse").into_iter().chain(pieces.sections("refuse", reader));
            self.refusals.extend(sections.filter_map(|section| rules.refusal(section)));
            let mut sections = root.sections("rule").into_iter().chain(pieces.sections("rule", reader)).peekable();
            if sections.peek().is_none() && self.form == Form::File {
                root.problem("rule", None, "no rule", "add a [[rule]]; without one every job is refused");
            }
            self.rules.extend(sections.filter_map(|section| rules.rule(section).map(Arc::new)));
            rules.lists.report_unused(&root);
            root.finish();
        }
        self.report_covered(&readers);
        self.report_stale(&readers);
        // Rules that were read are compared even where others have problems: all is said at once.
        let policy = Policy::new(self.refusals, self.rules, digest_of(files));
        for shared in policy.as_ref().err().into_iter().flatten() {
            if let Some((reader, place)) =
                self.places.get(&shared.second).and_then(|place| Some((readers.get(place.file)?, place)))
            {
                let (found, remedy) = NamedBy::Id.told(shared);
                reader.report(place.line, format!("rule {:?}.id", shared.second), found, remedy);
            }
        }
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        for reader in readers {
            let (wrong, told) = reader.into_found();
            problems.extend(wrong);
            warnings.extend(told);
        }
        match policy {
            Ok(policy) if problems.is_empty() => Ok(CheckedPolicy { policy, warnings }),
            _ => Err(problems),
        }
    }

    /// Whose file it is, and how far its rules reach: a must where several share a policy.
    fn read_head(&self, root: &mut Section<'_, '_>, issuers: &[KnownIssuer]) -> Option<Scope> {
        let owner = root.text("owner", "who answers for these rules, such as \"payments, pay@corp.example\"");
        let scope_given = root.holds("scope");
        let scope = Scope::read(root, issuers);
        if self.form == Form::Folder {
            if owner.is_none() {
                root.missing::<()>(
                    "owner",
                    "write who answers for these rules, such as \"payments, pay@corp.example\"",
                );
            }
            if !scope_given {
                let found = "nothing, so that the rules could decide about everybody's jobs";
                root.problem("scope", None, found, format!("write {SCOPE}"));
            }
        }
        scope
    }

    fn report_covered(&self, readers: &[Reader<'_>]) {
        for covered in find_covered(&self.refusals, &self.rules) {
            let Some(place) = self.places.get(&covered.rule) else { continue };
            let Some(reader) = readers.get(place.file).filter(|_| !place.accepted.answers(Warning::Unreachable)) else {
                continue;
            };
            let (what, remedy) = if covered.refused {
                ("the refusal", "narrow the refusal, or remove the rule")
            } else {
                ("the earlier rule", "move it before that one, or remove it")
            };
            let found = format!(
                "never reached: {what} {:?} takes every job that it matches, and whoever reads this rule believes otherwise",
                covered.by
            );
            reader.warn(place.line, format!("rule {:?}", covered.rule), found, Warning::Unreachable.or_accept(remedy));
        }
    }

    /// Once every warning was looked for: what was accepted and is not there.
    fn report_stale(&self, readers: &[Reader<'_>]) {
        for place in self.places.values() {
            let Some(reader) = readers.get(place.file) else { continue };
            for (line, warning) in place.accepted.stale() {
                let found = "accepts a warning that is not given, and would hide it on the day it is";
                reader.warn(Some(line), format!("{}.{warning}", place.key), found.to_owned(), "remove it".to_owned());
            }
        }
    }
}

/// Of one file its own; of several, of their names and texts, none of which can pass for a part of another.
fn digest_of(files: &[(PathBuf, String)]) -> Digest {
    if let [(_, text)] = files {
        return Digest::of(text.as_bytes());
    }
    let mut all = Vec::new();
    for (file, text) in files {
        let name = file.file_name().map(std::ffi::OsStr::as_encoded_bytes).unwrap_or_default();
        for part in [name, text.as_bytes()] {
            all.extend_from_slice(format!("{} ", part.len()).as_bytes());
            all.extend_from_slice(part);
        }
    }
    Digest::of(&all)
}

#[cfg(test)]
mod tests {
    use super::super::Lifetimes;
    use super::*;
    use crate::identity::TrustDomain;
    use crate::policy::{Answers, Verdict, Wish};
    use crate::token::tests::claims_of;
    use crate::token::{IssuerKind, IssuerName};

    fn read(text: &str) -> Result<Policy, Vec<String>> {
        let problems = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect();
        check(Form::File, &[("policy.toml", text)]).map(|checked| checked.policy).map_err(problems)
    }

    fn check(form: Form, files: &[(&str, &str)]) -> Result<CheckedPolicy, Vec<Problem>> {
        let (name, url) = (IssuerName("corp".into()), "https://gitlab.example".to_owned());
        let issuers = [KnownIssuer { name, kind: IssuerKind::GitLab, url, facts: Vec::new(), groups: None }];
        let files: Vec<_> = files.iter().map(|(file, text)| (PathBuf::from(file), (*text).to_owned())).collect();
        Reading::new(form).read(&files, (&issuers, Lifetimes::SVID))
    }

    /// `x509`, `x509 profile`, `jwt audience…`, `jwt-without-key audience…`
    fn wish(words: &str) -> Wish {
        let mut words = words.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("x509") => Wish::X509 { profile: words.next() },
            Some(jwt) => Wish::Jwt { profile: None, audiences: words.collect(), has_key: jwt == "jwt" },
            None => panic!("an ask without a kind"),
        }
    }

    /// The outcome in one line: the rule and ID, or the code of the denial.
    fn decide(policy: &Policy, sample: &str, changes: &[(String, serde_json::Value)], ask: &str) -> String {
        let claims = claims_of(sample, changes).unwrap_or_else(|error| panic!("{sample}: {error}"));
        let trust_domain = TrustDomain::parse("ci.example.org").unwrap();
        let chosen = policy.choose(claims.claims());
        let walked = policy.walk(claims.claims(), &trust_domain);
        let matched = walked.rules.iter().find(|rule| rule.matches && !rule.observe).map(|rule| rule.name.clone());
        assert_eq!(chosen.as_ref().ok().map(|rule| &rule.name), matched.as_ref().filter(|_| chosen.is_ok()));
        let granted = chosen.and_then(|rule| rule.hear(Answers::NONE)?.grant(&claims, &wish(ask), &trust_domain));
        match (granted, walked.verdict) {
            (Ok(grant), Verdict::Granted { .. }) => format!("granted by {}: {}", grant.rule(), grant.spiffe_id()),
            (Ok(_), Verdict::Denied { .. }) => "the walk denies what the rule grants".to_owned(),
            (Err(denial), _) => format!("denied: {}", denial.code()),
        }
    }

    /// Runs one case and counts its verdicts.
    fn run_case(policy: &Policy, title: &str, case: &str) -> usize {
        let mut lines = case.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (sample, mut ask, mut changes, mut verdicts) = (lines.next().unwrap(), "x509", Vec::new(), 0);
        for line in lines {
            match line.split_once(' ').unwrap() {
                ("ask", kind) => ask = kind,
                ("want", outcome) => {
                    assert_eq!(decide(policy, sample, &changes, ask), outcome, "{title} --- {case}");
                    verdicts += 1;
                }
                (claim, value) => changes.push((claim.to_owned(), serde_json::from_str(value).unwrap())),
            }
        }
        verdicts
    }

    /// Runs one table: policies, each followed by cases. The head of `core.txt` explains the form.
    fn run_table(table: &str) {
        for block in table.split("\n=== ").skip(1) {
            let (title, body) = block.split_once('\n').unwrap();
            let mut parts = body.split("\n--- ");
            let policy = read(parts.next().unwrap()).unwrap_or_else(|problems| panic!("{title}: {problems:#?}"));
            let verdicts: usize = parts.map(|case| run_case(&policy, title, case)).sum();
            assert!(verdicts > 0, "{title}: a policy without cases proves nothing");
        }
    }

    #[test]
    fn rules_decide_as_the_tables_say() {
        run_table(include_str!("../../tests/tables/policy/core.txt"));
        run_table(include_str!("../../tests/tables/policy/silence.txt"));
        run_table(include_str!("../../tests/tables/policy/deploys.txt"));
        run_table(include_str!("../../tests/tables/policy/limits.txt"));
        run_table(include_str!("../../tests/tables/policy/forks.txt"));
    }

    #[test]
    fn an_id_that_shows_a_path_pins_it_without_case_to_its_project() {
        let pin = |id: &str| {
            let text = format!("[[rule]]\nname = \"a\"\nid = \"{id}\"\nwhen.issuer = \"corp\"");
            let claims = claims_of("path_case_changed", &[]).unwrap();
            let rule = read(&text).unwrap().choose(claims.claims()).unwrap();
            let (heard, trust_domain) =
                (rule.hear(Answers::NONE).unwrap(), TrustDomain::parse("ci.example.org").unwrap());
            heard.grant(&claims, &wish("x509"), &trust_domain).unwrap().pin().cloned()
        };
        let pinned = pin("/{project_path}/-/pipelines/{pipeline_id}").unwrap();
        assert_eq!((&*pinned.folded_path, pinned.project_id), ("acme/payments/ledger-api", 4711));
        assert_eq!(pin("/projects/{project_id}/-/pipelines/{pipeline_id}"), None);
    }

    #[test]
    fn where_no_rule_matches_the_nearest_is_named_with_the_term_that_failed() {
        let text = "[[rule]]\nname = \"far\"\nid = \"/a\"\nwhen = { issuer = \"corp\", project_id = 1, runner_id = 2 }\n\
            [[rule]]\nname = \"near\"\nid = \"/b\"\nwhen = { issuer = \"corp\", project_id = 4711, runner_id = 2 }";
        let claims = claims_of("deploy_production_protected", &[]).unwrap();
        let walk = read(text).unwrap().walk(claims.claims(), &TrustDomain::parse("ci.example.org").unwrap());
        assert!(matches!(&walk.verdict, Verdict::Denied { nearest: Some(name), .. } if name == "near"));
        let failed: Vec<_> = walk.rules[1].terms.iter().filter(|term| !term.passes).collect();
        assert_eq!((&*failed[0].claim, failed[0].got.as_deref(), &*failed[0].wanted), ("runner_id", Some("88"), "2"));
    }

    #[test]
    fn the_walk_tells_that_a_rule_is_not_for_forks() {
        let text = "[[rule]]\nname = \"a\"\nid = \"/{project_path}/-/a\"\nwhen.issuer = \"corp\"";
        let claims = claims_of("mr_fork_in_parent_fixed", &[]).unwrap();
        let walk = read(text).unwrap().walk(claims.claims(), &TrustDomain::parse("ci.example.org").unwrap());
        let [_issuer, term] = &*walk.rules[0].terms else { panic!("two terms, {:?}", walk.rules[0].terms) };
        assert_eq!((&*term.claim, &*term.wanted, term.got.as_deref()), ("fork", "false", Some("true")));
        assert!(term.implied && !term.passes);
    }

    #[test]
    fn each_flag_of_a_rule_is_itself_and_no_other() {
        for flag in ["build_claims", "jwt_without_key", "multi_audience", "observe", "none of them"] {
            let line = if flag.contains(' ') { String::new() } else { format!("{flag} = true\n") };
            let head = format!("[[rule]]\nname = \"a\"\nid = \"/{{project_path}}/-/a\"\n{line}");
            let policy = read(&format!("{head}when.issuer = \"corp\"\n")).unwrap();
            let rule = policy.rules().first().unwrap();
            let set = [
                ("build_claims", rule.gives.build_claims.is_some()),
                ("jwt_without_key", rule.gives.jwt_without_key),
                ("multi_audience", rule.gives.multi_audience),
                ("observe", rule.observe),
            ];
            assert_eq!(set.map(|(name, is)| (name, is)), set.map(|(name, _)| (name, name == flag)), "{flag}");
        }
    }

    /// Shows: WAPI-14, WAPI-15.
    #[test]
    fn hints_differ_and_are_short() {
        let svid = |profile: &str, id: &str| {
            format!("[[rule.svid]]\nprofile = \"{profile}\"\nid = \"/{{project_path}}/-/{id}\"\n")
        };
        let policy = |a: &str, b: &str| {
            read(&format!("[[rule]]\nname = \"a\"\nwhen.issuer = \"corp\"\n{}{}", svid(a, "a"), svid(b, "b")))
        };
        policy(&"h".repeat(1024), "b").unwrap();
        for (a, b) in [(&*"h".repeat(1025), "b"), ("same", "same"), ("", "b")] {
            assert_eq!(policy(a, b).unwrap_err().len(), 1, "{a:?}, {b:?}");
        }
    }

    /// Shows: WAPI-37.
    #[test]
    fn a_rule_has_no_more_svids_than_a_client_reads() {
        let policy = |count: usize| {
            let svid = |n: usize| format!("[[rule.svid]]\nprofile = \"p{n}\"\nid = \"/{{project_path}}/-/p{n}\"\n");
            let svids: String = (0..count).map(svid).collect();
            read(&format!("[[rule]]\nname = \"a\"\nwhen.issuer = \"corp\"\n{svids}"))
        };
        assert_eq!(policy(100).unwrap().rules()[0].gives.svids.len(), 100);
        let problems = policy(101).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("policy.toml:304") && problems[0].contains("101 SVIDs"), "{problems:?}");
    }

    const RULE: &str = "[[rule]]\nname = \"a\"\nid = \"/{project_path}/-/a\"\n";

    fn warnings(more: &str) -> Vec<String> {
        let checked = check(Form::File, &[("policy.toml", &format!("{RULE}{more}"))]).unwrap();
        checked.warnings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_warning_is_told_until_the_rule_accepts_it_with_a_reason() {
        let protected = "environment = \"production\", environment_protected = true";
        let tier = format!("{protected}, deployment_tier = \"production\"");
        let second =
            "\n[[rule]]\nname = \"b\"\nid = \"/{project_path}/-/b\"\nwhen = { issuer = \"corp\", project_id = 7 }";
        for (terms, behind, lint) in [
            ("fork = true", "", "forks_let_in"),
            ("user_login = \"octavia\"", "", "mutable_name"),
            ("pipeline_source = \"merge_request\"", "", "unknown_value"),
            ("\"actor.kind\" = \"person\"", "", "actor_kind"),
            ("environment = \"production\"", "", "environment_unprotected"),
            (tier.as_str(), "", "deployment_tier"),
            ("project_id = [7, 8]", second, "unreachable"),
        ] {
            let accept = format!("\naccept.{lint} = \"agreed with the owners\"");
            let rule = format!("when = {{ issuer = \"corp\", {terms} }}{behind}");
            let told = warnings(&rule);
            assert!(told.len() == 1 && told[0].contains(lint) && told[0].contains("rule \""), "{lint}: {told:?}");
            assert_eq!(warnings(&format!("{rule}{accept}")), [""; 0], "{lint}");
        }
        let refusal = "when.issuer = \"corp\"\n[[refuse]]\nname = \"b\"\nsay = \"no\"\nwhen.runner_id = 7\n";
        assert!(warnings(refusal)[0].contains("may_be_absent"));
        assert_eq!(warnings(&format!("{refusal}accept.may_be_absent = \"agreed\"")), [""; 0]);
        assert_eq!(warnings("when.issuer = \"corp\"\nfederates_with = \"partner.example\""), [""; 0]);
        assert_eq!(warnings("when = { issuer = \"corp\", fork = false }\ntags = [\"pci\"]"), [""; 0]);
    }

    fn owned(scope: &str, when: &str) -> String {
        let rule = RULE.replace("\"a\"", &format!("\"{scope}\"")).replace("/-/a", "/-/{project_id}");
        format!("owner = \"pay\"\nscope.namespaces = \"{scope}\"\n{rule}when = {{ issuer = \"corp\", {when} }}\n")
    }

    #[test]
    fn no_file_of_a_folder_decides_about_what_is_outside_its_scope() {
        let loads = |when: &str| {
            let (pay, shop) =
                (owned("acme/pay", when), owned("acme/shop", "namespace_id = 4, project_path = \"acme/shop/**\""));
            check(Form::Folder, &[("10-pay.toml", &pay), ("20-shop.toml", &shop)])
        };
        for inside in ["acme/pay/**", "acme/pay/api", "acme/pay/*/api"] {
            let checked = loads(&format!("namespace_id = 3, project_path = \"{inside}\"")).unwrap();
            let names: Vec<_> = checked.policy.rules().iter().map(|rule| rule.name.as_str()).collect();
            assert_eq!(names, ["acme/pay", "acme/shop"], "{inside}");
        }
        for outside in ["acme/**", "acme/pay*/api", "acme/payments/api", "acme/pay**", "acme/shop/api", "acme/pay"] {
            let problems = loads(&format!("namespace_id = 3, project_path = \"{outside}\"")).unwrap_err();
            assert!(problems.len() == 1 && problems[0].found.contains("outside"), "{outside}: {problems:?}");
            assert_eq!(problems[0].file, Path::new("10-pay.toml"));
        }
        loads("namespace_id = 3, any = [{ project_path = \"acme/pay/a\" }, { project_path = \"acme/pay/b\" }]")
            .unwrap();
        loads("namespace_id = 3, any = [{ project_path = \"acme/pay/a\" }, { ref_type = \"tag\" }]").unwrap_err();
        loads("namespace_id = 3, not = { project_path = \"acme/pay/a\" }").unwrap_err();
    }

    #[test]
    fn lists_of_one_name_in_two_files_are_two_demands() {
        let loads = |second: &str| {
            let file = |scope: &str, rule: &str, users: &str| {
                format!(
                    "owner = \"a\"\nscope.namespace_ids = [{scope}]\n[lists]\nteam = {users}\n[[rule]]\nname = \"{rule}\"\n\
                     id = \"/{{project_path}}/-/a\"\nwhen = {{ issuer = \"corp\", namespace_id = {scope}, user_id = \"@team\" }}\n"
                )
            };
            check(Form::Folder, &[("1.toml", &file("3", "a", "[51, 52]")), ("2.toml", &file("4", "b", second))])
        };
        loads("[52, 51]").unwrap();
        let problems = loads("[53]").unwrap_err();
        assert!(problems.len() == 1 && problems[0].found.contains("id_shared_by_unequal_rules"), "{problems:?}");
        assert!(problems[0].found.contains("51") && problems[0].found.contains("53"), "{problems:?}");
    }

    #[test]
    fn a_folder_is_read_by_name_and_each_file_says_whose_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let load = || check_policy(folder.path(), &[], Lifetimes::SVID);
        assert!(load().unwrap_err()[0].found.contains("without a file"));
        write("20-shop.toml", &owned("acme/shop", "namespace_id = 4, project_path = \"acme/shop/**\""));
        write("10-pay.toml", &owned("acme/pay", "namespace_id = 3, project_path = \"acme/pay/**\""));
        write("notes.txt", "no policy");
        write(".hidden.toml", "no policy");
        let policy = load().unwrap().policy;
        let names: Vec<_> = policy.rules().iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(names, ["acme/pay", "acme/shop"]);
        write("30-all.toml", "[lists]\n");
        let keys: Vec<_> = load().unwrap_err().into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["owner", "scope"]);
        write("30-all.toml", &owned("acme/pay", "namespace_id = 5, project_path = \"acme/pay/**\""));
        let problems = load().unwrap_err();
        assert!(
            problems.iter().any(|told| told.file.ends_with("30-all.toml") && told.found.contains("again")),
            "{problems:?}"
        );
    }
}

//! What operators type beside `lanyard`: each line for `kubectl` and `helm` on the pages is read as those read it, and what it
//! names is there, as the mesh wants it. Neither program is asked: they would want a cluster.

use super::command::{shell, text};
use super::facts::Facts;
use super::matching::{Shown, istio_admits, istio_reads_a_namespace};
use super::pages::{Page, made_by};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

const PAGES: [(&str, &str); 3] = [("istio.md", "istio"), ("istio-two-clusters.md", "istio"), ("linkerd.md", "linkerd")];

/// What may stand behind a flag.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Takes {
    Nothing,
    Word,
    /// Objects, or values.
    Yaml,
    /// `key=file`.
    Pem,
}

/// A verb, how many words come behind it, and its flags.
type Verb = (&'static str, usize, &'static [(&'static str, Takes)]);

/// What is typed, by the reference pages of kubectl 1.34 and helm 3: a verb, how many words behind it, and its flags.
const VERBS: [Verb; 4] = [
    ("kubectl apply", 0, &[("-f", Takes::Yaml), ("-n", Takes::Word), ("--context", Takes::Word)]),
    ("kubectl get", 2, &[("-o", Takes::Word), ("-n", Takes::Word), ("--context", Takes::Word)]),
    ("kubectl rollout restart", 2, &[("-n", Takes::Word), ("--context", Takes::Word)]),
    (
        "helm upgrade",
        2,
        &[
            ("-f", Takes::Yaml),
            ("-n", Takes::Word),
            ("--kube-context", Takes::Word),
            ("--reuse-values", Takes::Nothing),
            ("--set-file", Takes::Pem),
        ],
    ),
];

/// A line, read.
#[derive(Debug, Default)]
struct Line {
    verb: String,
    words: Vec<String>,
    yaml: Vec<String>,
    pem: Vec<String>,
}

impl Line {
    fn read(text: &str) -> Result<Self, String> {
        let command = text.split_once(" > ").map_or(text, |(command, _file)| command);
        let said: Vec<&str> = command.split_whitespace().collect();
        let (verb, words_wanted, flags) = VERBS
            .iter()
            .find(|(verb, ..)| begins(&said, verb))
            .ok_or_else(|| format!("what {text:?} does is not known"))?;
        let mut line = Self { verb: (*verb).to_owned(), ..Self::default() };
        let (mut verb_left, mut said) = (verb.split(' ').peekable(), said.into_iter());
        while let Some(word) = said.next() {
            if !word.starts_with('-') {
                let is_of_verb = verb_left.next_if_eq(&word).is_some();
                line.words.extend((!is_of_verb).then(|| word.to_owned()));
                continue;
            }
            let (_, takes) =
                flags.iter().find(|(flag, _)| *flag == word).ok_or_else(|| format!("{verb} has no {word}"))?;
            let mut next = || said.next().map(str::to_owned).ok_or_else(|| format!("{word} takes a word"));
            match takes {
                Takes::Nothing => {}
                Takes::Word => drop(next()?),
                Takes::Yaml => line.yaml.push(next()?),
                Takes::Pem => line.pem.push(next()?.split_once('=').ok_or("no key=file")?.1.to_owned()),
            }
        }
        if line.words.len() == *words_wanted { Ok(line) } else { Err(format!("{text:?} has other words: {line:?}")) }
    }
}

/// Whether these words are of this verb. Flags may stand before it, with the word that each takes.
fn begins(said: &[&str], verb: &str) -> bool {
    let mut left = verb.split(' ').peekable();
    let mut said = said.iter();
    while let Some(word) = said.next() {
        if word.starts_with('-') {
            said.next();
        } else if left.next_if_eq(word).is_none() {
            break;
        }
    }
    left.peek().is_none()
}

/// Everything that is wrong with what the operator of a page types; which objects and values came to a cluster.
fn typed(page: &Page, mesh: &str) -> (Vec<String>, BTreeSet<String>) {
    let (facts, folder) = (Facts::of(mesh), page.folder.path());
    for (file, block) in page.blocks("yaml").into_iter().filter(|(file, _)| !folder.join(file).exists()) {
        fs::write(folder.join(file), block).unwrap();
    }
    let (mut wrong, mut used) = (Vec::new(), BTreeSet::new());
    for said in page.commands().iter().filter(|line| !line.starts_with("lanyard ")) {
        let line = match Line::read(said) {
            Ok(line) => line,
            Err(why) => {
                wrong.push(why);
                continue;
            }
        };
        for file in &line.yaml {
            let Ok(text) = fs::read_to_string(folder.join(file)) else {
                wrong.push(format!("{said}: {file} is neither rendered nor on the page"));
                continue;
            };
            let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
            for document in documents {
                wrong.extend(facts.check(&document).0.into_iter().map(|why| format!("{file}: {why}")));
                let is_object = document.get("kind").is_some();
                let is_of_other = is_object != line.verb.starts_with("kubectl");
                wrong.extend(is_of_other.then(|| format!("{said}: {file} is for the other program")));
            }
            used.insert(file.clone());
        }
        for file in &line.pem {
            if CertificateDer::pem_file_iter(folder.join(file)).map_or(0, Iterator::count) == 0 {
                wrong.push(format!("{said}: {file} holds no certificate"));
            }
            used.insert(file.clone());
        }
    }
    (wrong, used)
}

#[test]
fn every_line_for_kubectl_and_helm_is_one_that_they_read_and_brings_what_the_mesh_knows() {
    for (name, mesh) in PAGES {
        let page = Page::run(name);
        let (wrong, used) = typed(&page, mesh);
        assert_eq!(wrong, [""; 0], "{name}");
        assert!(used.len() >= 2, "{name}: {used:?}");
        // Nothing is shown as a whole file and then left lying.
        for (file, _) in
            page.blocks("yaml").into_iter().filter(|(file, _)| !file.starts_with("job") && file != "proxy.yaml")
        {
            assert!(used.contains(&file), "{name}: nobody applies {file}");
        }
    }
}

#[test]
fn a_line_that_they_would_not_read_is_found() {
    for (line, why) in [
        ("kubectl apply --file callers.yaml", "has no --file"),
        ("kubectl create -f callers.yaml", "not known"),
        ("kubectl apply -f", "takes a word"),
        ("kubectl apply callers.yaml", "other words"),
        ("kubectl -n istio-system rollout restart deployment", "other words"),
        ("helm upgrade istiod -n istio-system -f values.yaml", "other words"),
        ("helm upgrade istiod istio/istiod --set-file anchors.pem", "no key=file"),
        ("istioctl install", "not known"),
    ] {
        let read = Line::read(line).unwrap_err();
        assert!(read.contains(why), "{line}: {read}");
    }
    let line = Line::read("kubectl --context east -n istio-system rollout restart deployment istiod").unwrap();
    assert_eq!(
        (line.verb.as_str(), line.words.as_slice()),
        ("kubectl rollout restart", &["deployment", "istiod"].map(str::to_owned)[..])
    );
}

/// Shows: MESH-E4, MESH-E5.
#[test]
fn two_clusters_keep_three_roots_apart_and_admit_whom_their_page_says() {
    let page = Page::run("istio-two-clusters.md");
    let (wrong, used) = typed(&page, "istio");
    assert_eq!(wrong, [""; 0]);
    let of_ours = &page.rendered("ours.yaml")[0];
    for (own, other) in [("east", "west"), ("west", "east")] {
        let [values] = &page.rendered(&format!("values-{own}.yaml"))[..] else { panic!("one document") };
        assert_eq!(values["meshConfig"]["trustDomain"], format!("{own}.example.org"));
        assert_eq!(values["pilot"], of_ours["pilot"]);
        assert_eq!(values["meshConfig"]["defaultConfig"], of_ours["meshConfig"]["defaultConfig"]);
        let entries = values["meshConfig"]["caCertificates"].as_array().unwrap();
        assert_eq!((entries.len(), &entries[0]), (2, &of_ours["meshConfig"]["caCertificates"][0]));
        assert_eq!(entries[1]["trustDomains"], serde_json::json!([format!("{other}.example.org")]));
        let roots: Vec<_> = entries.iter().map(|entry| entry["pem"].as_str().unwrap()).collect();
        let counted =
            roots.iter().map(|pem| CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).count());
        assert!(counted.eq([1, 1]) && roots[0] != roots[1]);
        assert!(!values.to_string().contains("Aliases"));
    }
    // Every file comes to both clusters.
    let mut by_file = BTreeMap::<_, BTreeSet<_>>::new();
    for line in page.commands().iter().filter(|line| line.starts_with("kubectl ") || line.starts_with("helm ")) {
        let cluster = ["east", "west"].into_iter().find(|name| line.contains(&format!("context {name} "))).unwrap();
        by_file.entry(line.replace(cluster, "THIS")).or_default().insert(cluster);
    }
    assert!(by_file.values().all(|clusters| clusters.len() == 2), "{by_file:?}");
    assert!(used.contains("callers.yaml") && used.contains("shops.yaml"));

    let policies = ["callers.yaml", "shops.yaml"].map(|file| page.rendered(file));
    let callers = page.callers();
    assert!(callers.len() >= 7 && callers.iter().filter(|(_, comes_in)| *comes_in).count() == 3, "{callers:?}");
    for (who, comes_in) in callers {
        let shown = Shown { uri: &who, first_name: &who };
        assert_eq!(policies.iter().any(|objects| istio_admits(objects, shown)), comes_in, "{who}");
    }
}

/// Shows: MESH-E5.
#[test]
fn whoever_renders_for_istio_is_told_what_policies_on_namespaces_need_beside_them() {
    let page = Page::run("istio.md");
    let line = page.commands().into_iter().find(|line| made_by(line).as_deref() == Some("callers.yaml")).unwrap();
    let output = shell(&line, page.folder.path());
    let told = text(&output.stderr);
    assert!(told.contains("`notTrustDomains: [\"ci.example.org\"]`") && told.contains("`namespaces:`"), "{told}");
    assert!(page.text.contains("add `notTrustDomains: [\"ci.example.org\"]`"), "and so does {}", page.name);
    assert!(istio_reads_a_namespace("spiffe://ci.example.org/ns/ci/sa/p4712.pl7"), "for it reads them anywhere");
}

//! `docs/meshes/`: every command that renders is run, what it prints is what the page shows, and each row of a table of callers is
//! put to the mesh's own matching.
//!
//! After a change: `LANYARD_GOLDEN=write cargo test --test policy`, and read what changed.

use super::command::{folder, shell, text};
use super::matching::{Shown, envoy_admits, istio_admits, linkerd_admits};
use crate::{golden, root};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use tempfile::TempDir;

const RENDER: &str = "lanyard policy render ";

/// A page, and a folder in which all its commands were run.
pub(super) struct Page {
    pub(super) name: &'static str,
    pub(super) text: String,
    pub(super) folder: TempDir,
}

impl Page {
    pub(super) fn run(name: &'static str) -> Self {
        let text = fs::read_to_string(root().join("docs/meshes").join(name)).unwrap();
        let page = Self { name, text, folder: folder() };
        for (file, block) in page.blocks("toml").into_iter().filter(|(file, _)| file == "policy.toml") {
            fs::write(page.folder.path().join(file), block).unwrap();
        }
        // One root stands on a page; the golden files have two.
        let pem = fs::read_to_string(page.folder.path().join("roots.pem")).unwrap();
        let first = pem.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
        fs::write(page.folder.path().join("roots.pem"), first).unwrap();
        for line in page.commands().iter().filter(|line| line.starts_with(RENDER)) {
            let output = shell(line, page.folder.path());
            assert!(output.status.success(), "{name}: {line}: {}", self::text(&output.stderr));
        }
        page
    }

    /// Fenced blocks of a kind, by the file name in their first lines, without it.
    pub(super) fn blocks(&self, kind: &str) -> Vec<(String, String)> {
        let head = format!("\n```{kind}\n# ");
        let fenced = self.text.split(&head).skip(1);
        let blocks = fenced.map(|rest| rest.split_once("\n```\n").unwrap().0);
        let named = blocks.map(|block| block.split_once('\n').unwrap_or((block, "")));
        named.map(|(file, block)| (file.to_owned(), format!("{block}\n"))).collect()
    }

    pub(super) fn commands(&self) -> Vec<String> {
        let shells = self.text.split("\n```sh\n").skip(1).map(|rest| rest.split_once("\n```\n").unwrap().0);
        shells.flat_map(str::lines).map(str::to_owned).collect()
    }

    pub(super) fn rendered(&self, file: &str) -> Vec<Value> {
        serde_saphyr::from_multiple(&fs::read_to_string(self.folder.path().join(file)).unwrap()).unwrap()
    }

    /// The page as it is with what its commands print in place of what it shows.
    fn with_what_is_rendered(&self) -> String {
        let made: BTreeSet<String> = self.commands().iter().filter_map(|line| made_by(line)).collect();
        let mut text = self.text.clone();
        for (file, _) in self.blocks("yaml").into_iter().filter(|(file, _)| made.contains(file)) {
            let head = format!("\n```yaml\n# {file}\n");
            let found = fs::read_to_string(self.folder.path().join(&file)).unwrap();
            let (before, rest) = text.split_once(&head).unwrap();
            let (_, behind) = rest.split_once("```\n").unwrap();
            text = format!("{before}{head}{found}```\n{behind}");
        }
        text
    }

    /// The rows of the table of callers: who, and whether it comes in.
    pub(super) fn callers(&self) -> Vec<(String, bool)> {
        let rows = self.text.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.filter_map(|row| {
            let (who, verdict) = row.split_once("` | ")?;
            Some((
                who.to_owned(),
                match verdict.trim_end_matches(" |") {
                    "200" => true,
                    "403" => false,
                    _ => return None,
                },
            ))
        })
        .collect()
    }
}

/// The file that a command writes.
pub(super) fn made_by(line: &str) -> Option<String> {
    line.starts_with(RENDER).then(|| line.split_once(" > ").unwrap().1.to_owned())
}

#[test]
fn what_the_pages_show_is_what_their_commands_print() {
    for name in ["istio.md", "istio-two-clusters.md", "linkerd.md", "envoy.md"] {
        let page = Page::run(name);
        let commands = page.commands();
        assert!(commands.iter().filter(|line| line.starts_with(RENDER)).count() >= 2, "{name}: {commands:?}");
        golden::hold(&root().join("docs/meshes").join(page.name), &page.with_what_is_rendered());
    }
}

#[test]
fn the_callers_on_the_pages_come_in_or_stay_out_as_it_is_told_there() {
    let (istio, linkerd, envoy) = (Page::run("istio.md"), Page::run("linkerd.md"), Page::run("envoy.md"));
    let admits: [fn(&[Value], Shown<'_>) -> bool; 2] = [istio_admits, linkerd_admits];
    for (page, admits) in [&istio, &linkerd].into_iter().zip(admits) {
        let (objects, callers) = (page.rendered("callers.yaml"), page.callers());
        assert!(callers.len() >= 6 && callers.iter().filter(|(_, comes_in)| *comes_in).count() == 1, "{callers:?}");
        for (who, comes_in) in callers {
            assert_eq!(admits(&objects, Shown { uri: &who, first_name: &who }), comes_in, "{}: {who}", page.name);
        }
    }
    // The same policy, before ledger's own Envoy.
    for (who, comes_in) in istio.callers() {
        let shown = Shown { uri: &who, first_name: &who };
        assert_eq!(envoy_admits(&envoy.rendered("ledger.yaml")[0], shown), comes_in, "{who}");
    }
}

/// An ID of 254 bytes and more for each of the project's jobs.
fn long_policy() -> String {
    let path =
        format!("acme/{0}/{0}/{0}/payments", "a-team-with-a-name-as-long-as-its-charter-and-proud-of-every-word-of-it");
    let when = format!("when = {{ issuer = \"corp\", project_id = 4711, project_path = \"{path}\" }}");
    format!(
        "[[rule]]\nname = \"long\"\nid = \"/{{project_path}}/-/every\"\naccept.long_id = \"to be rendered\"\n{when}\n"
    )
}

const OF_LONG: &str = "lanyard policy render linkerd long.toml --trust-domain ci.example.org --rule long --service ledger --selector app=ledger";

/// No page promises what the renderer would refuse, nor keeps silent about it.
/// Shows: MESH-E7.
#[test]
fn what_a_mesh_cannot_do_stands_on_its_page_and_is_refused_by_the_program() {
    let folder = folder();
    fs::write(folder.path().join("long.toml"), long_policy()).unwrap();
    let server = fs::read_to_string(folder.path().join("server.toml")).unwrap();
    fs::write(folder.path().join("constrained.toml"), format!("{server}\n[keys]\nname_constraints = true\n")).unwrap();
    let callers = "--trust-domain ci.example.org --service ledger --selector app=ledger";
    for (page, words, line, refusal) in [
        (
            "istio.md",
            ["**Ambient mesh.**", "ztunnel", "Not supported"],
            "lanyard policy render ambient",
            "unrecognized",
        ),
        (
            "istio.md",
            ["a star at one end only", "refused", "Name the projects"],
            &format!(
                "lanyard policy render istio policy.toml {callers} --rule 'group of payments, releases' --group 812=acme/payments"
            ),
            "would admit",
        ),
        (
            "linkerd.md",
            ["**`*` with URIs.**", "everybody of the mesh", "nobody"],
            &format!(
                "lanyard policy render linkerd policy.toml {callers} --port 8080 --rule 'payments, production deploys' --project 4711=acme/payments/api"
            ),
            "Linkerd compares URIs as a whole",
        ),
        (
            "linkerd.md",
            ["**Name constraints**", "refuses such chains", "whole"],
            "lanyard config check constrained.toml",
            "Linkerd rejects every chain that has them",
        ),
        (
            "linkerd.md",
            ["**IDs over 253 bytes**", "ExternalWorkload", "numeric layout"],
            &format!("{OF_LONG} --external-workload --server-name deploys.ci.example.org --ip 192.0.2.7"),
            "bytes and an ExternalWorkload holds 253",
        ),
    ] {
        let text = fs::read_to_string(root().join("docs/meshes").join(page)).unwrap();
        let behind =
            text.split_once("\n## Other forms of IDs\n").or_else(|| text.split_once("\n## What does not work\n"));
        let said = behind.unwrap().1;
        for word in words {
            assert!(said.contains(word), "{page} says nothing of {word:?}");
        }
        let output = shell(line, folder.path());
        let told = self::text(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty() && told.contains(refusal), "{line}: {told}");
    }
}

/// Shows: MESH-B1.
#[test]
fn an_id_that_others_than_linkerd_would_not_take_is_told_where_it_is_rendered() {
    let folder = folder();
    fs::write(folder.path().join("long.toml"), long_policy()).unwrap();
    let output = shell(&format!("{OF_LONG} --port 8080"), folder.path());
    let told = text(&output.stderr);
    assert!(output.status.success() && text(&output.stdout).contains("MeshTLSAuthentication"), "{told}");
    for limit in
        ["Google's workload identity federation has at most 127", "ExternalWorkload of Linkerd has at most 253"]
    {
        assert!(told.contains(limit) && told.contains("/projects/{project_id}/-/"), "{told}");
    }
    let short = "lanyard policy render linkerd policy.toml --trust-domain ci.example.org --rule ledger --service ledger \
                 --selector app=ledger --port 8080";
    assert_eq!(text(&shell(short, folder.path()).stderr), "");
}

//! The pages for people: what they link to, and the source files they name, must be there.

use super::rules::Broken;
use std::path::Path;

/// Holds each page's links and file names against what exists, by its path from the root.
pub(crate) fn check_pages(pages: &[(String, String)], exists: impl Fn(&str) -> bool) -> Vec<Broken> {
    let mut broken = Vec::new();
    for (path, text) in pages {
        for (line, words) in (1..).zip(text.lines()) {
            let mut complain = |what: String| broken.push(Broken { path: path.clone(), line, what });
            for link in links(words).filter(|link| !exists(&resolved(path, link))) {
                complain(format!("the link to {link} leads nowhere"));
            }
            for file in source_files(words).filter(|file| !exists(file) && !exists(&format!("src/{file}"))) {
                complain(format!("`{file}` is not there"));
            }
        }
    }
    broken
}

/// Where `[words](this)` points, if it is into the repository.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let own = targets.filter(|target| !target.contains("://"));
    own.filter_map(|target| target.split('#').next()).filter(|target| !target.is_empty())
}

/// What stands in backticks and reads like a source file with its room.
fn source_files(line: &str) -> impl Iterator<Item = &str> {
    let quoted = line.split('`').skip(1).step_by(2);
    quoted.filter(|name| {
        Path::new(name).extension().is_some_and(|kind| kind == "rs")
            && name.contains('/')
            && !name.contains(char::is_whitespace)
    })
}

/// A link's target, from the root.
fn resolved(page: &str, link: &str) -> String {
    let mut steps: Vec<&str> = page.split('/').collect();
    steps.pop();
    for step in link.split('/').filter(|step| !step.is_empty() && *step != ".") {
        match step {
            ".." => drop(steps.pop()),
            _ => steps.push(step),
        }
    }
    steps.join("/")
}

//! The pages for people: what they link to, and the source files they name, must be there.

use super::rules::Broken;
use std::collections::BTreeMap;
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
            for (page, heading) in anchors(path, words).filter(|(page, heading)| lacks(pages, page, heading)) {
                complain(format!("{page} has no heading #{heading}"));
            }
            for file in source_files(words).filter(|file| !exists(file) && !exists(&format!("src/{file}"))) {
                complain(format!("`{file}` is not there"));
            }
        }
    }
    broken
}

/// Whether a page is one of these and has no such heading.
fn lacks(pages: &[(String, String)], page: &str, heading: &str) -> bool {
    pages.iter().any(|(path, text)| path == page && !headings(text).any(|there| there == heading))
}

/// Holds each `[name](file.rs)` whose words are a function's name against that file: it is a test there, and it runs.
pub(crate) fn check_tests(pages: &[(String, String)], read: impl Fn(&str) -> Option<String>) -> Vec<Broken> {
    let (mut broken, mut files) = (Vec::new(), BTreeMap::new());
    let lines =
        pages.iter().flat_map(|(path, text)| (1..).zip(text.lines()).map(move |(line, words)| (path, line, words)));
    let named = lines.flat_map(|(path, line, words)| tests_named(path, words).map(move |test| (path, line, test)));
    for (path, line, (name, file)) in named {
        let text = files.entry(file.clone()).or_insert_with(|| read(&file).unwrap_or_default());
        if !runs(text, name) {
            broken.push(Broken { path: path.clone(), line, what: format!("{file} has no test {name} that runs") });
        }
    }
    broken
}

/// Holds a table of numbered rows against its length: each number once, in order, and each row either names a test or
/// says what it waits for.
pub(crate) fn check_numbered(path: &str, text: &str, length: usize) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut next = 1;
    for (line, words) in (1..).zip(text.lines()) {
        let cells: Vec<&str> = words.split(" | ").map(|cell| cell.trim_matches(['|', ' '])).collect();
        let Some(number) = cells.first().and_then(|first| first.parse::<usize>().ok()) else { continue };
        let mut complain = |what: String| broken.push(Broken { path: path.to_owned(), line, what });
        if number != next {
            complain(format!("row {number} stands where {next} belongs"));
        }
        next = number + 1;
        let last = cells.last().copied().unwrap_or_default();
        if cells.len() != 5 || !last.starts_with("not built: ") && tests_named(path, last).next().is_none() {
            complain(format!("row {number} has not five cells, or names no test and does not say \"not built: \""));
        }
    }
    if next != length + 1 {
        broken.push(Broken {
            path: path.to_owned(),
            line: 0,
            what: format!("the rows end before {next}, not {length}"),
        });
    }
    broken
}

/// The tests that a line links to, by name and file.
fn tests_named<'a>(page: &'a str, line: &'a str) -> impl Iterator<Item = (&'a str, String)> {
    line.match_indices("](").filter_map(move |(at, _)| {
        let name = line.get(..at)?.rsplit('[').next()?;
        let file = line
            .get(at + 2..)?
            .split(')')
            .next()
            .filter(|target| Path::new(target).extension().is_some_and(|kind| kind == "rs"))?;
        let is_name = name.contains('_') && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_name.then(|| (name, resolved(page, file)))
    })
}

/// Whether a file has a test of this name that is not ignored: what stands above it, up to an empty line, says so.
fn runs(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let function = format!("fn {name}(");
    lines.iter().enumerate().filter(|(_, line)| line.contains(&function)).any(|(at, _)| {
        let above = || lines.iter().take(at).rev().take_while(|line| !line.is_empty());
        above().any(|line| *line == "#[test]" || line.starts_with("#[tokio::test"))
            && !above().any(|line| line.starts_with("#[ignore"))
    })
}

/// Where `[words](this)` points, if it is into the repository.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let own = targets.filter(|target| !target.contains("://"));
    own.filter_map(|target| target.split('#').next()).filter(|target| !target.is_empty())
}

/// The headings that a line points at, by page and anchor.
fn anchors<'a>(page: &'a str, line: &'a str) -> impl Iterator<Item = (String, &'a str)> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let own = targets.filter(|target| !target.contains("://"));
    own.filter_map(|target| target.split_once('#')).map(move |(file, heading)| match file {
        "" => (page.to_owned(), heading),
        file => (resolved(page, file), heading),
    })
}

/// The anchors of a page's headings, as forges make them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let in_anchor = |letter: &char| letter.is_alphanumeric() || ['-', '_', ' '].contains(letter);
    let outside = text.split("```").step_by(2).flat_map(str::lines).filter(|line| line.starts_with('#'));
    let words = outside.map(|line| line.trim_start_matches('#').trim().to_lowercase());
    words.map(move |words| words.chars().filter(in_anchor).collect::<String>().replace(' ', "-"))
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

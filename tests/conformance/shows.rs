//! Which test shows what: the `Shows:` lines above the tests of the whole tree.

use super::vectors;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const MARK: &str = "Shows: ";

/// What the tests say that they show, and the vectors for what they are there.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) by_requirement: BTreeMap<String, Vec<Test>>,
    /// The names of the vectors that go with a requirement.
    pub(super) vectors: BTreeMap<String, Vec<String>>,
    /// Lines that show nothing.
    pub(super) complaints: Vec<String>,
}

/// A test, by where it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Test {
    pub(super) path: String,
    pub(super) name: String,
}

/// What stands above an item, read so far.
#[derive(Default)]
struct Above {
    /// Where the line stands and what it says, which may go on over several lines.
    shows: Option<(usize, String)>,
    is_test: bool,
    is_ignored: bool,
    /// An attribute over several lines is open.
    open: bool,
}

impl Shown {
    /// Reads every source file under `src/` and `tests/`.
    pub(super) fn find(root: &Path) -> Self {
        let mut files = Vec::new();
        for folder in ["src", "tests"] {
            sources_under(&root.join(folder), &mut files);
        }
        files.sort();
        let mut shown = Self::default();
        for path in files {
            let relative = path.strip_prefix(root).unwrap().display().to_string();
            let tests = shown.tests();
            shown.read(&relative, &fs::read_to_string(&path).unwrap());
            if shown.tests() > tests && !is_compiled(root, &path) {
                shown.complaints.push(format!("{relative}: no test program holds this file, so its tests never run"));
            }
        }
        shown.vectors = vectors::by_requirement();
        shown
    }

    /// Whether anything does.
    pub(super) fn shows(&self, id: &str) -> bool {
        self.by_requirement.contains_key(id) || self.vectors.contains_key(id)
    }

    /// The tests that show a requirement.
    pub(super) fn tests_of(&self, id: &str) -> &[Test] {
        self.by_requirement.get(id).map_or(&[], Vec::as_slice)
    }

    /// How many tests show something.
    pub(super) fn tests(&self) -> usize {
        let mut tests: Vec<_> = self.by_requirement.values().flatten().map(|test| (&test.path, &test.name)).collect();
        tests.sort();
        tests.dedup();
        tests.len()
    }

    /// Reads one file.
    pub(super) fn read(&mut self, path: &str, text: &str) {
        let mut above = Above::default();
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if above.open {
                above.open = !line.ends_with(']');
            } else if let Some(words) = line.strip_prefix("///") {
                above.comment(number, words.trim());
            } else if line.starts_with("#[") {
                above.is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
                above.is_ignored |= line.starts_with("#[ignore");
                above.open = !line.ends_with(']');
            } else {
                self.take(path, std::mem::take(&mut above), line);
            }
        }
    }

    /// The item below: a test that runs, or the line shows nothing.
    fn take(&mut self, path: &str, above: Above, line: &str) {
        let Some((number, words)) = above.shows else { return };
        let name = line.split("fn ").nth(1).and_then(|rest| rest.split(['(', '<']).next());
        let mut complain = |what: &str| self.complaints.push(format!("{path}:{number}: the line {what}"));
        let (Some(name), true) = (name, above.is_test) else { return complain("stands above no test") };
        if above.is_ignored {
            return complain("stands above a test that is ignored");
        }
        let Some(ids) = words.strip_suffix('.') else { return complain("ends with a full stop, or goes on below") };
        for id in ids.split(',').map(str::trim) {
            if !is_id(id) {
                complain(&format!("names `{id}`, which is no requirement's name"));
                continue;
            }
            let test = Test { path: path.to_owned(), name: name.to_owned() };
            let tests = self.by_requirement.entry(id.to_owned()).or_default();
            if !tests.contains(&test) {
                tests.push(test);
            }
        }
    }
}

impl Above {
    fn comment(&mut self, number: usize, words: &str) {
        match (&mut self.shows, words.strip_prefix(MARK)) {
            (_, Some(ids)) => self.shows = Some((number, ids.to_owned())),
            (Some((_, ids)), None) => {
                ids.push(' ');
                ids.push_str(words);
            }
            (None, None) => {}
        }
    }
}

/// Such as `X509-20`, or `MESH-C9`.
fn is_id(id: &str) -> bool {
    let Some((family, number)) = id.split_once('-') else { return false };
    !family.is_empty()
        && family.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        && number
            .trim_start_matches(|letter: char| letter.is_ascii_uppercase())
            .parse::<u8>()
            .is_ok_and(|number| number > 0)
}

/// Whether a file is a program of the manifest, or a module that a file beside or above it names.
fn is_compiled(root: &Path, path: &Path) -> bool {
    let relative = path.strip_prefix(root).unwrap().display().to_string();
    if fs::read_to_string(root.join("Cargo.toml")).unwrap().contains(&format!("path = \"{relative}\"")) {
        return true;
    }
    let folder = path.parent().unwrap();
    let named = if path.ends_with("mod.rs") { folder } else { path };
    let Some(name) = named.file_stem().and_then(|stem| stem.to_str()) else { return false };
    let beside = [Some(folder), folder.parent()].into_iter().flatten().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut sources =
        beside.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "rs"));
    sources.any(|source| {
        let text = fs::read_to_string(source).unwrap();
        text.lines()
            .any(|line| line.trim().strip_suffix(';').is_some_and(|line| line.ends_with(&format!("mod {name}"))))
    })
}

fn sources_under(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // A package of its own, with a list of tests of its own.
            if !path.join("Cargo.toml").exists() && !path.ends_with("target") {
                sources_under(&path, files);
            }
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}

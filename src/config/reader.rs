//! One file while it is read: its text, its lines, and what is wrong with it so far.

use super::problem::{Lines, Problem};
use super::section::Section;
use super::words::readable;
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// A file that is not of our form at all has a problem in each line, and each takes a hundred times its size to tell.
const PROBLEMS_MAX: usize = 1000;

/// One file while it is read, and what is wrong with it so far.
#[derive(Debug)]
pub(super) struct Reader<'t> {
    file: &'t Path,
    pub(super) text: &'t str,
    lines: Lines,
    problems: RefCell<Vec<Problem>>,
    /// How many more there are than anybody reads.
    more: Cell<usize>,
    /// What loads, but should be known.
    pub(super) warnings: RefCell<Vec<Problem>>,
    /// Whether the file is not TOML: then whatever else seems wrong may follow from that alone, and is not told.
    pub(super) broken: Cell<bool>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(file: &'t Path, text: &'t str) -> Self {
        Self {
            file,
            text,
            lines: Lines::of(text),
            problems: RefCell::default(),
            more: Cell::new(0),
            warnings: RefCell::default(),
            broken: Cell::new(false),
        }
    }

    /// The whole document. Each line that is not TOML is a problem, and then there are no others.
    pub(super) fn document(&self) -> Section<'_, 't> {
        self.beginning(self.text)
    }

    /// The document up to where its pieces begin.
    pub(super) fn beginning(&self, text: &'t str) -> Section<'_, 't> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let line = |error: &toml::de::Error| error.span().map(|span| self.lines.line_of(span.start));
        let mut told: Vec<_> = errors.iter().map(|error| (line(error), error.message())).collect();
        told.dedup_by_key(|(line, _)| *line);
        for (line, message) in &told {
            self.report(*line, String::new(), format!("not TOML: {message}"), "mend the line".to_owned());
        }
        self.broken.set(!told.is_empty());
        Section::root(self, 0, table.into_inner())
    }

    /// Which line a byte stands on, from 1.
    pub(super) fn line_of(&self, offset: usize) -> usize {
        self.lines.line_of(offset)
    }

    /// How many problems there are until now.
    pub(super) fn problems_so_far(&self) -> usize {
        self.problems.borrow().len() + self.more.get()
    }

    pub(super) fn report(&self, line: Option<usize>, key: String, found: String, remedy: String) {
        let [key, found, remedy] = [key, found, remedy].map(readable);
        self.keep(Problem { file: self.file.to_owned(), line, key, found, remedy });
    }

    /// Says what loads, but should be known.
    pub(super) fn warn(&self, line: Option<usize>, key: String, found: String, remedy: String) {
        let [key, found, remedy] = [key, found, remedy].map(readable);
        self.warnings.borrow_mut().push(Problem { file: self.file.to_owned(), line, key, found, remedy });
    }

    /// All problems at once, but no more than a person can mend at once.
    fn keep(&self, problem: Problem) {
        if self.broken.get() {
            return;
        }
        let mut problems = self.problems.borrow_mut();
        if problems.len() < PROBLEMS_MAX { problems.push(problem) } else { self.more.set(self.more.get() + 1) }
    }

    /// Takes over the problems of another file that this one names.
    pub(super) fn adopt(&self, problems: Vec<Problem>) {
        for problem in problems {
            self.keep(problem);
        }
    }

    /// A problem of this file that is not reported here, such as a warning.
    pub(super) fn problem_at(&self, line: Option<usize>, key: &str, found: String, remedy: &str) -> Problem {
        Problem { file: self.file.to_owned(), line, key: key.to_owned(), found, remedy: remedy.to_owned() }
    }

    /// All that was found, each by line: problems, and warnings.
    pub(super) fn into_found(self) -> (Vec<Problem>, Vec<Problem>) {
        let mut warnings = self.warnings.take();
        warnings.sort_by_key(|warning| warning.line);
        (self.settled(None::<()>).err().unwrap_or_default(), warnings)
    }

    /// The settings if nothing is wrong, else all that is, by line.
    pub(super) fn settled<T>(self, settings: Option<T>) -> Result<T, Vec<Problem>> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| (problem.file != self.file, problem.line));
        if self.more.get() > 0 {
            let found = format!("{} more problems", self.more.get());
            let (file, remedy) = (self.file.to_owned(), "mend these first".to_owned());
            problems.push(Problem { file, line: None, key: String::new(), found, remedy });
        }
        match settings {
            Some(settings) if problems.is_empty() => Ok(settings),
            _ => Err(problems),
        }
    }

    /// A path as the file means it: relative to the file's own folder.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }
}

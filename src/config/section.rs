//! Reading a TOML table key by key: every key typed, none forgotten, every problem kept with its line.
//!
//! Serde would stop at the first wrong key; a person wants them all at once.

use super::problem::{Lines, Problem, read_bytes};
use super::quantity::{parse_duration, parse_size, render_duration};
use super::words::{an, did_you_mean, readable};
use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A file that is not of our form at all has a problem in each line, and each takes a hundred times its size to tell.
const PROBLEMS_MAX: usize = 1000;

/// One file while it is read, and what is wrong with it so far.
#[derive(Debug)]
pub(super) struct Reader<'t> {
    file: &'t Path,
    text: &'t str,
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
        let (table, errors) = DeTable::parse_recoverable(self.text);
        let line = |error: &toml::de::Error| error.span().map(|span| self.lines.line_of(span.start));
        let mut told: Vec<_> = errors.iter().map(|error| (line(error), error.message())).collect();
        told.dedup_by_key(|(line, _)| *line);
        for (line, message) in &told {
            self.report(*line, String::new(), format!("not TOML: {message}"), "mend the line".to_owned());
        }
        self.broken.set(!told.is_empty());
        Section {
            reader: self,
            path: String::new(),
            line: None,
            table: table.into_inner(),
            known: Vec::new(),
            found: Vec::new(),
        }
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
    fn resolve(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }
}

/// One table; each key is taken out once, and what is left at the end is unknown.
#[derive(Debug)]
pub(super) struct Section<'r, 't> {
    reader: &'r Reader<'t>,
    path: String,
    line: Option<usize>,
    table: DeTable<'t>,
    known: Vec<&'static str>,
    found: Vec<&'static str>,
}

/// A value and where it stood.
struct Found<'t> {
    value: DeValue<'t>,
    line: usize,
}

impl<'t> Section<'_, 't> {
    pub(super) fn key_path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn take(&mut self, key: &'static str) -> Option<Found<'t>> {
        self.known.push(key);
        let value: Spanned<DeValue<'t>> = self.table.remove(key)?;
        self.found.push(key);
        let line = self.reader.lines.line_of(value.span().start);
        Some(Found { value: value.into_inner(), line })
    }

    /// Says that a key of this table is wrong.
    pub(super) fn problem(&self, key: &str, line: Option<usize>, found: impl Into<String>, remedy: impl Into<String>) {
        self.reader.report(line.or(self.line), self.key_path(key), found.into(), remedy.into());
    }

    /// Says what loads, but should be known.
    pub(super) fn warning(&self, key: &str, line: Option<usize>, found: impl Into<String>, remedy: impl Into<String>) {
        self.reader.warn(line.or(self.line), self.key_path(key), found.into(), remedy.into());
    }

    /// From now on its problems name it so, instead of by its place in a list.
    pub(super) fn call(&mut self, name: &str) {
        let (list, _place) = self.path.split_once('[').unwrap_or((&self.path, ""));
        self.path = format!("{list} {name:?}");
    }

    /// Says that a key is missing, unless it was there and wrong; gives none, for `or_else`.
    pub(super) fn missing<T>(&self, key: &str, remedy: &str) -> Option<T> {
        if !self.found.contains(&key) {
            self.problem(key, None, "nothing", remedy);
        }
        None
    }

    /// A text, read by `parse`; `would_do` completes "write …".
    pub(super) fn parsed<T, E: Display>(
        &mut self,
        key: &'static str,
        would_do: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let found = self.take(key)?;
        let remedy = format!("write {would_do}");
        let Some(text) = found.value.as_str() else {
            self.problem(key, Some(found.line), an(&found.value), remedy);
            return None;
        };
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(key, Some(found.line), format!("\"{text}\" ({error})"), remedy);
                None
            }
        }
    }

    /// Any text.
    pub(super) fn text(&mut self, key: &'static str, would_do: &str) -> Option<String> {
        self.parsed(key, would_do, |text| if text.is_empty() { Err("empty") } else { Ok(text.to_owned()) })
    }

    /// A path, relative to the file's folder.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let text = self.text(key, "a path; a relative one starts at this file's folder")?;
        Some(self.reader.resolve(&text))
    }

    /// A file that is read at once; what the key was told of goes with the bytes.
    pub(super) fn file(&mut self, key: &'static str) -> Option<(PathBuf, Vec<u8>)> {
        let line = self.line_of(key);
        let path = self.path(key)?;
        match read_bytes(&path) {
            Ok(bytes) => Some((path, bytes)),
            Err(error) => {
                self.problem(
                    key,
                    line,
                    super::problem::unreadable(&path, &error),
                    "name a file that this user may read",
                );
                None
            }
        }
    }

    /// A span of time. Every span has an end, so that none added to a time can leave the calendar.
    pub(super) fn duration(&mut self, key: &'static str, most: Duration) -> Option<Duration> {
        let line = self.line_of(key);
        let read = |text: &str| parse_duration(text).map(|span| (span, text.to_owned()));
        let (span, text) = self.parsed(key, "a span with its unit, such as \"15m\", \"1h30m\" or \"30d\"", read)?;
        if span > most {
            let remedy = format!("write at most \"{}\"", render_duration(most));
            self.problem(key, line, format!("\"{text}\", too long"), remedy);
            return None;
        }
        Some(span)
    }

    /// A size in bytes.
    pub(super) fn size(&mut self, key: &'static str) -> Option<u64> {
        self.parsed(key, "a size with its unit, such as \"64KiB\" or \"16MiB\"", parse_size)
    }

    /// A truth value.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let found = self.take(key)?;
        if found.value.as_bool().is_none() {
            self.problem(key, Some(found.line), an(&found.value), "write true or false, without quotes");
        }
        found.value.as_bool()
    }

    /// One text or a list of texts, each read by `parse`.
    pub(super) fn list<T, E: Display>(
        &mut self,
        key: &'static str,
        would_do: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let found = self.take(key)?;
        let values = if let DeValue::Array(array) = found.value {
            array.into_iter().map(Spanned::into_inner).collect()
        } else {
            vec![found.value]
        };
        let mut read = Vec::new();
        for value in values {
            match value.as_str().map(&parse) {
                Some(Ok(value)) => read.push(value),
                Some(Err(error)) => {
                    let text = value.as_str().unwrap_or_default();
                    self.problem(key, Some(found.line), format!("\"{text}\" ({error})"), format!("write {would_do}"));
                }
                None => self.problem(key, Some(found.line), an(&value), format!("write {would_do}")),
            }
        }
        Some(read)
    }

    /// One value or a list of values, whatever they are, each with its line.
    pub(super) fn values(&mut self, key: &'static str) -> Vec<(usize, DeValue<'t>)> {
        match self.take(key) {
            Some(Found { value: DeValue::Array(array), line }) => {
                array.into_iter().map(|value| (line, value.into_inner())).collect()
            }
            found => found.map(|found| (found.line, found.value)).into_iter().collect(),
        }
    }

    /// A table within; an empty one when it is not there.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        let (table, line) = match self.take(key) {
            Some(Found { value: DeValue::Table(table), line }) => (table, Some(line)),
            Some(found) => {
                self.problem(
                    key,
                    Some(found.line),
                    an(&found.value),
                    format!("write a table, [{}]", self.key_path(key)),
                );
                (DeTable::new(), Some(found.line))
            }
            None => (DeTable::new(), self.line),
        };
        Section { reader: self.reader, path: self.key_path(key), line, table, known: Vec::new(), found: Vec::new() }
    }

    /// The tables of a list, `[[key]]`.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Self> {
        let remedy = format!("write a list of tables, [[{}]]", self.key_path(key));
        let array = match self.take(key) {
            Some(Found { value: DeValue::Array(array), .. }) => array,
            Some(found) => {
                self.problem(key, Some(found.line), an(&found.value), remedy);
                return Vec::new();
            }
            None => return Vec::new(),
        };
        let mut sections = Vec::new();
        for (index, value) in array.into_iter().enumerate() {
            let line = self.reader.lines.line_of(value.span().start);
            let path = format!("{}[{index}]", self.key_path(key));
            let value = value.into_inner();
            if let DeValue::Table(table) = value {
                let (reader, line) = (self.reader, Some(line));
                sections.push(Self { reader, path, line, table, known: Vec::new(), found: Vec::new() });
            } else {
                self.problem(key, Some(line), an(&value), remedy.as_str());
            }
        }
        sections
    }

    /// Takes out all keys that are left, whatever they are called, by line: for tables whose keys are data.
    pub(super) fn entries(&mut self) -> Vec<(usize, String, Spanned<DeValue<'t>>)> {
        let table = std::mem::take(&mut self.table).into_iter();
        let line = |offset| self.reader.lines.line_of(offset);
        let mut entries: Vec<_> =
            table.map(|(key, value)| (line(key.span().start), key.into_inner().into_owned(), value)).collect();
        entries.sort_by_key(|(.., value)| value.span().start);
        entries
    }

    /// The line of a value that was taken with its place.
    pub(super) fn line_of_value<T>(&self, value: &Spanned<T>) -> usize {
        self.reader.lines.line_of(value.span().start)
    }

    /// Where the table begins.
    pub(super) const fn line(&self) -> Option<usize> {
        self.line
    }

    /// Takes a key that is known here and not read.
    pub(super) fn skip(&mut self, key: &'static str) {
        self.take(key);
    }

    /// The line of a key that was not taken yet.
    pub(super) fn line_of(&self, key: &str) -> Option<usize> {
        self.table.get(key).map(|value| self.reader.lines.line_of(value.span().start))
    }

    /// Whether a key stands here and was not taken yet.
    pub(super) fn holds(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether an empty list stands here and was not taken yet.
    pub(super) fn holds_empty_list(&self, key: &str) -> bool {
        self.table.get(key).and_then(|value| value.get_ref().as_array()).is_some_and(|list| list.is_empty())
    }

    /// Whether a text stands here and was not taken yet.
    pub(super) fn holds_text(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(|value| value.get_ref().is_str())
    }

    /// How many problems the file has so far.
    pub(super) fn problems_so_far(&self) -> usize {
        self.reader.problems.borrow().len() + self.reader.more.get()
    }

    /// Ends the reading: what was not taken is unknown.
    pub(super) fn finish(mut self) {
        for (key, _value) in std::mem::take(&mut self.table) {
            let line = self.reader.lines.line_of(key.span().start);
            let remedy = did_you_mean(key.get_ref(), &self.known)
                .unwrap_or_else(|| format!("known here: {}", self.known.join(", ")));
            self.problem(key.get_ref(), Some(line), "a key that nobody reads", remedy);
        }
    }
}

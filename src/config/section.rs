//! Reading a TOML table key by key: every key typed, none forgotten, every problem kept with its line.
//!
//! Serde would stop at the first wrong key; a person wants them all at once.

use super::problem::read_bytes;
use super::quantity::{parse_duration, parse_size, render_duration};
use super::reader::Reader;
use super::words::{an, did_you_mean};
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One table; each key is taken out once, and what is left at the end is unknown.
#[derive(Debug)]
pub(super) struct Section<'r, 't> {
    reader: &'r Reader<'t>,
    /// Where the text that its places count from begins in the file.
    begins: usize,
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

impl<'r, 't> Section<'r, 't> {
    /// The root of a document, or of a piece that begins somewhere in it.
    pub(super) const fn root(reader: &'r Reader<'t>, begins: usize, table: DeTable<'t>) -> Self {
        Self { reader, begins, path: String::new(), line: None, table, known: Vec::new(), found: Vec::new() }
    }

    fn within(&self, path: String, line: Option<usize>, table: DeTable<'t>) -> Self {
        Self { path, line, ..Self::root(self.reader, self.begins, table) }
    }

    fn line_at(&self, offset: usize) -> usize {
        self.reader.line_of(self.begins + offset)
    }

    pub(super) fn key_path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn take(&mut self, key: &'static str) -> Option<Found<'t>> {
        self.known.push(key);
        let value: Spanned<DeValue<'t>> = self.table.remove(key)?;
        self.found.push(key);
        let line = self.line_at(value.span().start);
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
        self.within(self.key_path(key), line, table)
    }

    /// The tables of a list, `[[key]]`.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Self> {
        self.sections_from(0, key)
    }

    /// The same, where so many stand in the pieces before this.
    pub(super) fn sections_from(&mut self, before: usize, key: &'static str) -> Vec<Self> {
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
            let line = self.line_at(value.span().start);
            let path = format!("{}[{}]", self.key_path(key), before + index);
            let value = value.into_inner();
            if let DeValue::Table(table) = value {
                sections.push(self.within(path, Some(line), table));
            } else {
                self.problem(key, Some(line), an(&value), remedy.as_str());
            }
        }
        sections
    }

    /// Takes out all keys that are left, whatever they are called, by line: for tables whose keys are data.
    pub(super) fn entries(&mut self) -> Vec<(usize, String, Spanned<DeValue<'t>>)> {
        let table = std::mem::take(&mut self.table).into_iter();
        let line = |offset| self.line_at(offset);
        let mut entries: Vec<_> =
            table.map(|(key, value)| (line(key.span().start), key.into_inner().into_owned(), value)).collect();
        entries.sort_by_key(|(.., value)| value.span().start);
        entries
    }

    /// The line of a value that was taken with its place.
    pub(super) fn line_of_value<T>(&self, value: &Spanned<T>) -> usize {
        self.line_at(value.span().start)
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
        self.table.get(key).map(|value| self.line_at(value.span().start))
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
        self.reader.problems_so_far()
    }

    /// Ends the reading: what was not taken is unknown.
    pub(super) fn finish(mut self) {
        for (key, _value) in std::mem::take(&mut self.table) {
            let line = self.line_at(key.span().start);
            let remedy = did_you_mean(key.get_ref(), &self.known)
                .unwrap_or_else(|| format!("known here: {}", self.known.join(", ")));
            self.problem(key.get_ref(), Some(line), "a key that nobody reads", remedy);
        }
    }
}

//! A source file as the rules see it: its words, and its code without comments, strings and tests.

use std::iter::Peekable;
use std::str::Chars;

/// One file under `src/`.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the root of the repository, such as `src/store/memory.rs`.
    pub(crate) path: String,
    /// As it stands.
    pub(crate) text: String,
    /// The same lines, comments and the contents of strings left out.
    pub(crate) code: String,
    /// How many lines stand above the tests.
    pub(crate) lines: usize,
}

impl Source {
    /// Reads a file's text.
    pub(crate) fn new(path: String, text: &str) -> Self {
        let code = code_of(text);
        let only_tests = path.ends_with("/tests.rs");
        let lines = code.lines().take_while(|line| !only_tests && line.trim() != "#[cfg(test)]").count();
        Self { path, text: text.to_owned(), code, lines }
    }

    /// The room: the first folder, or the file itself.
    pub(crate) fn room(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        below.split('/').next().unwrap_or(below).trim_end_matches(".rs")
    }

    /// The code, line by line, counted from 1.
    pub(crate) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.code.lines())
    }

    /// The code above the tests.
    pub(crate) fn shipped_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code_lines().take(self.lines)
    }
}

/// The names in a line that are followed by `::` and have nothing before them, such as the crate in `serde::de::Error`.
pub(crate) fn heads_of_paths(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("::").filter_map(|(at, _)| {
        let before = line.get(..at)?;
        let name = before.rsplit(|c| !is_name(c)).next()?;
        (!name.is_empty() && !before.strip_suffix(name)?.ends_with("::")).then_some(name)
    })
}

/// The names that follow a path's beginning, such as `store` for `crate::` in `crate::store::Store`.
pub(crate) fn names_after<'a>(line: &'a str, beginning: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(beginning).filter_map(move |(at, _)| {
        let rest = line.get(at + beginning.len()..)?;
        let alone = !line.get(..at)?.ends_with(is_name);
        alone.then(|| rest.split(|c| !is_name(c)).next().unwrap_or_default())
    })
}

/// Whether a whole word stands in a line.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    line.split(|c| !is_name(c)).any(|found| found == word)
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Leaves out comments and the contents of strings and characters; lines stay where they are.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('/', Some('/')) => skip_until(&mut chars, &mut code, |_, next| next == Some(&'\n')),
            ('/', Some('*')) => {
                skip_until(&mut chars, &mut code, |last, next| last == Some('*') && next == Some(&'/'));
                chars.next();
            }
            ('"', _) => string(&mut chars, &mut code),
            ('r', Some('"' | '#')) if !code.ends_with(is_name) || code.ends_with('b') => raw(&mut chars, &mut code),
            ('\'', _) => character(&mut chars, &mut code),
            _ => code.push(c),
        }
    }
    code
}

/// Drops characters, but for line ends, until the last one and the next one say so.
fn skip_until(chars: &mut Peekable<Chars<'_>>, code: &mut String, done: impl Fn(Option<char>, Option<&char>) -> bool) {
    let mut last = None;
    while chars.peek().is_some() && !done(last, chars.peek()) {
        last = chars.next();
        code.extend(last.filter(|c| *c == '\n'));
    }
}

fn string(chars: &mut Peekable<Chars<'_>>, code: &mut String) {
    while let Some(c) = chars.next() {
        match c {
            '\\' => code.extend(chars.next().filter(|c| *c == '\n')),
            '"' => break,
            _ => code.extend(Some(c).filter(|c| *c == '\n')),
        }
    }
    code.push_str("\"\"");
}

/// A raw string, or a raw name such as `r#type`.
fn raw(chars: &mut Peekable<Chars<'_>>, code: &mut String) {
    let mut fence = String::from("\"");
    while chars.next_if_eq(&'#').is_some() {
        fence.push('#');
    }
    if chars.next_if_eq(&'"').is_none() {
        return code.push('r');
    }
    let mut inside = String::new();
    while !inside.ends_with(&fence) {
        let Some(c) = chars.next() else { break };
        inside.push(c);
    }
    code.extend(inside.chars().filter(|c| *c == '\n'));
    code.push_str("\"\"");
}

/// A character such as `'"'`, or a lifetime.
fn character(chars: &mut Peekable<Chars<'_>>, code: &mut String) {
    let mut ahead = chars.clone();
    let escaped = ahead.next() == Some('\\');
    if escaped || ahead.next() == Some('\'') {
        skip_until(chars, code, |last, next| next == Some(&'\'') && last.is_some() && !(escaped && last == Some('\\')));
        chars.next();
    }
    code.push('\'');
}

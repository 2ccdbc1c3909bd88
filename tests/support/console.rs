//! A page's procedures, as they are typed: each command of their `console` blocks is run, and what it says is compared.
//!
//! ```text
//!   <!-- procedure: NAME -->     a new stage, which the test makes; up to the next one, or to <!-- end -->
//!   <!-- until: COMMAND -->      what takes its time, or happens beside; run until it succeeds
//! ```
//! In what is said, whatever is another in each run is masked on both sides: times, names of eight hex digits or more, and all
//! other numbers; how many blanks stand between columns says nothing. A command that fails must say `error`.
//! `LANYARD_GOLDEN=write` puts what was said into the page.

use crate::golden::rewrites;
use regex::Regex;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a page asks to be waited for comes in seconds.
const UNTIL_WITHIN: Duration = Duration::from_secs(60);

/// Where a procedure is tried.
pub(crate) trait Stage {
    /// Types a command, and says whether it succeeded and what stood on the terminal, in the page's own names.
    fn run(&mut self, command: &str) -> (bool, String);
}

/// What a page is made of, in order.
enum Part {
    End,
    Procedure(String),
    Prose(String),
    Typed { command: String, output: String },
    Until(String),
}

/// As it stands in the page.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => writeln!(f, "<!-- end -->"),
            Self::Procedure(name) => writeln!(f, "<!-- procedure: {name} -->"),
            Self::Prose(line) => writeln!(f, "{line}"),
            Self::Typed { command, output } => write!(f, "$ {command}\n{output}"),
            Self::Until(command) => writeln!(f, "<!-- until: {command} -->"),
        }
    }
}

/// Runs a procedure of a page on a stage, and holds the page against what it says.
pub(crate) fn hold(page: &Path, procedure: &str, stage: impl FnOnce() -> Box<dyn Stage>) {
    // Whoever rewrites the page must have read what the last who did has written.
    static PAGE: Mutex<()> = Mutex::new(());
    let _alone = rewrites().then(|| PAGE.lock().unwrap_or_else(PoisonError::into_inner));
    let (mut parts, name) = (parts(&fs::read_to_string(page).unwrap()), page.display());
    let is_it = |part: &Part| matches!(part, Part::Procedure(name) if *name == procedure);
    let begin = parts.iter().position(is_it).unwrap_or_else(|| panic!("{name} has no procedure {procedure:?}")) + 1;
    let is_over = |part: &Part| matches!(part, Part::End | Part::Procedure(_));
    let end = parts.iter().skip(begin).position(is_over).map_or(parts.len(), |length| begin + length);
    let mut stage = stage();
    let differ: Vec<String> = parts[begin..end].iter_mut().filter_map(|part| play(part, &mut *stage)).collect();
    if rewrites() {
        fs::write(page, parts.iter().map(ToString::to_string).collect::<String>()).unwrap();
    } else {
        let differ = differ.join("\n");
        assert!(differ.is_empty(), "{name} says otherwise:\n{differ}\nrewrite it with LANYARD_GOLDEN=write");
    }
}

/// Does what a part says; where another output came, it stands there now, and what was it is told.
fn play(part: &mut Part, stage: &mut dyn Stage) -> Option<String> {
    match part {
        Part::Until(command) => wait(stage, command),
        Part::Typed { command, output } => {
            let (done, said) = stage.run(command);
            assert!(done || said.contains("error"), "it failed, and says nothing of it: {command}\n{said}");
            if masked(&said) != masked(output) {
                let told = format!("$ {command}\n--- the page\n{output}--- now\n{said}");
                *output = said;
                return Some(told);
            }
        }
        Part::End | Part::Procedure(_) | Part::Prose(_) => {}
    }
    None
}

fn wait(stage: &mut dyn Stage, command: &str) {
    let deadline = Instant::now() + UNTIL_WITHIN;
    loop {
        let (done, said) = stage.run(command);
        if done {
            return;
        }
        assert!(Instant::now() < deadline, "it does not come to that: {command}\n{said}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The names of a page's procedures; every `console` block is in one.
pub(crate) fn procedures(page: &Path) -> Vec<String> {
    let (mut names, mut inside) = (Vec::new(), false);
    for part in parts(&fs::read_to_string(page).unwrap()) {
        match part {
            Part::Procedure(name) => {
                names.push(name);
                inside = true;
            }
            Part::End => inside = false,
            Part::Typed { command, .. } => assert!(inside, "nobody runs this of {}: {command}", page.display()),
            Part::Prose(_) | Part::Until(_) => {}
        }
    }
    names
}

fn parts(text: &str) -> Vec<Part> {
    let (mut parts, mut in_console) = (Vec::new(), false);
    for line in text.lines() {
        match (line.strip_prefix("$ "), parts.last_mut()) {
            (Some(command), _) if in_console => {
                parts.push(Part::Typed { command: command.to_owned(), output: String::new() });
            }
            (None, Some(Part::Typed { command, .. })) if in_console && command.ends_with('\\') => {
                command.extend(["\n", line]);
            }
            (None, Some(Part::Typed { output, .. })) if in_console && line != "```" => output.extend([line, "\n"]),
            _ => parts.push(apart(line)),
        }
        in_console = if in_console { line != "```" } else { line == "```console" };
    }
    parts
}

/// A line outside of blocks.
fn apart(line: &str) -> Part {
    let remark = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
    match remark.map(|remark| remark.split_once(": ").unwrap_or((remark, ""))) {
        Some(("procedure", name)) => Part::Procedure(name.to_owned()),
        Some(("until", command)) => Part::Until(command.to_owned()),
        Some(("end", "")) => Part::End,
        Some(_) | None => Part::Prose(line.to_owned()),
    }
}

/// What is another in each run, as one sign of its kind.
fn masked(said: &str) -> String {
    const MASKS: [(&str, &str); 5] = [
        (r"\d{4}-\d\d-\d\dT\d\d:?\d\d:?\d\d(\.\d+)?Z", "TIME"),
        (r"\b[0-9a-f]{8,}\b", "NAME"),
        (r"\d+(\.\d+)?", "N"),
        (r"[ \t]{2,}", "  "),
        (r"(?m)[ \t]+$", ""),
    ];
    MASKS
        .iter()
        .fold(said.to_owned(), |text, (what, by)| Regex::new(what).unwrap().replace_all(&text, *by).into_owned())
}

//! Templates by their effect: what they expand to, tried out on a few values, and a pattern for all that they can be.

use super::model::{Job, Value};
use regex::Regex;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

const IDS: &str = "project_id|namespace_id|pipeline_id|job_id|runner_id|user_id";
const PATHS: [&str; 2] = ["{project_path}", "{namespace_path}"];
/// Ids that run into the digits beside them.
const SOME_IDS: [&str; 3] = ["1", "7", "77"];

/// Whether a text may stand as a template at all.
pub(crate) fn is_legal(text: &str) -> bool {
    static PIECE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(&format!(r"^(?:[A-Za-z0-9._-]|\{{(?:{IDS})\}})+$")).unwrap());
    static RUN_TOGETHER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\}[0-9]*\{").unwrap());
    let Some(path) = text.strip_prefix('/') else { return false };
    let segments: Vec<&str> = path.split('/').collect();
    let legal = |segment: &&str| {
        let good = PIECE.is_match(segment) && !matches!(*segment, "." | "..") && !RUN_TOGETHER.is_match(segment);
        good || PATHS.contains(segment)
    };
    let ended = |pair: &[&str]| !matches!(pair, [path, next] if PATHS.contains(path) && *next != "-");
    let is_mesh = |segment: &str| segment.eq_ignore_ascii_case("ns") || segment.eq_ignore_ascii_case("sa");
    let for_mesh = match segments.as_slice() {
        ["ns", namespace, "sa", account] => {
            !namespace.contains('{') && !PATHS.contains(account) && ![*namespace, *account].into_iter().any(is_mesh)
        }
        _ => false,
    };
    segments.iter().all(legal)
        && segments.windows(2).all(ended)
        && !segments.starts_with(&["-", "lanyard"])
        && (for_mesh || !segments.iter().copied().any(is_mesh))
}

/// The holes' names.
pub(crate) fn holes(template: &str) -> Vec<&str> {
    template.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)).collect()
}

/// What a job is called by it; none where the job lacks a claim.
pub(crate) fn expand(template: &str, job: &Job) -> Option<String> {
    holes(template).into_iter().try_fold(template.to_owned(), |text, hole| {
        let value = match job.get(hole)? {
            Value::Bool(is) => is.to_string(),
            Value::Id(id) => id.to_string(),
            Value::Text(text) => text.clone(),
        };
        Some(text.replace(&format!("{{{hole}}}"), &value))
    })
}

/// Whether two templates can give one ID, for whomever.
pub(crate) fn can_meet(a: &str, b: &str) -> bool {
    thread_local!(static KNOWN: RefCell<HashMap<(String, String), bool>> = RefCell::default());
    let pair = (a.to_owned(), b.to_owned());
    if let Some(known) = KNOWN.with_borrow(|known| known.get(&pair).copied()) {
        return known;
    }
    let meet = |one: &str, other: &str| {
        let all = everything(other);
        tried(one, &runs(other)).iter().any(|id| all.is_match(id))
    };
    let found = meet(a, b) || meet(b, a);
    KNOWN.with_borrow_mut(|known| known.insert(pair, found));
    found
}

/// Whether what a pattern must say to mean bearers of one template can begin an ID of the other, whoever they are.
pub(crate) fn begin_alike(a: &str, b: &str) -> bool {
    let meant = |one: &str, other: &str| {
        let below =
            Regex::new(&format!("{}(?:/|$)", everything(&least(other)).as_str().trim_end_matches('$'))).unwrap();
        let ids = tried(one, &runs(other));
        ids.iter().any(|id| below.is_match(id))
    };
    meant(a, b) || meant(b, a)
}

/// All up to the first segment that is not the same for everybody.
fn least(template: &str) -> String {
    let mut segments: Vec<&str> = template.split('/').collect();
    let varies = segments.iter().position(|segment| segment.contains('{')).unwrap_or(segments.len());
    segments.truncate(varies + 1);
    segments.join("/")
}

/// Whether the project can be read back alike from an ID of both: the same segments lead up to it.
pub(crate) fn name_the_project_alike(a: &str, b: &str) -> bool {
    let alike = a.split('/').zip(b.split('/')).take_while(|(one, other)| one == other);
    alike.into_iter().any(|(segment, _)| segment.contains("{project_path}") || segment.contains("{project_id}"))
}

/// A pattern for everything that a template can give.
fn everything(template: &str) -> Regex {
    let name = "(?:[A-Za-z0-9._][A-Za-z0-9._-]*|-[A-Za-z0-9._-]+)";
    let segments = template.split('/').skip(1).map(|segment| {
        if PATHS.contains(&segment) {
            return format!("{name}(?:/{name})*");
        }
        let parts = segment.split('{').map(|part| match part.split_once('}') {
            Some((_hole, literal)) => format!("[1-9][0-9]{{0,18}}{}", regex::escape(literal)),
            None => regex::escape(part),
        });
        parts.collect()
    });
    let whole: Vec<String> = segments.collect();
    Regex::new(&format!("^/{}$", whole.join("/"))).unwrap()
}

/// Paths that may hide something of this template.
fn runs(template: &str) -> Vec<String> {
    let plain = PATHS.iter().fold(template.to_owned(), |text, path| text.replace(path, "g/h"));
    let plain = holes(&plain).into_iter().fold(plain.clone(), |text, hole| text.replace(&format!("{{{hole}}}"), "7"));
    let segments: Vec<&str> = plain.split('/').skip(1).collect();
    let mut runs = BTreeSet::from(["g".to_owned(), "g/h".to_owned()]);
    for from in 0..segments.len() {
        for to in from + 1..=segments.len() {
            runs.extend(segments.get(from..to).filter(|run| !run.contains(&"-")).map(|run| run.join("/")));
        }
    }
    runs.into_iter().collect()
}

/// Some of the IDs that a template gives: every hole by itself takes every value.
fn tried(template: &str, paths: &[String]) -> Vec<String> {
    let Some((before, rest)) = template.split_once('{') else { return vec![template.to_owned()] };
    let Some((hole, behind)) = rest.split_once('}') else { return Vec::new() };
    let behind = tried(behind, paths);
    let ids = SOME_IDS.map(str::to_owned);
    let values = if hole.ends_with("_path") { paths } else { ids.as_slice() };
    values.iter().flat_map(|value| behind.iter().map(move |rest| format!("{before}{value}{rest}"))).collect()
}

//! A walk as a person reads it: the verdict, then the rules, the one that spoke or came nearest first, each as a table
//! of its terms.

use super::render;
use serde_json::Value;
use std::fmt::Write as _;
use time::OffsetDateTime;

/// How many rules are shown with their terms, unless all are asked for.
const RULES_SHOWN: usize = 10;
/// No cell of the columns that others are aligned behind is padded wider.
const CELL_WIDTH_MAX: usize = 56;
const HEAD: [&str; 4] = ["", "TERM", "WANTED", "GOT"];

/// How much of it, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Every rule with its terms, however far away.
    pub(super) all: bool,
    /// Whether a terminal shows it that takes colours.
    pub(super) coloured: bool,
}

/// What a piece of text is.
#[derive(Clone, Copy)]
enum Paint {
    Bad,
    Dim,
    Good,
    Head,
    Plain,
}

impl Look {
    fn paint(self, paint: Paint, text: &str) -> String {
        // ECMA-48 §8.3.117.
        let code = match paint {
            Paint::Bad => "31",
            Paint::Dim => "2",
            Paint::Good => "32",
            Paint::Head => "1",
            Paint::Plain => return text.to_owned(),
        };
        if self.coloured && !text.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// The whole story.
    pub(super) fn story(self, walk: &Value) -> String {
        let parts = [happened(walk), self.verdict(walk), caveat(walk), self.rules(walk), self.entries(walk)];
        let said: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        said.join("\n").trim_end().to_owned()
    }

    fn verdict(self, walk: &Value) -> String {
        let Some(verdict) = walk.get("verdict") else { return String::new() };
        if text(verdict, "outcome") == "granted" {
            let (id, rule) = (text(verdict, "spiffe_id"), text(verdict, "rule"));
            let life = verdict.get("ttl_seconds").and_then(Value::as_u64).map(span).unwrap_or_default();
            let told =
                if is_true(verdict, "build_claims") { ", telling of the build (Fulcio's extensions)" } else { "" };
            let word = self.paint(Paint::Good, "granted");
            let waits: Vec<String> =
                list(verdict, "not_asked").iter().map(|fact| render::harmless(&shown(fact))).collect();
            let waits = match waits.join(", ") {
                none if none.is_empty() => none,
                facts => format!("  if other systems say so, which were not asked: {facts}\n"),
            };
            return format!("{word}: {id}\n  by rule {rule:?}, for {life} at most{told}\n{waits}");
        }
        let word = self.paint(Paint::Bad, "denied");
        let mut said = format!("{word}: {}\n  {}\n", text(verdict, "code"), text(verdict, "reason"));
        if let Some(name) = verdict.get("nearest").and_then(Value::as_str) {
            let rule = list(walk, "rules").iter().find(|rule| text(rule, "name") == name);
            let misses: Vec<&Value> = rule.map(|rule| missed(rule)).unwrap_or_default();
            let claims: Vec<String> = misses.iter().map(|term| text(term, "claim")).collect();
            let _written = writeln!(
                said,
                "  nearest: rule {:?}, kept from matching by {}",
                render::harmless(name),
                claims.join(", ")
            );
        }
        said
    }

    fn rules(self, walk: &Value) -> String {
        let verdict = walk.get("verdict").cloned().unwrap_or_default();
        let mut rules: Vec<(&str, &Value)> = Vec::new();
        for (kind, name) in [("refusal", "refusals"), ("rule", "rules")] {
            rules.extend(list(walk, name).iter().map(|rule| (kind, rule)));
        }
        let spoke = |rule: &Value| verdict.get("rule").or_else(|| verdict.get("nearest")) == rule.get("name");
        let refused = |kind: &str, rule: &Value| kind == "refusal" && is_true(rule, "matches");
        rules.sort_by_key(|(kind, rule)| {
            let misses = rule.get("misses").and_then(Value::as_u64).unwrap_or_default();
            (!refused(kind, rule), *kind == "refusal", !spoke(rule), of_other_issuer(rule), misses)
        });
        let shown = if self.all { rules.len() } else { RULES_SHOWN };
        let speaker = speaker(walk);
        let mut said: Vec<String> = rules.iter().take(shown).map(|rule| self.rule(*rule, speaker.as_deref())).collect();
        if let Some(more) = rules.len().checked_sub(shown).filter(|more| *more > 0) {
            said.push(format!("and {} farther away; --all shows them\n", render::count(more, "rule")));
        }
        said.join("\n")
    }

    fn rule(self, (kind, rule): (&str, &Value), speaker: Option<&str>) -> String {
        let (name, misses) = (text(rule, "name"), missed(rule).len());
        let terms = list(rule, "terms");
        let unknown = terms.iter().filter(|term| !is_recorded(term)).count();
        let (paint, outcome) = match (is_true(rule, "matches"), misses, unknown) {
            (true, ..) => match speaker.filter(|speaker| *speaker != name && !is_true(rule, "observe")) {
                Some(speaker) => (Paint::Dim, format!("matches, and is not reached: {speaker:?} comes first")),
                None => (Paint::Good, "matches".to_owned()),
            },
            (false, 0, 1..) => (Paint::Dim, "may match: the journal did not keep all that it rests on".to_owned()),
            (false, ..) => {
                let terms = render::count(terms.len(), "term");
                (
                    Paint::Bad,
                    format!("does not match: {misses} of {terms} {}", if misses == 1 { "fails" } else { "fail" }),
                )
            }
        };
        let trial = if is_true(rule, "observe") { " (observes only)" } else { "" };
        let title = self.paint(Paint::Head, &format!("{kind} {name:?}"));
        let mut said = format!("{title}{trial} {}\n", self.paint(paint, &outcome));
        let needs = list(rule, "needs");
        let rows: Vec<[String; 4]> = terms.iter().map(row).chain(needs.iter().map(need_row)).collect();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            let head = HEAD.get(column).map_or(0, |head| head.len());
            cells.chain([head]).max().unwrap_or_default().min(CELL_WIDTH_MAX)
        };
        let (first, second) = (width(1), width(2));
        let line = |[mark, term, wanted, got]: [&str; 4]| {
            format!("  {mark:<2} {term:<first$}  {wanted:<second$}  {got}").trim_end().to_owned()
        };
        said.push_str(&self.paint(Paint::Dim, &line(HEAD)));
        said.push('\n');
        for [mark, term, wanted, got] in &rows {
            let paint = match mark.as_str() {
                "ok" => Paint::Plain,
                "no" => Paint::Bad,
                _ => Paint::Dim,
            };
            said.push_str(&self.paint(paint, &line([mark, term, wanted, got])));
            said.push('\n');
        }
        said
    }

    /// What the journal holds, below.
    fn entries(self, walk: &Value) -> String {
        let mut said = String::new();
        for entry in list(walk, "entries") {
            let _written = writeln!(said, "{}", self.paint(Paint::Head, &format!("journal: {}", text(entry, "kind"))));
            for (name, value) in entry.as_object().into_iter().flatten().filter(|(name, _)| *name != "kind") {
                let _written =
                    writeln!(said, "  {}: {}", render::harmless(name), render::harmless(&shown(&with_times(value))));
            }
        }
        said
    }
}

fn row(term: &Value) -> [String; 4] {
    let mark = match (is_true(term, "passes"), is_recorded(term)) {
        (true, _) => "ok",
        (false, true) => "no",
        (false, false) => "?",
    };
    let [part, claim, wanted, got] = ["part", "claim", "wanted", "got"].map(|name| text(term, name));
    let implied = if is_true(term, "implied") { " (implied)" } else { "" };
    // A condition of several claims is its own test: "any (ref = main, ref_type = tag)".
    let inner = (claim == wanted).then(|| wanted.strip_suffix(')')?.split_once(" (")).flatten();
    let (claim, wanted) = match inner {
        Some((joint, inner)) => {
            (joint.to_owned(), if part == "unless" { format!("not ({inner})") } else { inner.to_owned() })
        }
        None if part == "unless" => (claim, format!("not {wanted}")),
        None => (claim, wanted),
    };
    let got = if is_recorded(term) { got } else { "not in the journal".to_owned() };
    [mark.to_owned(), format!("{part} {claim}{implied}"), wanted, got]
}

/// What a rule needs to hear; whoever may not see what was wanted and said sees only whether it passed.
fn need_row(need: &Value) -> [String; 4] {
    let outcome = text(need, "outcome");
    let mark = match outcome.as_str() {
        "pass" => "ok",
        "fail" => "no",
        _ => "?",
    };
    let shown = |name: &str| need.get(name).and_then(Value::as_str).map(render::harmless);
    // A need of several facts is its own want: "any (job.state = running, gerrit.status = merged)".
    let (fact, wanted) = match (text(need, "fact"), shown("wanted")) {
        (fact, Some(wanted)) if fact == wanted => (String::new(), wanted),
        (fact, wanted) => (format!(" {fact}"), wanted.unwrap_or_else(|| "(not shown)".to_owned())),
    };
    let got = shown("got").unwrap_or_else(|| outcome.replace('_', " "));
    [mark.to_owned(), format!("need{fact}"), wanted, got]
}

/// The one that speaks: the first refusal that matches, else the first rule that decides.
fn speaker(walk: &Value) -> Option<String> {
    let mut all = ["refusals", "rules"].into_iter().flat_map(|kind| list(walk, kind));
    all.find(|rule| is_true(rule, "matches") && !is_true(rule, "observe")).map(|rule| text(rule, "name"))
}

fn missed(rule: &Value) -> Vec<&Value> {
    list(rule, "terms").iter().filter(|term| !is_true(term, "passes") && is_recorded(term)).collect()
}

fn of_other_issuer(rule: &Value) -> bool {
    missed(rule).iter().any(|term| text(term, "claim") == "issuer")
}

/// Servers of before say nothing of it: they knew every claim.
fn is_recorded(term: &Value) -> bool {
    term.get("recorded").is_none_or(|recorded| recorded == true)
}

/// What the walk cannot know.
fn caveat(walk: &Value) -> String {
    let mut said = String::new();
    if is_true(walk, "policy_changed") {
        said.push_str("the policy has changed since; the rules below are those of now, the verdict is that of then\n");
    }
    if is_true(walk, "person_erased") {
        said.push_str("who started the job is erased: what the rules would say of that person is not known\n");
    }
    if is_true(walk, "used") {
        said.push_str("the token is used: only the key that used it, such as the job's agent, gets more with it\n");
    }
    if let Some(unproven) = walk.get("unproven").and_then(Value::as_str) {
        let _written = writeln!(said, "{}", render::harmless(unproven));
    }
    said
}

/// What became of a request, in a sentence.
fn happened(walk: &Value) -> String {
    let entries = list(walk, "entries");
    let of = |kind: &str| entries.iter().find(|entry| text(entry, "kind") == kind);
    let Some(first) = entries.first() else { return String::new() };
    let job = first.get("job").cloned().unwrap_or_default();
    let who = format!("job {} of {}", text(&job, "job_id"), text(&job, "project_path"));
    let request = text(first, "request_id");
    match (of("refused"), of("intent"), of("issued")) {
        (Some(refused), _, _) => format!("request {request}: {who} was refused with {}.\n", text(refused, "code")),
        (None, Some(intent), issued) => {
            let (id, rule) = (text(intent, "spiffe_id"), text(intent, "rule"));
            let got = if issued.is_some() { "got" } else { "was about to get, and nothing says that it got," };
            format!("request {request}: {who} {got} {id} by rule {rule:?}.\n")
        }
        (None, None, _) => format!("request {request}: {} in the journal.\n", render::count(entries.len(), "record")),
    }
}

/// An SVID's span in a record is numbers; a person reads times.
fn with_times(value: &Value) -> Value {
    let mut value = value.clone();
    for name in ["issued_at", "not_before", "not_after"] {
        if let Some(at) = value.get_mut(name)
            && let Some(seconds) = at.as_i64()
            && let Ok(time) = OffsetDateTime::from_unix_timestamp(seconds)
        {
            *at = render::time(time).into();
        }
    }
    value
}

/// A life as policies write it.
fn span(seconds: u64) -> String {
    match seconds {
        0 => "0s".to_owned(),
        _ if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        60.. => format!("{}m{}s", seconds / 60, seconds % 60),
        _ => format!("{seconds}s"),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "nothing".to_owned(),
        other @ (Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => other.to_string(),
    }
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).map_or_else(|| "nothing".to_owned(), |value| render::harmless(&shown(value)))
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn is_true(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or(false)
}

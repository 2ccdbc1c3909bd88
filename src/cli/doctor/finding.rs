//! What was looked at, what was found, and what to do.

use crate::cli::render;
use serde::Serialize;

/// How it stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Good,
    Warning,
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Eq, PartialEq, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) verdict: Verdict,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Finding {
    pub(super) fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Good, found: found.into(), remedy: None }
    }

    pub(super) fn warning(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warning, found: found.into(), remedy: Some(remedy.into()) }
    }

    pub(super) fn wrong(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Wrong, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// All findings, in the order in which things depend on each other: the first that is wrong is the cause to mend first.
#[derive(Debug, Default, Serialize)]
pub(super) struct Findings {
    healthy: bool,
    findings: Vec<Finding>,
}

impl Findings {
    /// What two that were named both show is told once.
    pub(super) fn new(all: Vec<Finding>) -> Self {
        let mut findings: Vec<Finding> = Vec::new();
        for finding in all {
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
        Self { healthy: findings.iter().all(|finding| finding.verdict != Verdict::Wrong), findings }
    }

    pub(super) const fn is_healthy(&self) -> bool {
        self.healthy
    }

    /// A line each, with what to do below those that are not good; the last line says what comes first.
    pub(super) fn story(&self) -> String {
        let width = self.findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
        let mut lines: Vec<String> = self.findings.iter().flat_map(|finding| finding.lines(width)).collect();
        let first = self.findings.iter().find(|finding| finding.verdict == Verdict::Wrong);
        lines.push(String::new());
        lines.push(first.map_or_else(
            || "Nothing is wrong here, as far as it can be seen from here.".to_owned(),
            |first| format!("Mend this first: {}.", first.check),
        ));
        lines.join("\n")
    }
}

impl Finding {
    fn lines(&self, width: usize) -> Vec<String> {
        let mark = match self.verdict {
            Verdict::Good => "ok   ",
            Verdict::Warning => "warn ",
            Verdict::Wrong => "WRONG",
        };
        let line = format!("{mark}  {:width$}  {}", self.check, render::harmless(&self.found));
        let below = " ".repeat(mark.len() + width + 4);
        let advice = self.remedy.iter().flat_map(|remedy| remedy.lines());
        [line].into_iter().chain(advice.map(|advice| format!("{below}{}", render::harmless(advice)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_is_wrong_is_the_one_to_mend() {
        let findings = Findings::new(vec![
            Finding::good("server", "there"),
            Finding::warning("clock", "late", "mend it"),
            Finding::wrong("token", "none", "paste\nthis"),
            Finding::wrong("socket", "none\u{1b}[2J", "start it"),
        ]);
        assert!(!findings.is_healthy());
        let story = findings.story();
        assert!(story.contains("WRONG  token   none\n               paste\n               this\n"), "{story}");
        assert!(story.ends_with("\n\nMend this first: token.") && !story.contains('\u{1b}'), "{story}");
        assert!(Findings::new(vec![Finding::warning("clock", "", "")]).is_healthy());
        let twice = Findings::new(vec![Finding::good("server", "there"), Finding::good("server", "there")]);
        assert_eq!(twice.story().matches("there").count(), 1);
    }
}

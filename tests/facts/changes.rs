//! The table that a scripted Gerrit and a real one are held to: what was done with a commit, and what is then said of it.
#![expect(clippy::unwrap_used, reason = "a table of tests")]

use crate::asking::{Asking, claims, said};
use serde_json::json;

/// What was done, and what is said of the commit that GitLab's job runs on.
pub(crate) const ROWS: [(&str, &str); 11] = [
    ("unreviewed", "new"),
    ("approved", "approved"),
    ("approved by its owner", "new"),
    ("vetoed", "new"),
    ("merged", "merged"),
    ("merged by cherry-pick", "merged"),
    ("cherry-picked from", "no: the commit is patch set 1 of change "),
    ("merge commit", "merged"),
    ("old patch set", "no: the commit is patch set 1 of change "),
    ("abandoned", "abandoned"),
    ("pushed past review", "no: gerrit_no_change: "),
];

/// Which GitLab project stands for a project whose changes Gerrit picks; the other is 4711.
pub(crate) const PICKED: u64 = 4712;

/// A Gerrit in which all of that was done.
pub(crate) trait World {
    /// GitLab's project and the commit of a row.
    fn commit_of(&self, row: &str) -> (u64, String);
}

/// Holds it to the table.
pub(crate) async fn hold(asking: &Asking, world: &impl World) {
    for (row, expected) in ROWS {
        let (project, commit) = world.commit_of(row);
        let claims = claims(&[("project_id", json!(project)), ("sha", json!(commit))]);
        let heard = asking.heard("\"gerrit.status\" = \"merged\"", &claims).await;
        let got = said(heard.of("gerrit.status"));
        assert!(
            if expected.starts_with("no:") { got.starts_with(expected) } else { got == expected },
            "{row}: {got}, {heard:?}"
        );
        if expected.starts_with("no:") {
            assert!(heard.of("gerrit.change").is_none(), "{row}: nothing is seen beside a no");
            continue;
        }
        assert_eq!(said(heard.of("gerrit.change")).parse::<u64>().unwrap().min(1), 1, "{row}");
        assert_eq!(heard.of("gerrit.missing").is_some(), expected == "new", "{row}: {heard:?}");
        assert_eq!(heard.of("gerrit.brought_in").is_some(), row == "merge commit", "{row}: {heard:?}");
        let votes = said(heard.of("gerrit.votes"));
        assert_eq!(votes.contains("Code-Review +2 by "), !matches!(row, "unreviewed" | "abandoned"), "{row}: {votes}");
    }
}
